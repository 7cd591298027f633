// The ranking page: one item at a time; every click is delivered, keys do nothing in text boxes.
import { RequestError, call, deliver, deliverPending } from "./api.js";
import { base } from "./base.js";
import { renderConversation, toggleEarlier } from "./conversation.js";
import * as criteria from "./criteria.js";
import * as draft from "./draft.js";
import { enableDrag } from "./drag.js";
import { showFeedback, showSecondLook } from "./feedback.js";
import { formOf, hasText, isOrderShown, letter, nextUnranked, scaleOfDigit, scaleText, unranked } from "./form.js";
import { guidelineVersion, loadGuideline, openGuideline } from "./guideline.js";
import { actionOf, keyOf } from "./keys.js";
import { enableLivePrompt } from "./live_prompt.js";
import { showProgress } from "./progress.js";
import { enableQuestions } from "./questions.js";
import { make, renderControls, renderResponses, showForm } from "./render.js";
import { layOut, measureBar, scrollPane, toggle } from "./reading.js";
import { renderShortcuts } from "./shortcuts.js";
import { connectSpans, openSpans } from "./spans.js";
import * as timer from "./timer.js";

const byId = (id) => document.getElementById(id);

let item = null;
let form = null;
let current = 0;
let settings = null;
let busy = false;
let retrying = false; // a click waits for the server
let confirmed = false; // the page asks once per item to confirm the order shown
let raw = false;

const announce = (text) => { byId("announcement").textContent = text; };
function showStatus(text, isProblem = false) {
  if (retrying && !isProblem) return; // "Not saved yet" stays until it is saved
  byId("status").textContent = text;
  byId("status").classList.toggle("problem", isProblem);
  if (text) announce(text);
}
function onRetry() {
  retrying = true;
  showStatus("Not saved yet: the server does not respond. Retrying…", true);
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
  form = criteria.withKnownAnswers(formOf(unsaved ?? item.draft, count), settings.criteria);
  current = Math.max(0, nextUnranked(form, count - 1));
  confirmed = false;
  byId("conversation").replaceChildren();
  render();
  renderControls(byId("controls"), count);
  byId("item-questions").replaceChildren(...criteria.renderQuestions(settings.criteria, null));
  renderStarts(count);
  byId("comment").value = form.comment;
  byId("rewrite").value = form.rewrite;
  byId("comment-box").open = form.comment !== "";
  byId("rewrite-box").open = form.rewrite !== "";
  byId("comment-box").hidden = !settings.comment;
  byId("rewrite-box").hidden = !settings.rewrite;
  scrollTo(0, 0);
  timer.restart(item.claim, item.seconds);
  refresh();
  select(current, false);
  showStatus("");
  announce(`Next item, ${count} responses`);
  if (unsaved) formChanged();
  if (item.guideline !== guidelineVersion()) loadGuideline();
}

function render() {
  renderConversation(byId("conversation"), item.prompt, raw);
  renderResponses(byId("responses"), item, settings, raw);
  byId("toggle-raw").setAttribute("aria-pressed", `${raw}`);
  layOut();
}

// Draw the texts again; the form and the selection stay.
function redraw() {
  render();
  refresh();
  select(current, false);
}

function toggleRaw() {
  raw = !raw;
  redraw();
}

function refresh() {
  showForm(form, current);
  criteria.showAnswers(form, settings.criteria);
  const isReady = unranked(form).length === 0 && criteria.missingLine(form, settings.criteria) === null;
  byId("submit").classList.toggle("ready", isReady);
  if (form.tiers.length === 2) showStatus(form.both_bad ? "both bad" : pairText());
}

function pairText() {
  const same = item.same[1] === 0 ? ", as they are the same text" : "";
  return form.scale === null ? "" : `${scaleText(form.scale)}${same}`;
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
  draft.keep(item.claim, form, timer.seconds());
}

function rank(index, tier, selectNext = true) {
  // Copies of one text share their rank.
  item.same.forEach((first, i) => { if (first === item.same[index]) form.tiers[i] = tier; });
  confirmed = false;
  showStatus("");
  formChanged();
  const tied = form.tiers.flatMap((other, i) => (other === tier && i !== index && tier !== null ? [letter(i)] : []));
  announce(`${letter(index)} ${tier === null ? "has no rank" : `rank ${tier}`}${tied.length ? `, tied with ${tied.join(" and ")}` : ""}`);
  const next = nextUnranked(form, index);
  if (selectNext && next >= 0) select(next);
}

function compare(scale) {
  form.scale = item.same[1] === 0 ? 0 : scale;
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
    if (path === "/api/undo") await leave(); // so that the item on the page can be continued later
    const state = await deliver(path, body, onRetry);
    retrying = false;
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
    busy = retrying = false;
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
  const missing = criteria.missingLine(form, settings.criteria);
  if (missing) {
    showStatus(`Not answered yet: ${criteria.describeLine(missing)}`, true);
    criteria.focusLine(missing);
    return;
  }
  if (isOrderShown(form) && !confirmed) {
    confirmed = true;
    showStatus("This is the order in which the responses were shown. Submit again to confirm it.", true);
    return;
  }
  sendAction("/api/submit", { claim: item.claim, form, seconds: timer.seconds(), guideline_version: guidelineVersion() });
}

function openSkip() {
  if (item === null) return;
  byId("skip-comment").value = "";
  byId("skip-note").hidden = !hasText(form);
  byId("skip-dialog").showModal();
}

function skip(reason) {
  byId("skip-dialog").close();
  sendAction("/api/skip", { claim: item.claim, reason, comment: byId("skip-comment").value, seconds: timer.seconds(), form });
}

function openBox(box, field) {
  if (byId(box).hidden) return;
  byId(box).open = true;
  byId(field).focus();
}

// Fills the box of the better response with this response, as if it were typed: Ctrl Z takes it back.
function startFrom(index) {
  openBox("rewrite-box", "rewrite");
  byId("rewrite").select();
  document.execCommand("insertText", false, item.answers[index].text);
}

function renderStarts(count) {
  byId("starts").replaceChildren("Start from ", ...Array.from({ length: count }, (_, index) => {
    const button = make("button", { type: "button", textContent: letter(index), "aria-label": `Start from response ${letter(index)}` });
    button.addEventListener("click", () => startFrom(index));
    return button;
  }));
}

// The response that a better one would start from: the better one of a pair, or the selected one.
const startIndex = () => (form.tiers.length > 2 ? current : form.scale > 0 ? 1 : 0);

function setRows(rows) {
  document.body.classList.toggle("rows", rows);
  byId("toggle-rows").setAttribute("aria-pressed", `${rows}`);
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

const focusIn = (selector) => document.querySelectorAll(".card")[current].querySelector(selector)?.focus();

// What a key does that is bound to an action; the others need an item.
function act(action) {
  if (action === "guideline") openGuideline();
  else if (action === "undo") sendAction("/api/undo", {});
  else if (action === "questions") byId("open-questions").click();
  else if (action === "prompt") byId("prompt-dialog")?.showModal();
  else if (item === null) return;
  else if (action === "bad") setBothBad(!form.both_bad);
  else if (action === "skip") openSkip();
  else if (action === "comment") openBox("comment-box", "comment");
  else if (action === "rewrite") openBox("rewrite-box", "rewrite");
  else if (action === "edit" && settings.rewrite) startFrom(startIndex());
  else if (action === "flags") focusIn(".flags input");
  else if (action === "overall") focusIn(".overall input");
  else if (action === "criterion") toLine(criteria.nextLine(form, settings.criteria, lineOrCard()));
  else if (action === "earlier") toggleEarlier();
  else if (action === "raw") toggleRaw();
  else if (["differences", "fold", "full"].includes(action)) toggle(action, redraw);
  else if (action === "rows") setRows(!document.body.classList.contains("rows"));
  else if (action === "next") select((current + 1) % form.tiers.length);
  else if (action === "previous") select((current + form.tiers.length - 1) % form.tiers.length);
}

const lineOrCard = () => document.activeElement.closest(".line") ?? document.querySelectorAll(".card")[current];

function toLine(node) {
  if (node === null) return;
  criteria.focusLine(node);
  const card = node.closest(".card");
  if (card) { current = Number(card.dataset.index); showForm(form, current); }
}

// A key in a rating or a question: whether it was used.
function onLineKey(node, key) {
  if (key === "Escape") { select(current, false); return true; }
  const finished = criteria.answerByKey(node, key);
  if (finished === null) return /^[0-9]$/.test(key); // a digit of no option does not rank instead
  takeAnswer(node.querySelector("input") ?? node);
  if (!finished) return true;
  const following = node.closest(".overall") ? null : criteria.followingOpenLine(form, settings.criteria, node);
  if (following) toLine(following);
  else select(current, false);
  return true;
}

// Takes the value of a rating or a question into the form.
function takeAnswer(input) {
  if (input.closest(".question")) criteria.readAnswer(form, settings.criteria, input);
  else {
    const ratings = input.closest(".overall").querySelector("input:checked");
    form.overall[Number(input.closest(".card").dataset.index)] = ratings ? Number(ratings.value) : null;
  }
  formChanged();
}

function onTypingKey(event) {
  if (event.key === "Escape") event.target.blur();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.closest("main")) {
    event.preventDefault();
    event.target.blur();
    submit();
  }
}

function onKey(event) {
  if (event.isComposing || event.getModifierState("AltGraph")) return;
  if (isTyping(event.target)) { onTypingKey(event); return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = keyOf(event);
  const consume = () => event.preventDefault();
  const dialog = document.querySelector("dialog[open]");
  if (dialog) {
    const reason = settings.skip_reasons[Number(key) - 1];
    if (dialog.id === "skip-dialog" && reason) { consume(); skip(reason); }
    return;
  }
  const onControl = event.target.matches("button, a, summary");
  if (onControl && (key === "Enter" || key === " ")) return;
  if (event.target.matches("input[type=radio]") && key.startsWith("Arrow")) return;
  const line = event.target.closest(".question .line, .overall .ratings");
  if (line && onLineKey(line, key)) { consume(); return; }
  const count = form?.tiers.length ?? 0;
  const action = actionOf(key);
  if (key === "?") { consume(); byId("keys").showModal(); }
  else if (action) { consume(); if (!event.repeat || action !== "undo") act(action); }
  else if (item === null) return;
  else if (/^[0-9]$/.test(key)) { consume(); onDigit(Number(key)); }
  else if (key === "=" && count === 2) { consume(); compare(0); }
  else if (key === "Enter" && !event.repeat) { consume(); submit(); }
  else if (key === "PageDown" || key === "PageUp") { if (scrollPane(document.querySelectorAll(".card")[current], key === "PageDown" ? 1 : -1)) consume(); }
  else if (key === "Backspace" && count > 2) { consume(); rank(current, null, false); }
  else if (key === "ArrowRight" || key === "ArrowDown") { consume(); act("next"); }
  else if (key === "ArrowLeft" || key === "ArrowUp") { consume(); act("previous"); }
}

// Opens the dialog of marked passages of the response with this button.
function openPassages(button) {
  const { name, index } = button.closest(".question").dataset;
  const criterion = settings.criteria.find((one) => one.name === name);
  const place = Number(index);
  const spans = criteria.answerOf(form, name, place) ?? [];
  openSpans(`${criteria.titleOf(criterion)}: response ${letter(place)}`, item.answers[place].text, spans, criterion.options, (changed) => {
    criteria.setAnswer(form, name, place, changed);
    formChanged();
  });
}

function onChange(event) {
  const input = event.target;
  const card = input.closest(".card");
  const index = card ? Number(card.dataset.index) : -1;
  if (input.name === "scale") compare(Number(input.value));
  else if (input.id === "both-bad") setBothBad(input.checked);
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
  byId("main").addEventListener("input", (event) => { if (event.target.matches("textarea")) onChange(event); });
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".mark-passages");
    if (button) openPassages(button);
    const card = event.target.closest(".card");
    if (card && !event.target.closest("input, label, a, button, textarea, summary") && !getSelection().toString()) select(Number(card.dataset.index), false);
  });
  const open = { "open-keys": "keys", "open-prompt": "prompt-dialog", "open-logout": "logout-dialog" };
  for (const [button, dialog] of Object.entries(open)) byId(button)?.addEventListener("click", () => byId(dialog).showModal());
  byId("open-guideline").addEventListener("click", openGuideline);
  byId("toggle-raw").addEventListener("click", toggleRaw);
  byId("toggle-rows").addEventListener("click", () => setRows(!document.body.classList.contains("rows")));
  for (const name of ["full", "fold", "differences"]) byId(`toggle-${name}`).addEventListener("click", () => toggle(name, redraw));
  measureBar();
  byId("undo").addEventListener("click", () => sendAction("/api/undo", {}));
  byId("skip").addEventListener("click", openSkip);
  byId("submit").addEventListener("click", submit);
  enableLivePrompt(onLiveResponses);
  enableQuestions(() => item?.claim ?? null);
  byId("logout").addEventListener("click", async () => { await draft.save(); await call("/logout", {}); item = null; location.assign(`${base}/login`); });
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") leave(); });
  addEventListener("pagehide", leave);
  connectSpans();
  enableDrag((index, tier) => rank(index, tier, false));
}

function renderDialogs() {
  byId("reasons").replaceChildren(...settings.skip_reasons.map((reason, i) => {
    const button = make("button", { type: "button" }, [make("kbd", { textContent: String(i + 1) }), ` ${reason}`]);
    button.addEventListener("click", () => skip(reason));
    return button;
  }));
  renderShortcuts(byId("open-prompt") !== null);
}

// The page is hidden or left: saves the form, and the time that was spent on the item.
const leave = () => Promise.all([draft.save(), beat()]);

const beat = async () => (item === null ? undefined : call("/api/heartbeat", { claim: item.claim, seconds: timer.seconds() }).catch(() => undefined));

function startPolling() {
  setInterval(() => {
    if (timer.isActive()) beat();
  }, 60_000);
  setInterval(() => {
    // Errors are ignored: the server may have stopped once all labels were in.
    if (item === null && !busy) call("/api/next", {}).then(showItem).catch(() => undefined);
  }, 10_000);
}

async function start() {
  setRows(localStorage.getItem("rlhf-label-rows") === "1");
  settings = await call("/api/form");
  await loadGuideline();
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
