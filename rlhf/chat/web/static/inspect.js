// The panel that inspects a response: tokens, next-token probabilities, what training changed, embeddings.
import { call } from "/static/api.js";
import { steer } from "/static/generate.js";
import { $, bar, button, cell, curve, el, embeddingMap, table, token, visible } from "/static/render.js";
import { sampling } from "/static/settings.js";
import { fullText } from "/static/tree.js";

const SLIDER_DELAY = 60; // milliseconds: a moving slider sends only its last value
let inspected = null; // {turn, n, response, messages, tokens, position}
let served = []; // names of the models
let tab = "tokens";
let numRequests = 0; // so that a late reply does not overwrite a newer one

const requestBody = (fields = {}) => ({
  model: inspected.response.model, messages: inspected.messages, response: fullText(inspected.response), ...fields,
});

export function setServedModels(names) { served = names; }

export function closeInspector() {
  inspected = null;
  $("inspector").hidden = true;
}

export function openInspector(target) {
  inspected = { ...target, position: 0 };
  $("inspector").hidden = false;
  show(tab);
}

async function show(name) {
  tab = name;
  for (const other of document.querySelectorAll("[data-tab]")) other.ariaSelected = `${other.dataset.tab === tab}`;
  const request = ++numRequests;
  try {
    inspected.tokens ??= await call("/page/tokens", requestBody());
    const content = await { tokens, next, why, space }[name]();
    const title = el("p", { className: "model-name", textContent: `response of ${inspected.response.label}` });
    if (request === numRequests) $("pane").replaceChildren(title, ...content);
  } catch (error) {
    if (request === numRequests) showError(error);
  }
}

const showError = (error) => $("pane").replaceChildren(el("p", { textContent: error.message }));

// The tokens as buttons; the pressed one is the position that the "Next token" tab shows.
function tokenButtons(withPrompt) {
  const tokenButton = ({ id, text }, position, kind) => {
    const pressed = kind === "" && position === inspected.position;
    const element = button(visible(text), () => select(position), { className: kind, title: `token ${id}`, ariaPressed: `${pressed}` });
    if (withPrompt) element.append(el("small", { textContent: id }));
    return element;
  };
  const prompt = withPrompt ? inspected.tokens.prompt.map((t) => tokenButton(t, -1, "prompt")) : [];
  return [...prompt, ...inspected.tokens.response.map((t, position) => tokenButton(t, position, ""))];
}

function select(position) {
  if (position < 0) return;
  inspected.position = position;
  show("next");
}

async function tokens() {
  const { prompt, response } = inspected.tokens;
  return [
    el("p", { className: "legend", textContent: `${prompt.length} tokens of the prompt (dashed) and ${response.length} of the response, each with its id.` }),
    el("div", { className: "tokens" }, ...tokenButtons(true)),
  ];
}

function slider(name, label, min, max, onchange) {
  const output = el("output");
  const input = el("input", { type: "range", min, max, step: 0.05, value: sampling()[name], ariaLabel: label });
  const showValue = () => { output.textContent = Number(input.value).toFixed(2); };
  input.oninput = () => { showValue(); clearTimeout(input.timer); input.timer = setTimeout(onchange, SLIDER_DELAY); };
  showValue();
  return [input, el("label", { className: "inline" }, `${label} `, output, input)];
}

async function next() {
  const container = el("div");
  const ids = inspected.tokens.response.slice(0, inspected.position).map((t) => t.id);
  const onchange = () => refresh().catch(showError);
  const [temperature, temperatureLabel] = slider("temperature", "temperature", 0, 2, onchange);
  const [topP, topPLabel] = slider("top_p", "top-p", 0.05, 1, onchange);
  const settings = () => ({ temperature: Number(temperature.value), top_p: Number(topP.value) });
  let newest = 0;
  async function refresh() {
    const request = ++newest;
    const likeliest = await call("/page/next", requestBody({ ids, ...settings(), most: 15 }));
    if (request === newest) container.replaceChildren(likeliestTable(likeliest, ids));
  }
  await refresh();
  return [
    el("div", { className: "tokens" }, ...tokenButtons(false)),
    temperatureLabel, topPLabel,
    el("p", { className: "legend" }, "Bar: probability used for sampling (?: a server does not tell it). ", el("b", { textContent: "Line" }), ": probability at temperature 1. Click a token to continue from it; the response so far stays."),
    container,
    allPositions(() => ({ ...settings(), most: 5 })),
  ];
}

// Every position of the response in one table: the token, and the likeliest tokens there.
function allPositions(settings) {
  const container = el("div");
  const details = el("details", {}, el("summary", { textContent: "All positions of the response" }), container);
  details.ontoggle = async () => {
    if (!details.open) return;
    try {
      const ids = inspected.tokens.response.map((t) => t.id);
      const positions = await call("/page/positions", requestBody({ ids, ...settings() }));
      container.replaceChildren(table(["token", "p", "rank", "likeliest here"], positions.map(positionRow)));
    } catch (error) {
      container.replaceChildren(el("p", { textContent: error.message }));
    }
  };
  return details;
}

function positionRow({ token: own, probability, rank, likeliest }, position) {
  const name = button(visible(own.text), () => select(position), { title: "inspect this position" });
  const others = el("span", {}, ...likeliest.flatMap((other) => [token(other.token.text), ` ${other.probability.toFixed(2)} `]));
  return el("tr", {}, cell(name), cell(probability.toFixed(3)), cell(`${rank}`), cell(others));
}

function likeliestTable(likeliest, ids) {
  const sampled = inspected.tokens.response[inspected.position];
  const rows = likeliest.map(({ token: candidate, probability, reshaped }) => {
    const name = token(candidate.text);
    if (candidate.id === sampled?.id) name.append(" ✓");
    const row = el("tr", { className: "candidate", tabIndex: 0, title: "continue from this token, in another version of the response" },
      cell(name), cell(`${candidate.id}`), cell(probability.toFixed(3)), cell(reshaped?.toFixed(3) ?? "?"), cell(bar(probability, reshaped ?? probability)));
    row.onclick = () => replaceToken(candidate, ids).catch(showError);
    row.onkeydown = (event) => { if (event.key === "Enter") row.onclick(); };
    return row;
  });
  return table(["token", "id", "p", "p after temperature and top-p", ""], rows);
}

// Continue the response from the tokens before this position and the clicked token.
async function replaceToken(candidate, before) {
  const { turn, n } = inspected;
  const ids = [...before, candidate.id];
  const { thought, text } = await call("/page/tokens", requestBody({ ids }));
  if (!inspected) return;
  closeInspector();
  await steer(turn, n, { thought, text }, ids);
}

async function why() {
  const own = inspected.response.label;
  const others = served.filter((name) => name !== own);
  const { tokens: differences, rewards } = await call("/page/why", requestBody({ others }));
  const names = differences.map(({ token: { text } }) => visible(text));
  const maxKl = Math.max(1e-9, ...differences.flatMap(({ kl }) => kl));
  const klCell = (value) => { const element = cell(bar(undefined, value / maxKl)); element.title = `${value.toFixed(3)} nats`; return element; };
  const rows = differences.map(({ token: { text }, logprobs, kl }, position) => el("tr", {},
    cell(token(text)),
    ...logprobs.map((value) => cell(Math.exp(value).toFixed(3))),
    ...kl.map(klCell),
    ...(rewards.length ? [cell(rewards[position].toFixed(2))] : [])));
  const heads = ["token", ...[own, ...others].map((name) => `p ${name}`), ...others.map((name) => `KL from ${name}`)];
  const total = (n) => differences.reduce((sum, { kl }) => sum + kl[n], 0);
  const totals = others.map((name, n) => `KL from ${name}: ${total(n).toFixed(3)} nats in total.`);
  const content = [el("p", { className: "legend", textContent: others.length ? totals.join(" ") : "Serve a second checkpoint to see what changed between them." })];
  if (rewards.length) {
    const legend = `Reward if the response ended at each token; ${rewards.at(-1).toFixed(3)} for the whole response.`;
    content.push(el("p", { className: "legend", textContent: legend }), curve(rewards, names));
  } else {
    content.push(el("p", { className: "legend", textContent: "Serve with --reward_model DIR to see the reward token by token." }));
  }
  return [...content, table([...heads, ...(rewards.length ? ["reward"] : [])], rows)];
}

async function space() {
  const input = el("textarea", { rows: 4, placeholder: "Prompts to show next to this one, one per line", ariaLabel: "prompts" });
  const container = el("div");
  const draw = async () => {
    const texts = input.value.split("\n").map((line) => line.trim()).filter(Boolean);
    try {
      const { points, path, explained } = await call("/page/space", requestBody({ texts }));
      const kind = texts.length ? "prompts" : "tokens of the vocabulary";
      container.replaceChildren(
        el("p", { className: "legend" }, `${points.length} ${kind} on two principal axes, which hold ${(100 * explained).toFixed(1)}% of the variance. `, el("i", { textContent: "Line" }), ": the response, token by token. Hover to see the texts."),
        embeddingMap(points, path));
    } catch (error) {
      container.replaceChildren(el("p", { textContent: error.message }));
    }
  };
  await draw();
  return [input, el("div", { className: "inline" }, button("Draw map", draw)), container];
}

for (const other of document.querySelectorAll("[data-tab]")) other.onclick = () => show(other.dataset.tab);
$("close").onclick = closeInspector;
