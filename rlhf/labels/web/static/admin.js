// The researcher's pages: rendered by the server; this file sends forms and renews live parts.
import { call } from "./api.js";
import { base } from "./base.js";
import { correction } from "./correction.js";
import { byId } from "./elements.js";
import { enableNeighbours } from "./neighbours.js";

const RENEW = 15_000; // milliseconds

// Sends the request and loads the page again; a problem is shown where `problem` is.
async function send(path, body, problem) {
  try {
    await call(path, body);
    location.reload();
  } catch (error) {
    problem.textContent = error.message;
  }
}

function showTimes(root) {
  for (const node of root.querySelectorAll("time[data-at]")) {
    const at = new Date(1000 * Number(node.dataset.at));
    node.dateTime = at.toISOString();
    node.textContent = at.toLocaleString();
  }
}

const tagsOf = (text) => text.split(",").map((tag) => tag.trim()).filter(Boolean);

// Makes a link for each name; those that were made stay on the page.
async function invite(event) {
  event.preventDefault();
  const [role, cap, tags] = ["role", "cap", "tags"].map((field) => byId(`invite-${field}`).value);
  const settings = { ...(role && { role }), ...(cap && { cap: Number(cap) }), ...(tags && { tags: tagsOf(tags) }) };
  const names = byId("invite-names").value.split("\n").map((name) => name.trim()).filter(Boolean);
  const button = byId("invite").querySelector("button");
  byId("invite-problem").textContent = "";
  button.disabled = true; // a second click would revoke the links of the first
  try {
    while (names.length) {
      const { name, token } = await call("/admin/invite", { name: names[0], ...settings });
      byId("invite-links").hidden = false;
      byId("invite-links").append(`${name}: ${location.origin}${base}/login#${token}\n`);
      names.shift();
    }
  } catch (error) {
    byId("invite-problem").textContent = error.message;
  }
  byId("invite-names").value = names.join("\n"); // those without a link
  button.disabled = false;
}

function enableInvites() {
  byId("invite")?.addEventListener("submit", invite);
  byId("finish")?.addEventListener("click", async () => {
    await call("/admin/finish", {});
    byId("finish").disabled = true;
    byId("finish-status").textContent = "The run continues. You can close this page.";
  });
}

// Decisions about an item or a label: a dialog asks for the reason, and for a correction.
function enableDecisions() {
  let decision = null;
  let corrected = null;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-action]");
    if (!button) return;
    decision = { action: button.dataset.action, id: Number(button.dataset.id) };
    byId("reason-title").textContent = button.dataset.title;
    byId("reason").value = "";
    byId("reason-problem").textContent = "";
    corrected = button.dataset.correction ? correction(JSON.parse(button.dataset.correction)) : null;
    byId("correction").replaceChildren(...(corrected?.nodes ?? []));
    corrected?.show();
    byId("reason-dialog").showModal();
  });
  byId("reason-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send("/admin/decide", { ...decision, reason: byId("reason").value, ...corrected?.values() }, byId("reason-problem"));
  });
}

function enablePeople() {
  const dialog = byId("settings-dialog");
  if (!dialog) return;
  let name = "";
  const problem = byId("settings-problem");
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-settings]");
    if (!button) return;
    name = button.dataset.settings;
    byId("settings-title").textContent = name;
    if (byId("settings-role")) byId("settings-role").value = button.dataset.role;
    byId("settings-paused").checked = button.dataset.paused === "1";
    byId("settings-cap").value = button.dataset.cap;
    byId("settings-tags").value = button.dataset.tags;
    problem.textContent = "";
    dialog.showModal();
  });
  byId("settings-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const cap = byId("settings-cap").value;
    const limit = cap === "" ? { no_cap: true } : { cap: Number(cap) };
    send("/admin/people", { name, paused: byId("settings-paused").checked, tags: tagsOf(byId("settings-tags").value), ...limit }, problem);
  });
  byId("access-form")?.addEventListener("submit", (event) => {
    event.preventDefault();
    send("/admin/access", { name, role: byId("settings-role").value }, problem);
  });
  byId("revoke")?.addEventListener("click", () => send("/admin/access", { name, revoke: true }, problem));
  for (const button of document.querySelectorAll("[data-person]")) {
    button.addEventListener("click", () => send("/admin/people", JSON.parse(button.dataset.person), problem));
  }
}

function enableGuideline() {
  const form = byId("guideline-form");
  const box = byId("guideline-text");
  addEventListener("beforeunload", (event) => { if (box && box.value !== box.defaultValue) event.preventDefault(); });
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const { version } = await call("/admin/guideline", { text: box.value, base: Number(form.dataset.base) });
      box.defaultValue = box.value; // published: nothing is lost
      location.assign(`${base}/admin/guideline${version > 1 ? `?old=${form.dataset.base}&new=${version}` : ""}`);
    } catch (error) {
      byId("guideline-status").textContent = error.message;
    }
  });
  for (const one of document.querySelectorAll(".answer-form")) {
    one.addEventListener("submit", (event) => {
      event.preventDefault();
      const body = { question: Number(one.dataset.question), text: one.querySelector("textarea").value, in_guideline: one.querySelector("input").checked };
      send("/admin/answer", body, one.querySelector(".problem"));
    });
  }
}

const isSelected = (node) => !getSelection().isCollapsed && getSelection().containsNode(node, true);

// The part #live is what the server would render now: fetched, parsed and put in place.
async function renew() {
  if (document.visibilityState !== "visible" || document.querySelector("dialog[open]") || isSelected(byId("live"))) return;
  const response = await fetch(location.href).catch(() => null);
  if (!response?.ok || response.redirected) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("live");
  if (!fresh) return;
  showTimes(fresh);
  const { settings } = document.activeElement.dataset;
  byId("live").replaceChildren(...fresh.childNodes);
  if (settings !== undefined) document.querySelector(`[data-settings="${CSS.escape(settings)}"]`)?.focus({ preventScroll: true });
}

enableInvites();
enableDecisions();
enablePeople();
enableGuideline();
enableNeighbours();
showTimes(document);
for (const button of document.querySelectorAll("dialog .close")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
if (byId("live")) setInterval(renew, RENEW);
byId("logout").addEventListener("click", async () => {
  await call("/logout", {});
  location.assign(`${base}/login`);
});
document.body.dataset.ready = "1";
