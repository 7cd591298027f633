// The page: a conversation with one model, or with two side by side.
import { call, stream } from "/static/api.js";
import { closeInspector, openInspector } from "/static/inspect.js";
import { button, el } from "/static/render.js";

const $ = (id) => document.getElementById(id);
const STORAGE_KEY = "rlhf-conversation";
// Turns: {role: "user", content}, or {role: "assistant", responses, chosen, vote} with one response per
// model: {model, label, thought, text, finish, thumb, reward}. `model` is a blind name until the vote.
let turns = JSON.parse(sessionStorage.getItem(STORAGE_KEY) ?? "[]");
let generating = null; // an AbortController while responses are generated
let server = { models: [], reward: false };

const save = () => sessionStorage.setItem(STORAGE_KEY, JSON.stringify(turns));

export const sampling = () => ({
  temperature: Number($("temperature").value),
  top_p: Number($("top-p").value),
});

const maxTokens = () => Number($("max-tokens").value) || undefined;

// A response with its thought in its text, as stores and models take it; templates drop old thoughts.
export const fullText = ({ thought, text }) => (thought ? `<think>\n${thought}\n</think>\n\n${text}` : text);

// A message with its thought in a field of its own, as SFT reads it.
const withThoughtField = ({ thought, text }) => ({ content: text, ...(thought ? { reasoning_content: thought } : {}) });

// The messages that a model reads: the chosen response of each turn before turn `end`.
function messages(end, format = (response) => ({ content: fullText(response) })) {
  const system = $("system").value.trim();
  const before = turns.slice(0, end).map((turn) =>
    turn.role === "user" ? { role: "user", content: turn.content } : { role: "assistant", ...format(turn.responses[turn.chosen]) });
  return [...(system ? [{ role: "system", content: system }] : []), ...before];
}

function showError(error) {
  $("error").textContent = error ? error.message : "";
  $("error").hidden = !error;
}

async function renderMarkdown(element, response, name = "text") {
  const text = response[name];
  const { html } = await call("/page/markdown", { text });
  if (response[name] !== text && generating) return;
  element.className = "text";
  element.innerHTML = html;
}

const wordCount = (text) => { const count = text.split(/\s+/).filter(Boolean).length; return `${count} word${count === 1 ? "" : "s"}`; };

// The thought of a response, folded; it is open while it is generated, until the response begins.
function drawThought(response) {
  const text = el("div", { className: "text plain", textContent: response.thought });
  const details = el("details", { className: "thought", open: !response.text }, el("summary"), text);
  updateThoughtSummary(details, response);
  // Rendered when it is opened: most thoughts never are.
  details.ontoggle = () => { if (details.open && !generating) renderMarkdown(text, response, "thought").catch(() => undefined); };
  return details;
}

function updateThoughtSummary(details, { thought, text, finish }) {
  details.firstChild.textContent = `${generating && !text && !finish ? "Thinking" : "Thought"}, ${wordCount(thought)}`;
}

// Stream a response into `element`: raw text as it comes, Markdown as fast as the server renders it.
async function streamInto(element, response, request) {
  let thought = element.parentElement.querySelector(".thought");
  let rendering = false;
  const render = async () => {
    if (rendering) return;
    rendering = true;
    await renderMarkdown(element, response).catch(() => undefined);
    rendering = false;
  };
  element.className = "text plain";
  for await (const { thought: newThought, text, finish } of stream(request.path, request.body, generating.signal)) {
    const hadText = Boolean(response.text);
    response.thought += newThought;
    response.text += text;
    response.finish = finish ?? response.finish;
    if (newThought && !thought) {
      thought = drawThought(response);
      element.before(thought);
    }
    if (newThought) thought.lastChild.textContent = response.thought;
    if (thought) updateThoughtSummary(thought, response);
    if (thought && text && !hadText) thought.open = false;
    if (element.className === "text plain") element.textContent = response.text;
    if (text) render();
  }
}

// Generate the responses of the last turn; each request is the {path, body} of one response.
async function generate(turn, requests) {
  generating = new AbortController();
  showError();
  showBusy(true);
  draw();
  const elements = document.querySelectorAll(".turn:last-child .response > .text");
  $("conversation").lastElementChild.scrollIntoView({ block: "end" });
  const outcomes = await Promise.allSettled(turn.responses.map((response, n) => streamInto(elements[n], response, requests[n])));
  const failed = outcomes.find(({ status, reason }) => status === "rejected" && reason.name !== "AbortError");
  if (failed) showError(failed.reason);
  generating = null;
  // A prompt without any response goes back into the input, to be sent again.
  if (failed && turn.responses.every((response) => !response.text && !response.thought)) {
    turns.pop();
    if (!$("text").value) $("text").value = turns.pop().content;
  }
  save();
  showBusy(false);
  draw();
  if (server.reward) await score(turn).catch(showError);
}

async function score(turn) {
  const index = turns.indexOf(turn);
  if (index < 1 || turn.responses.some((response) => !response.text)) return;
  const rewards = await call("/page/rewards", { messages: messages(index), responses: turn.responses.map(fullText) });
  turn.responses.forEach((response, n) => { response.reward = rewards[n]; });
  save();
  if (!generating) draw();
}

const emptyResponse = (model, label) => ({ model, label, thought: "", text: "", finish: "", thumb: "" });

async function respond() {
  const names = [$("first").value, $("second").value].filter(Boolean);
  const blind = $("blind").checked && names.length > 1;
  const models = blind ? (await call("/page/blind", { models: names })).names : names;
  const seed = $("seed").value === "" ? Math.floor(Math.random() * 2 ** 31) : Number($("seed").value);
  const body = { messages: messages(turns.length), seed, max_tokens: maxTokens(), ...sampling() };
  const responses = models.map((model, n) => emptyResponse(model, blind ? `${n + 1}` : model));
  const turn = { role: "assistant", chosen: 0, vote: "", responses };
  turns.push(turn);
  await generate(turn, models.map((model) => ({ path: "/v1/chat/completions", body: { ...body, model } })));
}

async function send(text) {
  turns.push({ role: "user", content: text });
  await respond().catch((error) => {
    turns.pop();
    $("text").value = text;
    showError(error);
    draw();
  });
}

// Continue response `n` of turn `index` after `ids`; prefix: their thought and text.
export async function continueFrom(index, n, prefix, ids) {
  const { model, label } = turns[index].responses[n];
  turns = turns.slice(0, index);
  const turn = { role: "assistant", chosen: 0, vote: "", responses: [{ ...emptyResponse(model, label), ...prefix }] };
  const body = { model, messages: messages(index), ids, max_tokens: maxTokens(), seed: Number($("seed").value) || 0, ...sampling() };
  turns.push(turn);
  await generate(turn, [{ path: "/page/go_on", body }]);
}

function showBusy(busy) {
  $("send").hidden = busy;
  $("stop").hidden = !busy;
}

async function vote(index, choice) {
  const turn = turns[index];
  const { responses } = turn;
  try {
    const { models } = await call("/page/vote", {
      messages: messages(index), responses: responses.map(fullText), models: responses.map(({ model }) => model), vote: choice,
    });
    turn.vote = choice;
    // Later turns belong to the response that was chosen then.
    if (Number(choice) && index === turns.length - 1) turn.chosen = Number(choice) - 1;
    responses.forEach((response, n) => Object.assign(response, { label: models[n], model: models[n] }));
    showError();
  } catch (error) {
    showError(error);
  }
  save();
  draw();
}

async function thumb(index, n, up) {
  const response = turns[index].responses[n];
  try {
    await call("/page/thumb", { messages: messages(index), response: fullText(response), model: response.model, up });
    response.thumb = up ? "up" : "down";
    showError();
  } catch (error) {
    showError(error);
  }
  save();
  draw();
}

function edit(index) {
  $("text").value = turns[index].content;
  turns = turns.slice(0, index);
  closeInspector();
  save();
  draw();
  $("text").focus();
}

function regenerate(index) {
  turns = turns.slice(0, index);
  closeInspector();
  respond().catch(showError);
}

function drawUser(turn, index) {
  const actions = generating ? [] : [button("edit", () => edit(index))];
  return el("div", { className: "turn user" }, el("div", { className: "text", textContent: turn.content }), el("div", { className: "actions" }, ...actions));
}

function drawActions(turn, index, n) {
  const response = turn.responses[n];
  if (generating || !(response.text || response.thought)) return [];
  const thumbButton = (text, direction) => button(text, () => thumb(index, n, direction === "up"), {
    ariaPressed: `${response.thumb === direction}`, ariaLabel: `thumb ${direction}`,
  });
  const thumbs = response.text ? [thumbButton("good", "up"), thumbButton("poor", "down")] : [];
  // The inspector shows the model's name, so it has to wait for a blind vote.
  const hidden = response.model !== response.label;
  const inspect = () => openInspector({ index, n, response, messages: messages(index), server });
  return [...thumbs, ...(hidden ? [] : [button("inspect", inspect)])];
}

function drawResponse(turn, index, n) {
  const response = turn.responses[n];
  const text = el("div", { className: "text plain", textContent: response.text });
  if (!generating && response.text) renderMarkdown(text, response).catch(() => undefined);
  const unfinished = response.finish || generating ? "" : " · stopped";
  const ending = response.finish === "length" ? " · max tokens reached" : unfinished;
  // Rewards would influence the vote, so they are shown after it.
  const showReward = response.reward !== undefined && (turn.responses.length === 1 || turn.vote);
  const reward = showReward ? ` · reward ${response.reward.toFixed(2)}` : "";
  const chosen = turn.responses.length > 1 && turn.chosen === n && turn.vote ? " chosen" : "";
  return el("article", { className: `response${chosen}`, data: { n } },
    el("p", { className: "model-name", textContent: response.label + ending + reward }),
    ...(response.thought ? [drawThought(response)] : []), text,
    el("div", { className: "actions" }, ...drawActions(turn, index, n)));
}

function drawAssistant(turn, index) {
  const element = el("div", { className: "turn assistant" },
    el("div", { className: "responses" }, ...turn.responses.map((_, n) => drawResponse(turn, index, n))));
  if (turn.responses.length > 1 && !generating) {
    const choices = { 1: "1 is better", 2: "2 is better", tie: "tie", bad: "both bad" };
    const buttons = Object.entries(choices).map(([choice, text]) =>
      button(text, () => vote(index, choice), { ariaPressed: `${turn.vote === choice}` }));
    element.append(el("div", { className: "votes" }, ...buttons));
  }
  if (index === turns.length - 1 && !generating) {
    element.append(el("div", { className: "actions" }, button("regenerate", () => regenerate(index))));
  }
  return element;
}

function draw() {
  $("conversation").replaceChildren(...turns.map((turn, index) => (turn.role === "user" ? drawUser(turn, index) : drawAssistant(turn, index))));
}

function drawModelInfo() {
  const selected = server.models.filter(({ id }) => [$("first").value, $("second").value].includes(id));
  const hidden = turns.length || ($("blind").checked && $("second").value);
  const lines = selected.flatMap((model) => [
    ...model.facts.map((text) => el("p", { textContent: text })),
    ...model.warnings.map((text) => el("p", { className: "warning", textContent: `warning: ${text}` })),
  ]);
  $("model-info").replaceChildren(...(hidden ? [] : lines));
}

// Download one `messages` row, as SFT reads it: the chosen responses, without a last open prompt.
function exportConversation() {
  const end = turns.length && turns.at(-1).role === "user" ? turns.length - 1 : turns.length;
  const row = JSON.stringify({ messages: messages(end, withThoughtField) });
  const blob = new Blob([`${row}\n`], { type: "application/x-ndjson" });
  const link = el("a", { href: URL.createObjectURL(blob), download: "chat.jsonl" });
  link.click();
  URL.revokeObjectURL(link.href);
}

function setTheme(theme) {
  const setting = theme ?? localStorage.getItem("rlhf-theme") ?? "";
  const dark = setting ? setting === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  if (theme) localStorage.setItem("rlhf-theme", theme);
}

function startNewChat() {
  generating?.abort();
  turns = [];
  closeInspector();
  save();
  showError();
  draw();
  drawModelInfo();
}

function addListeners() {
  $("composer").onsubmit = (event) => {
    event.preventDefault();
    const text = $("text").value.trim();
    if (!text || generating) return;
    $("text").value = "";
    drawModelInfo();
    send(text).then(drawModelInfo);
  };
  $("text").onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("composer").requestSubmit();
  };
  $("stop").onclick = () => generating?.abort();
  $("new").onclick = startNewChat;
  $("export").onclick = exportConversation;
  $("theme").onclick = () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  for (const id of ["first", "second", "blind"]) $(id).onchange = drawModelInfo;
  for (const id of ["temperature", "top-p"]) {
    const showValue = () => { $(`${id}-value`).textContent = Number($(id).value).toFixed(2); };
    $(id).addEventListener("input", showValue);
    showValue();
  }
}

async function start() {
  setTheme();
  addListeners();
  draw();
  server = await call("/page/models");
  const names = server.models.map(({ id }) => id);
  $("first").append(...names.map((name) => new Option(name)));
  $("second").append(new Option("none", ""), ...names.map((name) => new Option(name)));
  if (names.length > 1) $("second").value = names[1];
  $("max-tokens").max = server.max_new_tokens;
  $("max-tokens").value = Math.min(256, server.max_new_tokens);
  drawModelInfo();
  document.body.dataset.ready = "";
}

start().catch(showError);
