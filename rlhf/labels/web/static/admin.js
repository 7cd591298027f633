import { call } from "./api.js";

const at = (id) => document.getElementById(id);

at("invite").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const made = await call("/admin/invite", { name: at("name").value });
    at("made").textContent = `Give ${made.name} this link, it is shown only now: ${location.origin}/login#${made.token}`;
  } catch (error) {
    at("made").textContent = error.message;
  }
});
at("finish")?.addEventListener("click", async () => {
  await call("/admin/finish", {});
  at("finish").disabled = true;
  at("finished").textContent = "The run goes on. You can close this page.";
});
at("logout").addEventListener("click", async () => {
  await call("/logout", {});
  location.assign("/login");
});
