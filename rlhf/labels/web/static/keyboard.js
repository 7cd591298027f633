// The keyboard of the label page; keys do nothing in text boxes.
import { onLineKey, toNextLine } from "./answering.js";
import { toggleEarlier } from "./conversation.js";
import { byId } from "./elements.js";
import { openGuideline } from "./guideline.js";
import { cardOf, openBox, redraw, select, startFrom, toggleRaw } from "./item.js";
import { actionOf, keyOf } from "./keys.js";
import { compare, onDigit, rank, setBad } from "./ranking.js";
import { scrollPane, toggle } from "./reading.js";
import { openSkip, skip, submit, undo } from "./send.js";
import { page } from "./state.js";
import { openWork } from "./work.js";

export function setRows(rows) {
  document.body.classList.toggle("rows", rows);
  byId("toggle-rows").setAttribute("aria-pressed", `${rows}`);
  localStorage.setItem("rlhf-label-rows", rows ? "1" : "");
}

export const toggleRows = () => setRows(!document.body.classList.contains("rows"));

const focusIn = (selector) => cardOf(page.current).querySelector(selector)?.focus();

function step(by) {
  const count = page.form.tiers.length;
  select((page.current + by + count) % count);
}

// The response that a better one would start from: the better one of a pair, or the selected one.
const startIndex = () => (page.form.tiers.length > 2 ? page.current : page.form.scale > 0 ? 1 : 0);

const ALWAYS = {
  guideline: openGuideline,
  undo,
  questions: () => byId("open-questions").click(),
  work: openWork,
  prompt: () => byId("prompt-dialog")?.showModal(),
};
const WITH_ITEM = {
  bad: () => setBad(!page.form.both_bad),
  skip: openSkip,
  comment: () => openBox("comment"),
  rewrite: () => openBox("rewrite"),
  edit: () => { if (page.settings.rewrite) startFrom(startIndex()); },
  flags: () => focusIn(".flags input"),
  overall: () => focusIn(".overall input"),
  criterion: toNextLine,
  earlier: toggleEarlier,
  raw: toggleRaw,
  differences: () => toggle("differences", redraw),
  fold: () => toggle("fold", redraw),
  full: () => toggle("full", redraw),
  rows: toggleRows,
  next: () => step(1),
  previous: () => step(-1),
};

// What a key does that is bound to an action.
function act(action) {
  if (action in ALWAYS) ALWAYS[action]();
  else if (page.item !== null) WITH_ITEM[action]();
}

const isTyping = (node) => node.matches("textarea, input:not([type=radio]):not([type=checkbox]), select, [contenteditable]");

function onTypingKey(event) {
  if (event.key === "Escape") event.target.blur();
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  const dialog = event.target.closest("dialog");
  if (dialog) { dialog.querySelector("button[type=button].primary")?.click(); return; }
  event.target.blur();
  submit();
}

// A digit in the dialog of a skip is its reason.
function onDialogKey(dialog, key, consume) {
  const reason = page.settings?.skip_reasons[Number(key) - 1];
  if (dialog.id === "skip-dialog" && reason) { consume(); skip(reason); }
}

// The keys that are bound to no action.
function onFixedKey(event, key, consume) {
  const count = page.form.tiers.length;
  if (/^[0-9]$/.test(key)) { consume(); onDigit(Number(key)); }
  else if (key === "=" && count === 2) { consume(); compare(0); }
  else if (key === "Enter" && !event.repeat) { consume(); submit(); }
  else if (key === "PageDown" || key === "PageUp") { if (scrollPane(cardOf(page.current), key === "PageDown" ? 1 : -1)) consume(); }
  else if (key === "Backspace" && count > 2) { consume(); rank(page.current, null, false); }
  else if (key === "ArrowRight" || key === "ArrowDown") { consume(); step(1); }
  else if (key === "ArrowLeft" || key === "ArrowUp") { consume(); step(-1); }
}

export function onKey(event) {
  if (event.isComposing || event.getModifierState("AltGraph")) return;
  if (isTyping(event.target)) { onTypingKey(event); return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = keyOf(event);
  const consume = () => event.preventDefault();
  const dialog = document.querySelector("dialog[open]");
  if (dialog) { onDialogKey(dialog, key, consume); return; }
  if (event.target.matches("button, a, summary") && (key === "Enter" || key === " ")) return;
  if (event.target.matches("input[type=radio]") && key.startsWith("Arrow")) return;
  const line = event.target.closest(".question .line, .overall .ratings");
  if (line && onLineKey(line, key)) { consume(); return; }
  const action = actionOf(key);
  if (key === "?") { consume(); byId("keys").showModal(); }
  else if (action) { consume(); if (!event.repeat || action !== "undo") act(action); }
  else if (page.item !== null) onFixedKey(event, key, consume);
}
