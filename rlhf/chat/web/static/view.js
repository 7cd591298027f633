// Draws the branch that is shown.
import { copy } from "/static/clipboard.js";
import { path, put, save, show, state } from "/static/conversation.js";
import { follow } from "/static/follow.js";
import { continueResponse, edit, isGenerating, regenerate } from "/static/generate.js";
import { closeInspector, openInspector } from "/static/inspect.js";
import { $, button, el } from "/static/render.js";
import { drawText, drawThought, renderStreamed, updateThoughtSummary } from "/static/texts.js";
import { newestLeaf, promptOf, siblings } from "/static/tree.js";
import { markDifferences, unmarkDifferences, wordCount } from "/static/text/words.js";
import { rate, vote } from "/static/votes.js";

const raw = new Set(); // places of responses that are shown as plain text
let editing = null; // {id, text} of the prompt that is being edited
let compared = null; // id of the turn whose differences are marked

const place = (turn, n) => `${turn.id} ${n}`;

export function showError(error) {
  $("error").textContent = error ? error.message : "";
  $("error").hidden = !error;
}

// Show what was added to response `n` of a turn that is on the page: raw text as it comes, Markdown
// as fast as the server renders it.
export function drawStreamed(turn, n) {
  const response = turn.responses[n];
  const article = document.querySelector(`[data-turn="${turn.id}"] [data-n="${n}"]`);
  const element = article?.querySelector(":scope > .text");
  if (!element) return;
  const hadText = element.textContent !== "";
  let thought = article.querySelector(".thought");
  if (response.thought && !thought) {
    thought = drawThought(response);
    element.before(thought);
  }
  if (thought) {
    if (!response.text) thought.lastChild.textContent = response.thought;
    updateThoughtSummary(thought, response);
    if (response.text && !hadText) thought.open = false;
  }
  if (element.classList.contains("plain")) element.textContent = response.text;
  if (response.text && !element.dataset.rendering && !raw.has(place(turn, n))) renderStreamed(element, response);
  follow();
}

// `‹ 2/3 ›` between the branches of a turn.
function branchButtons(turn) {
  const all = siblings(state.turns, turn);
  if (all.length < 2 || isGenerating()) return [];
  const index = all.indexOf(turn);
  const to = (other) => button(other < index ? "‹" : "›", () => showBranch(all[other]), {
    disabled: !all[other], ariaLabel: other < index ? "previous version" : "next version",
  });
  return [el("span", { className: "branches" }, to(index - 1), el("span", { textContent: `${index + 1}/${all.length}` }), to(index + 1))];
}

function showBranch(turn) {
  closeInspector();
  show(newestLeaf(state.turns, turn.id));
  save();
  draw();
}

// Show the previous (-1) or next (1) branch of the last turn that has branches.
export function stepBranch(step) {
  const turn = path().findLast((one) => siblings(state.turns, one).length > 1);
  const all = turn ? siblings(state.turns, turn) : [];
  const other = all[all.indexOf(turn) + step];
  if (other && !isGenerating()) showBranch(other);
}

const copyButton = (text) => {
  const element = button("copy", () => copy(text).then(() => { element.textContent = "copied"; }).catch(showError));
  return element;
};

export function startEdit(turn) {
  if (isGenerating()) return;
  editing = { id: turn.id, text: turn.content };
  draw();
  document.querySelector(".edit textarea").focus();
}

function endEdit() {
  editing = null;
  draw();
}

function drawEdit(turn) {
  const box = el("textarea", { value: editing.text, dir: "auto", ariaLabel: "edited prompt", rows: Math.min(12, editing.text.split("\n").length + 1) });
  const submit = () => {
    const text = box.value.trim();
    if (!text || isGenerating()) return;
    editing = null;
    edit(turn, text).then((isKept) => { if (!isKept) { editing = { id: turn.id, text }; draw(); } });
  };
  box.oninput = () => { editing.text = box.value; };
  box.onkeydown = (event) => {
    if (event.key === "Escape") endEdit();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  };
  return el("div", { className: "edit" }, box, el("div", { className: "actions" },
    button("Send", submit, { className: "primary" }), button("Cancel", endEdit),
    el("span", { className: "dim", textContent: "The earlier version stays; ‹ › goes back to it." })));
}

function drawPrompt(turn) {
  if (editing?.id === turn.id) return el("div", { className: "turn user", data: { turn: turn.id } }, drawEdit(turn));
  const actions = isGenerating() ? [] : [...branchButtons(turn), button("edit", () => startEdit(turn)), copyButton(turn.content)];
  return el("div", { className: "turn user", data: { turn: turn.id } },
    el("div", { className: "text plain", dir: "auto", textContent: turn.content }), el("div", { className: "actions" }, ...actions));
}

function drawActions(turn, n) {
  const response = turn.responses[n];
  if (isGenerating() || !(response.text || response.thought)) return [];
  const thumb = (text, direction) =>
    button(text, () => rate(turn, n, direction), { ariaPressed: `${response.thumb === direction}` });
  const isRaw = raw.has(place(turn, n));
  const toggleRaw = () => { raw[isRaw ? "delete" : "add"](place(turn, n)); draw(); };
  // The inspector shows the model's name, so it has to wait for a blind vote.
  const isHidden = response.model !== response.label;
  const inspect = () => openInspector({ turn, n, response, messages: promptOf(state.turns, turn) });
  return [
    ...(response.text ? [thumb("good", "up"), thumb("poor", "down"), copyButton(response.text), button("raw", toggleRaw, { ariaPressed: `${isRaw}` })] : []),
    ...(response.finish === "stop" ? [] : [button("continue", () => continueResponse(turn, n))]),
    ...(isHidden ? [] : [button("inspect", inspect)]),
  ];
}

// Show all responses of the branch as plain text, or all as Markdown.
export function toggleRaw() {
  const places = path().flatMap((turn) => (turn.responses ?? []).map((_, n) => place(turn, n)));
  const all = places.every((one) => raw.has(one));
  for (const one of places) raw[all ? "delete" : "add"](one);
  draw();
}

function heading(turn, n) {
  const response = turn.responses[n];
  const isSeveral = turn.responses.length > 1;
  const name = isSeveral && response.label !== `${n + 1}` ? `${n + 1} ${response.label}` : response.label;
  const stopped = response.finish || isGenerating() ? "" : "stopped";
  // Rewards would influence the vote, so they are shown after it.
  const hasReward = (response.reward ?? null) !== null && (!isSeveral || turn.vote);
  return [
    name, response.finish === "length" ? "max tokens reached" : stopped, response.steered ? "steered" : "",
    isGenerating() ? "" : wordCount(response.text), hasReward ? `reward ${response.reward.toFixed(2)}` : "",
  ].filter(Boolean).join(" · ");
}

function drawResponse(turn, n) {
  const response = turn.responses[n];
  const isChosen = turn.responses.length > 1 && turn.vote === `${n + 1}`;
  const text = raw.has(place(turn, n))
    ? el("div", { className: "text plain mono", dir: "auto", textContent: response.text })
    : drawText(response.text, markAgain);
  const isBlank = !isGenerating() && !response.text.trim() && !response.thought;
  return el("article", { className: `response${isChosen ? " chosen" : ""}`, data: { n } },
    el("p", { className: "model-name", textContent: heading(turn, n) }),
    ...(response.thought ? [drawThought(response)] : []), text,
    ...(isBlank ? [el("p", { className: "dim", textContent: "(empty)" })] : []),
    el("div", { className: "actions" }, ...drawActions(turn, n)));
}

function drawVotes(turn) {
  const choices = { 1: "1 is better", 2: "2 is better", tie: "tie", bad: "both bad" };
  const buttons = Object.entries(choices).map(([choice, text]) =>
    button(text, () => vote(turn, choice), { ariaPressed: `${turn.vote === choice}` }));
  const differences = button("differences", () => toggleDifferences(turn), { ariaPressed: `${compared === turn.id}`, title: "Mark the words that the other response does not have" });
  return el("div", { className: "votes" }, ...buttons, ...(CSS.highlights ? [differences] : []));
}

// Notes on the prompt that the responses were generated from, where it is not what the branch shows.
function drawNotes(turn, before) {
  const { system = "", dropped = 0 } = turn;
  const notes = [];
  if (system !== (before?.system ?? "")) notes.push(system ? `System message: ${system}` : "No system message from here on");
  if (dropped) notes.push(`Left out the ${dropped} oldest turns, which no longer fit`);
  return notes.map((text) => el("p", { className: "note", dir: "auto", textContent: text }));
}

function drawResponses(turn, before, isLast) {
  const actions = isGenerating() ? [] : [...branchButtons(turn), ...(isLast ? [button("regenerate", () => regenerate(turn))] : [])];
  return el("div", { className: "turn assistant", data: { turn: turn.id } },
    ...drawNotes(turn, before),
    el("div", { className: "responses" }, ...turn.responses.map((_, n) => drawResponse(turn, n))),
    ...(turn.responses.length > 1 && !isGenerating() ? [drawVotes(turn)] : []),
    ...(actions.length ? [el("div", { className: "actions" }, ...actions)] : []));
}

export function toggleDifferences(turn) {
  compared = compared === turn.id ? null : turn.id;
  draw();
}

function markAgain() {
  const texts = compared ? [...document.querySelectorAll(`[data-turn="${compared}"] .response > .text`)] : [];
  if (texts.length > 1) markDifferences(texts);
  else unmarkDifferences();
}

export function draw() {
  const shown = path();
  $("model-info").hidden = shown.length > 0;
  $("conversation").replaceChildren(...shown.map((turn, index) => (turn.role === "user"
    ? drawPrompt(turn)
    : drawResponses(turn, shown.slice(0, index).findLast(({ role }) => role === "assistant"), index === shown.length - 1))));
  markAgain();
  follow();
}

// A turn has changed: keep it, and show it.
export function changed(turn) {
  put(turn);
  save();
  draw();
}
