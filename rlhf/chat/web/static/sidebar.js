// The list of the conversations on disk: search, open, rename, delete, export.
import { call } from "/static/api.js";
import { open, save, startNew, state } from "/static/conversation.js";
import { exportBranch } from "/static/export.js";
import { jumpToEnd } from "/static/follow.js";
import { stopAndWait } from "/static/generate.js";
import { closeInspector } from "/static/inspect.js";
import { $, button, el } from "/static/render.js";
import { setField } from "/static/settings.js";
import { branch } from "/static/tree.js";
import { draw, showError } from "/static/view.js";

const OPEN = "rlhf-sidebar";
const SEARCH_DELAY = 200; // milliseconds: while typing, only the last text is searched for
const CONFIRM = 4000; // milliseconds in which a second click deletes
const narrow = matchMedia("(max-width: 60rem)");
let renaming = null; // id of the conversation whose title is being edited
let newest = 0; // so that a late reply does not overwrite a newer one

const attempt = (action) => () => action().catch(showError);

export async function list() {
  const request = ++newest;
  const found = await call(`/page/history?q=${encodeURIComponent($("search").value.trim())}`);
  if (request !== newest || renaming || document.querySelector("#conversations [data-asked]")) return;
  $("conversations").replaceChildren(...found.map(drawSummary));
  $("no-conversations").hidden = found.length > 0;
  $("no-conversations").textContent = $("search").value.trim() ? "No conversation has this text." : "No conversations yet.";
}

function drawSummary(summary) {
  const isOpen = summary.id === state.id;
  const remove = button("delete", () => confirmDelete(remove, summary), { ariaLabel: `delete ${summary.title}` });
  const item = el("li", { className: isOpen ? "open" : "" });
  item.append(
    button(summary.title, attempt(() => openConversation(summary.id)), { className: "title", dir: "auto", title: new Date(1000 * summary.updated).toLocaleString(), ariaCurrent: `${isOpen}` }),
    el("div", { className: "actions" },
      button("rename", () => rename(item, summary), { ariaLabel: `rename ${summary.title}` }),
      button("export", attempt(() => exportStored(summary.id)), { ariaLabel: `export ${summary.title}` }), remove));
  return item;
}

// Leaving a conversation that the server does not have yet would lose its newest turns.
async function leave() {
  await stopAndWait();
  if (!(await save())) throw new Error("the conversation is not saved yet: the server does not respond");
  closeInspector();
  showError();
}

export async function newConversation() {
  await leave();
  startNew();
  $("search").value = ""; // so that the list has the new one
  draw();
  list().catch(() => undefined);
  if (narrow.matches) setOpen(false);
  $("text").focus();
}

async function openConversation(id) {
  await leave();
  open(await call(`/page/history/${id}`));
  const last = branch(state.turns, state.leaf).findLast(({ role }) => role === "assistant");
  if (last) setField("system", last.system);
  draw();
  jumpToEnd();
  list().catch(() => undefined);
  if (narrow.matches) setOpen(false);
}

function rename(item, { id, title }) {
  const input = el("input", { value: title, maxLength: 200, ariaLabel: "title", dir: "auto" });
  renaming = id;
  const end = async (isKept) => {
    if (renaming !== id) return;
    renaming = null;
    const text = input.value.trim();
    if (isKept && text && text !== title) {
      await call(`/page/history/${id}/title`, { title: text });
      if (state.id === id) state.title = text;
    }
    await list();
  };
  input.onkeydown = (event) => {
    if (event.key === "Enter" && !event.isComposing) end(true).catch(showError);
    if (event.key === "Escape") end(false).catch(showError);
    event.stopPropagation();
  };
  input.onblur = () => end(true).catch(showError);
  item.querySelector(".title").replaceWith(input);
  input.select();
}

// The first click asks, the second one deletes.
function confirmDelete(element, { id }) {
  if (element.dataset.asked === undefined) {
    element.dataset.asked = "";
    element.textContent = "really delete?";
    setTimeout(() => {
      delete element.dataset.asked;
      element.textContent = "delete";
      list().catch(() => undefined); // which waited for the answer
    }, CONFIRM);
    return;
  }
  delete element.dataset.asked;
  attempt(async () => {
    if (id === state.id) {
      await stopAndWait();
      startNew();
      closeInspector();
      draw();
    }
    await call(`/page/history/${id}`, undefined, { method: "DELETE" });
    await list();
  })();
}

async function exportStored(id) {
  if (id === state.id) await save();
  const { turns, leaf } = await call(`/page/history/${id}`);
  await exportBranch(branch(turns, leaf));
}

function setOpen(isOpen) {
  $("sidebar").hidden = !isOpen;
  $("menu").ariaExpanded = `${isOpen}`;
  if (!narrow.matches) localStorage.setItem(OPEN, isOpen ? "1" : "0");
}

export function toggleSidebar() {
  setOpen($("sidebar").hidden);
  if (!$("sidebar").hidden) $("search").focus();
}

export function enableSidebar() {
  let timer = null;
  $("menu").hidden = false;
  $("menu").onclick = toggleSidebar;
  $("close-sidebar").onclick = () => setOpen(false);
  $("sidebar").onkeydown = (event) => { if (event.key === "Escape" && narrow.matches) setOpen(false); };
  $("search").oninput = () => { clearTimeout(timer); timer = setTimeout(attempt(list), SEARCH_DELAY); };
  const fit = () => setOpen(!narrow.matches && localStorage.getItem(OPEN) !== "0");
  narrow.addEventListener("change", fit); // a narrow window has no room for both
  fit();
}
