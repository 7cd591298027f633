// The token follows the #, which browsers neither send to a server nor write to a log.
import { base } from "./base.js";

const field = document.getElementById("token");
const problem = document.getElementById("login-error");

// Also for a link that is opened in a tab with this page: then only the part after # changes.
function takeToken() {
  if (!location.hash) return;
  field.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  document.querySelector("button").focus();
}

field.focus();
takeToken();
addEventListener("hashchange", takeToken);
document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const response = await fetch(`${base}/login`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token: field.value.trim().split("#").pop() }),
    });
    const content = await response.json();
    if (response.ok) location.replace(content.to); // so that "back" does not return to the login page
    else problem.textContent = content.detail;
  } catch {
    problem.textContent = "The server does not respond. Try again in a moment.";
  }
});
