// The keyboard shortcuts and their list. Keys do nothing while one types.
import { path } from "/static/conversation.js";
import { copy } from "/static/clipboard.js";
import { continueResponse, isGenerating, lastResponses, regenerate, stop } from "/static/generate.js";
import { closeInspector } from "/static/inspect.js";
import { $, el } from "/static/render.js";
import { showError, startEdit, stepBranch, toggleDifferences, toggleRaw } from "/static/view.js";
import { vote } from "/static/votes.js";

const WRITING = [
  ["Enter", "send; Shift+Enter begins a new line"],
  ["Esc", "stop the response; leave the text box, the edited prompt or this list"],
];

const lastPrompt = () => path().findLast(({ role }) => role === "user");
const isCompared = (turn) => turn !== undefined && turn.responses.length > 1;
const click = (id) => () => $(id).click();

function votes(choice) {
  const turn = lastResponses();
  if (isCompared(turn)) vote(turn, choice);
}

function goOn() {
  const turn = lastResponses();
  const n = turn?.responses.findIndex(({ finish }) => finish !== "stop") ?? -1;
  if (n >= 0) continueResponse(turn, n);
}

// Key, what it does, action. The letter is that of the key on a US keyboard where the layout has no Latin letters.
const ACTIONS = [
  ["/", "write a message", () => $("text").focus()],
  ["n", "new chat", click("new")],
  ["s", "show or hide the conversations; search them", click("menu")],
  ["e", "edit the last prompt", () => { const turn = lastPrompt(); if (turn) startEdit(turn); }],
  ["r", "generate another response to the last prompt", () => { const turn = lastResponses(); if (turn) regenerate(turn); }],
  ["g", "continue a response that was cut off", goOn],
  ["[", "previous version", () => stepBranch(-1)],
  ["]", "next version", () => stepBranch(1)],
  ["c", "copy the last response", () => { const turn = lastResponses(); if (turn) copy(turn.responses[turn.chosen].text).catch(showError); }],
  ["v", "plain or formatted text", toggleRaw],
  ["1", "the first response is better", () => votes("1")],
  ["2", "the second response is better", () => votes("2")],
  ["=", "both are equally good", () => votes("tie")],
  ["b", "both are bad", () => votes("bad")],
  ["d", "mark the differences between two responses", () => { const turn = lastResponses(); if (isCompared(turn)) toggleDifferences(turn); }],
  ["x", "export this branch", click("export")],
  ["?", "this list", () => $("shortcuts").showModal()],
];
const ACTION_OF = new Map(ACTIONS.map(([key, , action]) => [key, action]));
const WHILE_GENERATING = ["/", "s", "?"];

const isTyping = (node) => node.matches("textarea, select, input:not([type=checkbox], [type=range])");

const PLACES = { BracketLeft: "[", BracketRight: "]", Slash: "/" };

// The key as ACTIONS names it; by its place on the keyboard if the layout writes no Latin letters
// there, or digits only with Shift.
function nameOf({ key, code }) {
  const name = key.toLowerCase();
  if (ACTION_OF.has(name)) return name;
  const [, letter, digit] = /^(?:Key([A-Z])|Digit([0-9]))$/.exec(code) ?? [];
  if (digit) return digit;
  if (/^[a-z]$/.test(name)) return name;
  return letter?.toLowerCase() ?? (/^\p{L}$/u.test(key) ? PLACES[code] : undefined) ?? name;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
  if (event.key === "Escape") {
    if (isGenerating()) stop();
    else if (isTyping(event.target)) event.target.blur();
    else closeInspector();
    return;
  }
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const name = nameOf(event);
  const action = ACTION_OF.get(name);
  if (!action || (isGenerating() && !WHILE_GENERATING.includes(name))) return;
  event.preventDefault();
  action();
}

export function enableShortcuts() {
  $("shortcut-list").replaceChildren(...[...WRITING, ...ACTIONS].flatMap(([key, description]) => [
    el("dt", {}, el("kbd", { textContent: key })), el("dd", { textContent: description }),
  ]));
  $("open-shortcuts").onclick = () => $("shortcuts").showModal();
  document.addEventListener("keydown", onKey);
}
