// Prompts and responses: every action adds turns to the tree, and none removes a text.
import { call, stream } from "/static/api.js";
import { path, put, remove, save, show, state, turnOf } from "/static/conversation.js";
import { jumpToEnd } from "/static/follow.js";
import { $ } from "/static/render.js";
import { maxTokens, newSeed, sampling, setField, system } from "/static/settings.js";
import { branch, emptyResponse, fullText, isEmpty, messagesOf, prompt, promptOf, responsesTo } from "/static/tree.js";
import { wordCount } from "/static/text/words.js";
import { prepare } from "/static/texts.js";
import { draw, drawStreamed, showError } from "/static/view.js";

const SAVE_INTERVAL = 3000; // milliseconds between saves of responses that are being generated
let running = null; // {turn, controller} while responses are generated; turn is null before they begin
let current = Promise.resolve();
let hasReward = false;

export const isGenerating = () => running !== null;
export const stop = () => running?.controller.abort();
export function scoreResponses(available) { hasReward = available; }

// A conversation is left only after this: what is generated belongs to the conversation that is shown.
export function stopAndWait() {
  stop();
  return current;
}

// What has been generated so far outlives the page.
export function keepUnfinished() {
  if (running?.turn) put(running.turn);
}

function showBusy(busy) {
  $("send").hidden = busy;
  $("stop").hidden = !busy;
}

// Do `work`, which generates the responses of a turn, while nothing else is generated. Returns
// whether there are responses.
async function run(work) {
  if (running) return false;
  running = { turn: null, controller: new AbortController() };
  showBusy(true);
  showError();
  current = work().catch((error) => { showError(error); return null; }).finally(() => {
    running = null;
    showBusy(false);
    draw();
  });
  const turn = await current;
  if (turn && hasReward) await score(turn).catch(showError);
  return turn !== null;
}

// Stream one response: its thought, then its text.
async function receive(turn, n, { path: route, body }) {
  const response = turn.responses[n];
  let savedAt = 0;
  for await (const { thought, text, finish } of stream(route, body, running.controller.signal)) {
    response.thought += thought;
    response.text += text;
    response.finish = finish ?? response.finish;
    drawStreamed(turn, n);
    if (!isEmpty(response) && Date.now() - savedAt > SAVE_INTERVAL) {
      savedAt = Date.now();
      put(turn);
      save();
    }
  }
}

// Generate responses of `turn`: `requests` has {path, body} by the index of the response. If nothing
// comes, the turn is taken back, the branch `before` is shown again, and the result is null.
async function generate(turn, requests, before) {
  const begun = turn.responses.map(fullText);
  running.turn = turn;
  put(turn);
  show(turn.id);
  draw();
  jumpToEnd();
  const outcomes = await Promise.allSettled(requests.map(([n, request]) => receive(turn, n, request)));
  const failed = outcomes.find(({ status, reason }) => status === "rejected" && reason.name !== "AbortError");
  await Promise.allSettled(turn.responses.map(({ text }) => prepare(text)));
  if (failed) showError(failed.reason);
  const hasGrown = turn.responses.some((response, n) => fullText(response) !== begun[n]);
  if (!hasGrown && (failed || running.controller.signal.aborted)) {
    remove(turn);
    show(before);
    return null;
  }
  put(turn);
  save();
  $("announcement").textContent = `Response complete, ${turn.responses.map(({ text }) => wordCount(text)).join(" and ")}`;
  return turn;
}

async function score(turn) {
  if (turn.responses.some(({ text }) => !text)) return;
  const rewards = await call("/page/rewards", { messages: promptOf(state.turns, turn), responses: turn.responses.map(fullText) });
  turn.responses.forEach((response, n) => { response.reward = rewards[n]; });
  if (turnOf(turn.id) !== turn) return; // another conversation is shown by now
  put(turn);
  save();
  if (!running) draw();
}

// Responses of the selected models to a prompt of the tree.
async function respond(asked, before) {
  const names = [$("first").value, $("second").value].filter(Boolean);
  const isBlind = $("blind").checked && names.length > 1;
  const [until, under] = [branch(state.turns, asked.id), system()];
  const settings = { ...sampling(), max_tokens: maxTokens() ?? null, seed: newSeed() };
  const { dropped } = await call("/page/fit", { models: names, messages: messagesOf(until, under), max_tokens: settings.max_tokens });
  const models = isBlind ? (await call("/page/blind", { models: names })).names : names;
  const responses = models.map((model, n) => emptyResponse(model, isBlind ? `${n + 1}` : model));
  const turn = responsesTo(asked.id, { system: under, dropped, settings, responses });
  const body = { ...settings, messages: messagesOf(until, under, dropped) };
  return generate(turn, models.map((model, n) => [n, { path: "/v1/chat/completions", body: { ...body, model } }]), before);
}

// Ask a prompt that is not in the tree yet. Returns whether there was a response.
const ask = (asked) => run(async () => {
  const before = state.leaf;
  put(asked);
  show(asked.id);
  draw();
  jumpToEnd();
  const turn = await respond(asked, before).catch((error) => { showError(error); return null; });
  if (turn === null) {
    remove(asked);
    show(before);
  }
  return turn;
});

// Without a response the prompt goes back into the input, to be sent again.
export async function send(text) {
  setField("text", "");
  const last = turnOf(state.leaf);
  if (!(await ask(prompt(state.leaf, last?.chosen ?? 0, text))) && !$("text").value) setField("text", text);
}

// The edited prompt begins a branch; the old one and everything after it stay.
export const edit = (turn, text) => ask(prompt(turn.parent, turn.continues, text));

export const regenerate = (turn) => run(() => respond(turnOf(turn.parent), state.leaf));

const again = (response) => ({ ...response, thumb: "", reward: null });

// Continue response `n` after the tokens `ids`, whose thought and text are `begun`.
export function steer(turn, n, begun, ids) {
  const { model, label } = turn.responses[n];
  const responses = [{ ...emptyResponse(model, label), ...begun, steered: true }];
  return goOn(turn, { responses, chosen: 0 }, 0, { ids });
}

// Continue response `n`, which was cut off; the other responses are kept next to it.
export function continueResponse(turn, n) {
  const responses = turn.responses.map(again);
  responses[n].finish = "";
  return goOn(turn, { responses, chosen: n }, n, { response: fullText(responses[n]) });
}

function goOn(turn, { responses, chosen }, n, begin) {
  const settings = { ...sampling(), max_tokens: maxTokens() ?? null, seed: newSeed() };
  const following = responsesTo(turn.parent, { system: turn.system, dropped: turn.dropped, settings, responses, chosen });
  const body = { ...settings, ...begin, model: responses[n].model, messages: promptOf(state.turns, turn) };
  return run(() => generate(following, [[n, { path: "/page/go_on", body }]], state.leaf));
}

export const lastResponses = () => path().findLast((turn) => turn.role === "assistant");
