// The ranking page: one item at a time; every click is delivered, keys do nothing in text boxes.
import { RequestError, call, deliver, deliverPending } from "./api.js";
import * as draft from "./draft.js";
import { enableDrag } from "./drag.js";
import { showFeedback, showSecondLook } from "./feedback.js";
import { formOf, isOrderShown, letter, nextUnranked, scaleOfDigit, scaleText, unranked } from "./form.js";
import { KEYS, PROMPT_KEY } from "./keys.js";
import { enableLivePrompt } from "./live_prompt.js";
import { enableQuestions } from "./questions.js";
import { make, renderControls, renderConversation, renderResponses, showForm } from "./render.js";
import * as timer from "./timer.js";

const byId = (id) => document.getElementById(id);
const GUIDELINE_READ = "rlhf-label-guideline";

let item = null;
let form = null;
let current = 0;
let settings = null;
let guideline = { version: 0, html: "" };
let busy = false;
let confirmed = false; // the page asks once per item to confirm the order shown
let raw = false;

const announce = (text) => { byId("announcement").textContent = text; };
function showStatus(text, isProblem = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("problem", isProblem);
  if (text) announce(text);
}
const onRetry = () => showStatus("Not saved yet: the server does not respond. Retrying…", true);

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function showProgress(state) {
  const total = state.done + state.left;
  byId("progress-bar").value = total ? state.done / total : 1;
  const remaining = state.left ? ` · about ${duration(state.pace * state.left)} left` : "";
  const pace = state.pace === null ? "" : ` · ${duration(state.pace)} each${remaining}`;
  byId("progress-text").textContent = `${state.done} done · ${state.left} left${pace}`;
}

function showItem(state) {
  showProgress(state);
  item = state.claim === null ? null : state;
  byId("main").hidden = byId("dock").hidden = item === null;
  byId("empty").hidden = item !== null;
  if (item === null) {
    byId("empty-title").textContent = state.done ? "All done. Thank you!" : "No items to rank yet";
    byId("empty-text").textContent = "New items appear here automatically. You may close this page.";
    if (state.notice) [byId("empty-title").textContent, byId("empty-text").textContent] = ["No items for now", state.notice];
    return;
  }
  const count = item.answers.length;
  const unsaved = draft.unsavedForm(item.claim);
  form = formOf(unsaved ?? item.draft, count);
  current = Math.max(0, nextUnranked(form, count - 1));
  confirmed = false;
  render();
  renderControls(byId("controls"), count);
  byId("comment").value = form.comment;
  byId("rewrite").value = form.rewrite;
  byId("comment-box").open = form.comment !== "";
  byId("rewrite-box").open = form.rewrite !== "";
  byId("comment-box").hidden = !settings.comment;
  byId("rewrite-box").hidden = !settings.rewrite;
  scrollTo(0, 0);
  timer.restart();
  refresh();
  select(current, false);
  showStatus("");
  announce(`Next item, ${count} responses`);
  if (unsaved) formChanged();
  if (item.guideline !== guideline.version) showGuideline();
}

// A guideline version that was not read in this browser opens by itself.
async function showGuideline() {
  guideline = await call("/api/guideline");
  byId("guideline-text").innerHTML = guideline.html || "<p>There is no guideline.</p>";
  const name = `${guideline.version} ${guideline.html.length}`;
  if (!guideline.version || localStorage.getItem(GUIDELINE_READ) === name || byId("guideline").open) return;
  localStorage.setItem(GUIDELINE_READ, name);
  byId("guideline").showModal();
}

function render() {
  renderConversation(byId("conversation"), item.prompt, raw);
  renderResponses(byId("responses"), item, settings, raw);
}

function refresh() {
  showForm(form, current);
  byId("submit").classList.toggle("ready", unranked(form).length === 0);
  if (form.tiers.length === 2) showStatus(form.both_bad ? "both bad" : scaleText(form.scale));
}

function select(index, scroll = true) {
  current = index;
  showForm(form, current);
  const card = document.querySelectorAll(".card")[index];
  card.focus({ preventScroll: true });
  if (scroll) card.scrollIntoView({ block: "nearest" });
}

function formChanged() {
  refresh();
  draft.keep(item.claim, form);
}

function rank(index, tier, selectNext = true) {
  form.tiers[index] = tier;
  confirmed = false;
  showStatus("");
  formChanged();
  const tied = form.tiers.flatMap((other, i) => (other === tier && i !== index && tier !== null ? [letter(i)] : []));
  announce(`${letter(index)} ${tier === null ? "has no rank" : `rank ${tier}`}${tied.length ? `, tied with ${tied.join(" and ")}` : ""}`);
  const next = nextUnranked(form, index);
  if (selectNext && next >= 0) select(next);
}

function compare(scale) {
  form.scale = scale;
  form.both_bad = false;
  formChanged();
}

function setBothBad(value) {
  form.both_bad = value;
  if (value) form.scale = null;
  formChanged();
}

async function sendAction(path, body) {
  if (busy) return;
  busy = true;
  byId("submit").disabled = true;
  try {
    if (path === "/api/undo") await draft.save(); // so that the item on the page can be continued later
    const state = await deliver(path, body, onRetry);
    if (path !== "/api/undo") draft.drop();
    showItem(state);
    if (state.feedback) showFeedback(state.feedback);
    if (state.second_look) showSecondLook(state.second_look, () => sendAction("/api/undo", {}));
    if (state.kind === "late") showStatus("While you were away the item was given to another annotator. Your ranking is stored, but does not count.", true);
    if (state.kind === "nothing") showStatus("There is nothing to undo.");
    if (state.kind === "undo") showStatus("Undone. Change the ranking and submit it again.");
  } catch (error) {
    if (error instanceof RequestError && error.status === 409) {
      showItem(await call("/api/next", {}));
    }
    showStatus(error.message, true);
  } finally {
    busy = false;
    byId("submit").disabled = false;
  }
}

function submit() {
  if (item === null || busy) return;
  const indices = unranked(form);
  if (indices.length) {
    showStatus(form.tiers.length === 2 ? "Choose which response is better, or that they are equally good." : `Not ranked yet: ${indices.map(letter).join(", ")}`, true);
    if (form.tiers.length > 2) select(indices[0]);
    return;
  }
  if (isOrderShown(form) && !confirmed) {
    confirmed = true;
    showStatus("This is the order in which the responses were shown. Press Enter again to confirm it.", true);
    return;
  }
  sendAction("/api/submit", { claim: item.claim, form, seconds: timer.seconds(), guideline_version: guideline.version });
}

function openSkip() {
  if (item === null) return;
  byId("skip-comment").value = "";
  byId("skip-dialog").showModal();
}

function skip(reason) {
  byId("skip-dialog").close();
  sendAction("/api/skip", { claim: item.claim, reason, comment: byId("skip-comment").value, seconds: timer.seconds() });
}

function openBox(box, field) {
  if (byId(box).hidden) return;
  byId(box).open = true;
  byId(field).focus();
}

function setRows(rows) {
  document.body.classList.toggle("rows", rows);
  localStorage.setItem("rlhf-label-rows", rows ? "1" : "");
}

const isTyping = (node) => node.matches("textarea, input:not([type=radio]):not([type=checkbox]), select, [contenteditable]");

function onDigit(digit) {
  const count = form.tiers.length;
  if (count === 2) {
    if (digit === 0) compare(0);
    else if (digit <= 8) compare(scaleOfDigit(digit));
  } else if (digit >= 1 && digit <= count) rank(current, digit);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const dialog = document.querySelector("dialog[open]");
  if (dialog) {
    const reason = settings.skip_reasons[Number(event.key) - 1];
    if (dialog.id === "skip-dialog" && reason) { event.preventDefault(); skip(reason); }
    return;
  }
  const onControl = event.target.matches("button, a, summary");
  if (onControl && (event.key === "Enter" || event.key === " ")) return;
  if (event.target.matches("input[type=radio]") && event.key.startsWith("Arrow")) return;
  const consume = () => event.preventDefault();
  const count = form?.tiers.length ?? 0;
  const key = event.key;
  if (key === "?") { consume(); byId("keys").showModal(); }
  else if (key === "g") { consume(); byId("guideline").showModal(); }
  else if (key === "q") { consume(); byId("open-questions").click(); }
  else if (key === "u" && !event.repeat) { consume(); sendAction("/api/undo", {}); }
  else if (key === "a" && byId("open-prompt")) { consume(); byId("prompt-dialog").showModal(); }
  else if (item === null) return;
  else if (/^[0-9]$/.test(key)) { consume(); onDigit(Number(key)); }
  else if (key === "=" && count === 2) { consume(); compare(0); }
  else if (key === "b" && count === 2) { consume(); setBothBad(!form.both_bad); }
  else if (key === "Enter" && !event.repeat) { consume(); submit(); }
  else if (key === "s") { consume(); openSkip(); }
  else if (key === "c") { consume(); openBox("comment-box", "comment"); }
  else if (key === "w") { consume(); openBox("rewrite-box", "rewrite"); }
  else if (key === "f") { consume(); document.querySelectorAll(".card")[current].querySelector(".flags input")?.focus(); }
  else if (key === "o") { consume(); document.querySelectorAll(".card")[current].querySelector(".ratings input")?.focus(); }
  else if (key === "r") { consume(); raw = !raw; render(); refresh(); select(current, false); }
  else if (key === "v") { consume(); setRows(!document.body.classList.contains("rows")); }
  else if (key === "Backspace" && count > 2) { consume(); rank(current, null, false); }
  else if (["ArrowRight", "ArrowDown", "j"].includes(key)) { consume(); select((current + 1) % count); }
  else if (["ArrowLeft", "ArrowUp", "k"].includes(key)) { consume(); select((current + count - 1) % count); }
}

function onChange(event) {
  const input = event.target;
  const card = input.closest(".card");
  const index = card ? Number(card.dataset.index) : -1;
  if (input.name === "scale") compare(Number(input.value));
  else if (input.id === "both-bad") setBothBad(input.checked);
  else if (input.id === "comment" || input.id === "rewrite") { form[input.id] = input.value; formChanged(); }
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
  if (item !== null && !isOpen) {
    showStatus("The models have responded. Their responses are the next item.");
    return;
  }
  await draft.save();
  showItem(await call("/api/next", {}));
}

function connect() {
  document.addEventListener("keydown", onKey);
  document.addEventListener("change", onChange);
  for (const id of ["comment", "rewrite"]) byId(id).addEventListener("input", onChange);
  document.addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    if (card && !event.target.closest("input, label, a") && !getSelection().toString()) select(Number(card.dataset.index), false);
  });
  const open = { "open-guideline": "guideline", "open-keys": "keys", "open-prompt": "prompt-dialog" };
  for (const [button, dialog] of Object.entries(open)) byId(button)?.addEventListener("click", () => byId(dialog).showModal());
  byId("undo").addEventListener("click", () => sendAction("/api/undo", {}));
  byId("skip").addEventListener("click", openSkip);
  byId("submit").addEventListener("click", submit);
  enableLivePrompt(onLiveResponses);
  enableQuestions(() => item?.claim ?? null);
  byId("logout").addEventListener("click", async () => { await draft.save(); await call("/logout", {}); location.assign("/login"); });
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") draft.save(); });
  addEventListener("pagehide", draft.save);
  enableDrag((index, tier) => rank(index, tier, false));
}

function renderDialogs() {
  byId("reasons").replaceChildren(...settings.skip_reasons.map((reason, i) => {
    const button = make("button", { type: "button" }, [make("kbd", { textContent: String(i + 1) }), ` ${reason}`]);
    button.addEventListener("click", () => skip(reason));
    return button;
  }));
  const rows = byId("open-prompt") ? [...KEYS, PROMPT_KEY] : KEYS;
  byId("key-list").replaceChildren(...rows.flatMap(([keys, description]) => [
    make("dt", {}, keys.split(/ +/).map((key) => (key === "…" ? " … " : make("kbd", { textContent: key })))),
    make("dd", { textContent: description }),
  ]));
}

function startPolling() {
  setInterval(() => {
    if (item !== null && timer.isActive()) call("/api/heartbeat", { claim: item.claim }).catch(() => undefined);
  }, 60_000);
  setInterval(() => {
    // Errors are ignored: the server may have stopped once all labels were in.
    if (item === null && !busy) call("/api/next", {}).then(showItem).catch(() => undefined);
  }, 10_000);
}

async function start() {
  setRows(localStorage.getItem("rlhf-label-rows") === "1");
  settings = await call("/api/form");
  await showGuideline();
  connect();
  renderDialogs();
  startPolling();
  const error = await deliverPending(onRetry);
  showItem(await call("/api/next", {}));
  if (error) showStatus(error, true);
  document.body.dataset.ready = "1";
}

start().catch((error) => {
  byId("empty").hidden = false;
  byId("empty-title").textContent = "This page could not be loaded";
  byId("empty-text").textContent = `${error.message}. Reload it; your submitted labels are safe.`;
});
