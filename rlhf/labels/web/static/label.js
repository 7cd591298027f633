// The ranking page: one item at a time; every click is delivered.
import { call, deliverPending } from "./api.js";
import { openPassages, takeAnswer } from "./answering.js";
import { base } from "./base.js";
import * as draft from "./draft.js";
import { enableDrag } from "./drag.js";
import { byId, make } from "./elements.js";
import { loadGuideline, openGuideline } from "./guideline.js";
import { formChanged, loadSettings, redraw, select, showItem, toggleRaw } from "./item.js";
import { onKey, setRows, toggleRows } from "./keyboard.js";
import { enableLivePrompt } from "./live_prompt.js";
import { enableQuestions } from "./questions.js";
import { compare, rank, setBad } from "./ranking.js";
import { measureBar, toggle } from "./reading.js";
import { beat, isBusy, leave, openSkip, skip, submit, undo } from "./send.js";
import { renderShortcuts } from "./shortcuts.js";
import { connectSpans } from "./spans.js";
import { onRetry, page, showStatus } from "./state.js";
import * as timer from "./timer.js";
import { openWork } from "./work.js";

function onChange(event) {
  const input = event.target;
  const { form } = page;
  const card = input.closest(".card");
  const index = card ? Number(card.dataset.index) : -1;
  if (input.name === "scale") compare(Number(input.value));
  else if (input.id === "both-bad") setBad(input.checked);
  else if (input.id === "comment" || input.id === "rewrite") { form[input.id] = input.value; formChanged(); }
  else if (input.closest(".question")) takeAnswer(input);
  else if (index < 0) return;
  else if (input.name.startsWith("tier-")) rank(index, Number(input.value), false);
  else if (input.name.startsWith("overall-")) { form.overall[index] = Number(input.value); formChanged(); }
  else if (input.name.startsWith("flag-")) {
    form.flags[index] = form.flags[index].filter((flag) => flag !== input.value).concat(input.checked ? [input.value] : []);
    formChanged();
  }
}

// Responses to a live prompt come at once if the annotator still waits, otherwise as the next item.
async function onLiveResponses(isOpen) {
  if (page.item !== null && !isOpen) {
    showStatus("The models have responded. Their responses are the next item.");
    return;
  }
  await draft.save();
  await showItem(await call("/api/next", {}));
}

function onClick(event) {
  const button = event.target.closest(".mark-passages");
  if (button) openPassages(button);
  const card = event.target.closest(".card");
  if (card && !event.target.closest("input, label, a, button, textarea, summary") && !getSelection().toString()) select(Number(card.dataset.index), false);
}

async function logOut() {
  await draft.save();
  await call("/logout", {});
  page.item = null;
  location.assign(`${base}/login`);
}

function connectButtons() {
  const open = { "open-keys": "keys", "open-prompt": "prompt-dialog", "open-logout": "logout-dialog" };
  for (const [button, dialog] of Object.entries(open)) byId(button)?.addEventListener("click", () => byId(dialog).showModal());
  for (const name of ["full", "fold", "differences"]) byId(`toggle-${name}`).addEventListener("click", () => toggle(name, redraw));
  const clicks = { "open-guideline": openGuideline, "toggle-raw": toggleRaw, "toggle-rows": toggleRows, "open-work": openWork, undo, skip: openSkip, submit, logout: logOut };
  for (const [button, action] of Object.entries(clicks)) byId(button).addEventListener("click", () => action());
}

function connect() {
  document.addEventListener("keydown", onKey);
  document.addEventListener("change", onChange);
  byId("main").addEventListener("input", (event) => { if (event.target.matches("textarea")) onChange(event); });
  document.addEventListener("click", onClick);
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") leave(); });
  addEventListener("pagehide", leave);
  connectButtons();
  measureBar();
  enableLivePrompt(onLiveResponses);
  enableQuestions(() => page.item?.claim ?? null);
  connectSpans();
  enableDrag((index, tier) => rank(index, tier, false));
  renderShortcuts(byId("open-prompt") !== null);
}

function renderReasons() {
  byId("reasons").replaceChildren(...page.settings.skip_reasons.map((reason, i) => {
    const button = make("button", { type: "button", autofocus: i === 0 }, [make("kbd", { textContent: String(i + 1) }), ` ${reason}`]);
    button.addEventListener("click", () => skip(reason));
    return button;
  }));
}

function startPolling() {
  setInterval(() => {
    if (timer.isActive()) beat();
  }, 60_000);
  setInterval(() => {
    // Errors are ignored: the server may have stopped once all labels were in.
    if (page.item === null && !isBusy()) call("/api/next", {}).then(showItem).catch(() => undefined);
  }, 10_000);
}

async function start() {
  setRows(localStorage.getItem("rlhf-label-rows") === "1");
  document.addEventListener("settings", renderReasons);
  await loadSettings();
  await loadGuideline();
  connect();
  startPolling();
  const error = await deliverPending(onRetry);
  await showItem(await call("/api/next", {}));
  if (error) showStatus(error, true);
  document.body.dataset.ready = "1";
}

start().catch((error) => {
  byId("empty").hidden = false;
  byId("empty-title").textContent = "This page could not be loaded";
  byId("empty-text").textContent = `${error.message}. Reload it; your submitted labels are safe.`;
});
