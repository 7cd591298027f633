import { call } from "./api.js";

const byId = (id) => document.getElementById(id);

byId("invite").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const { name, token } = await call("/admin/invite", { name: byId("name").value });
    byId("invite-result").textContent = `Link for ${name}, shown only once: ${location.origin}/login#${token}`;
  } catch (error) {
    byId("invite-result").textContent = error.message;
  }
});
byId("finish")?.addEventListener("click", async () => {
  await call("/admin/finish", {});
  byId("finish").disabled = true;
  byId("finish-status").textContent = "The run continues. You can close this page.";
});
byId("logout").addEventListener("click", async () => {
  await call("/logout", {});
  location.assign("/login");
});
