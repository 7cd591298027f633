// The entrance of participants from a crowd platform, whose link has their ids in its query.
import { base } from "./base.js";

const query = Object.fromEntries(new URLSearchParams(location.search));
const problem = document.getElementById("enter-error");

document.getElementById("enter")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const response = await fetch(`${base}/crowd`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ query }),
    });
    const content = await response.json();
    if (response.ok) location.replace(content.to);
    else problem.textContent = content.detail;
  } catch {
    problem.textContent = "The server does not respond. Try again in a moment.";
  }
});
document.body.dataset.ready = "";
