// The page: a conversation with one model, or with two side by side.
import { call, stream } from "/static/api.js";
import { button, el } from "/static/draw.js";
import { closeInside, openInside } from "/static/inside.js";

const $ = (id) => document.getElementById(id);
const SAVED = "rlhf-talk";
// Turns: {role: "user", content}, or {role: "assistant", answers, chosen, vote} with one answer a
// model: {model, shown, thought, text, finish, thumb, reward}. `model` may be a blind name until the
// vote.
let talk = JSON.parse(sessionStorage.getItem(SAVED) ?? "[]");
let writing = null; // stops what is being written
let about = { models: [], reward: false };

const save = () => sessionStorage.setItem(SAVED, JSON.stringify(talk));

export const sampling = () => ({
  temperature: Number($("temperature").value),
  top_p: Number($("top-p").value),
});

// An answer with its thought in its text, as stores and models take it; templates drop old ones.
export const whole = ({ thought, text }) => (thought ? `<think>\n${thought}\n</think>\n\n${text}` : text);

// A message of its own field for the thought, as SFT reads it.
const apart = ({ thought, text }) => ({ content: text, ...(thought ? { reasoning_content: thought } : {}) });

// What a model reads: the chosen answer of each turn, up to and without turn `end`.
function messages(end, said = (answer) => ({ content: whole(answer) })) {
  const system = $("system").value.trim();
  const turns = talk.slice(0, end).map((turn) =>
    turn.role === "user" ? { role: "user", content: turn.content } : { role: "assistant", ...said(turn.answers[turn.chosen]) });
  return [...(system ? [{ role: "system", content: system }] : []), ...turns];
}

function problem(error) {
  $("problem").textContent = error ? error.message : "";
  $("problem").hidden = !error;
}

async function markdown(place, answer, name = "text") {
  const text = answer[name];
  const { html } = await call("/page/markdown", { text });
  if (answer[name] !== text && writing) return;
  place.className = "text";
  place.innerHTML = html;
}

const words = (text) => { const count = text.split(/\s+/).filter(Boolean).length; return `${count} word${count === 1 ? "" : "s"}`; };

// The thought of an answer, folded; it is open while it is written, until the response begins.
function drawThought(answer) {
  const place = el("div", { className: "text plain", textContent: answer.thought });
  const made = el("details", { className: "thought", open: !answer.text }, el("summary"), place);
  sayThought(made, answer);
  // Rendered when it is looked at: most thoughts are not.
  made.ontoggle = () => { if (made.open && !writing) markdown(place, answer, "thought").catch(() => undefined); };
  return made;
}

function sayThought(made, { thought, text, finish }) {
  made.firstChild.textContent = `${writing && !text && !finish ? "Thinking" : "Thought"}, ${words(thought)}`;
}

// Raw text as it comes, Markdown as fast as the server renders it.
async function write(answer, place, asked) {
  let thought = place.parentElement.querySelector(".thought");
  let rendering = false;
  const show = async () => {
    if (rendering) return;
    rendering = true;
    await markdown(place, answer).catch(() => undefined);
    rendering = false;
  };
  place.className = "text plain";
  for await (const { thought: more, text, finish } of stream(asked.path, asked.body, writing.signal)) {
    const responds = Boolean(answer.text);
    answer.thought += more;
    answer.text += text;
    answer.finish = finish ?? answer.finish;
    if (more && !thought) {
      thought = drawThought(answer);
      place.before(thought);
    }
    if (more) thought.lastChild.textContent = answer.thought;
    if (thought) sayThought(thought, answer);
    if (thought && text && !responds) thought.open = false;
    if (place.className === "text plain") place.textContent = answer.text;
    if (text) show();
  }
}

// Have the last turn's answers written; each request is {path, body} of one answer.
async function fill(turn, requests) {
  writing = new AbortController();
  problem();
  busy(true);
  draw();
  const places = document.querySelectorAll(".turn:last-child .answer > .text");
  $("talk").lastElementChild.scrollIntoView({ block: "end" });
  const ended = await Promise.allSettled(turn.answers.map((answer, n) => write(answer, places[n], requests[n])));
  const failed = ended.find((one) => one.status === "rejected" && one.reason.name !== "AbortError");
  if (failed) problem(failed.reason);
  writing = null;
  // A question that got nothing is a question to be sent again.
  if (failed && turn.answers.every((answer) => !answer.text && !answer.thought)) {
    talk.pop();
    if (!$("text").value) $("text").value = talk.pop().content;
  }
  save();
  busy(false);
  draw();
  if (about.reward) await score(turn).catch(problem);
}

async function score(turn) {
  const index = talk.indexOf(turn);
  if (index < 1 || turn.answers.some((answer) => !answer.text)) return;
  const given = await call("/page/rewards", { messages: messages(index), answers: turn.answers.map(whole) });
  turn.answers.forEach((answer, n) => { answer.reward = given[n]; });
  save();
  if (!writing) draw();
}

async function answerLast() {
  const names = [$("first").value, $("second").value].filter(Boolean);
  const blind = $("blind").checked && names.length > 1;
  const models = blind ? (await call("/page/blind", { models: names })).names : names;
  const seed = $("seed").value === "" ? Math.floor(Math.random() * 2 ** 31) : Number($("seed").value);
  const asked = messages(talk.length);
  const turn = {
    role: "assistant", chosen: 0, vote: "",
    answers: models.map((model, n) => ({ model, shown: blind ? `${n + 1}` : model, thought: "", text: "", finish: "", thumb: "" })),
  };
  talk.push(turn);
  const body = { messages: asked, seed, max_tokens: Number($("longest").value) || undefined, ...sampling() };
  await fill(turn, models.map((model) => ({ path: "/v1/chat/completions", body: { ...body, model } })));
}

async function ask(text) {
  talk.push({ role: "user", content: text });
  await answerLast().catch((error) => {
    talk.pop();
    $("text").value = text;
    problem(error);
    draw();
  });
}

// Go on from a token that was put into an answer by hand; before: thought and text up to it.
export async function goOn(index, n, before, ids) {
  const turn = talk[index];
  const model = turn.answers[n].model;
  talk = talk.slice(0, index);
  const other = { role: "assistant", chosen: 0, vote: "", answers: [{ model, shown: turn.answers[n].shown, ...before, finish: "", thumb: "" }] };
  const asked = messages(index);
  talk.push(other);
  const body = { model, messages: asked, ids, max_tokens: Number($("longest").value) || undefined, seed: Number($("seed").value) || 0, ...sampling() };
  await fill(other, [{ path: "/page/go_on", body }]);
}

function busy(is) {
  $("send").hidden = is;
  $("stop").hidden = !is;
}

async function vote(index, choice) {
  const turn = talk[index];
  const { answers } = turn;
  try {
    const { models } = await call("/page/vote", {
      messages: messages(index), answers: answers.map(whole), models: answers.map((a) => a.model), vote: choice,
    });
    turn.vote = choice;
    // What was said since was said to the answer that stood there.
    if (Number(choice) && index === talk.length - 1) turn.chosen = Number(choice) - 1;
    answers.forEach((answer, n) => Object.assign(answer, { shown: models[n], model: models[n] }));
    problem();
  } catch (error) {
    problem(error);
  }
  save();
  draw();
}

async function thumb(index, n, up) {
  const answer = talk[index].answers[n];
  try {
    await call("/page/thumb", { messages: messages(index), answer: whole(answer), model: answer.model, up });
    answer.thumb = up ? "up" : "down";
    problem();
  } catch (error) {
    problem(error);
  }
  save();
  draw();
}

function edit(index) {
  $("text").value = talk[index].content;
  talk = talk.slice(0, index);
  closeInside();
  save();
  draw();
  $("text").focus();
}

function regenerate(index) {
  talk = talk.slice(0, index);
  closeInside();
  answerLast().catch(problem);
}

function drawUser(turn, index) {
  const acts = writing ? [] : [button("edit", () => edit(index))];
  return el("div", { className: "turn user" }, el("div", { className: "text", textContent: turn.content }), el("div", { className: "acts" }, ...acts));
}

function drawAnswer(turn, index, n) {
  const answer = turn.answers[n];
  const place = el("div", { className: "text plain", textContent: answer.text });
  if (!writing && answer.text) markdown(place, answer).catch(() => undefined);
  const marked = (text, up) => button(text, () => thumb(index, n, up), { ariaPressed: `${answer.thumb === (up ? "up" : "down")}`, ariaLabel: up ? "thumb up" : "thumb down" });
  // Inside an answer stands whose it is: not before the vote.
  const hidden = answer.model !== answer.shown;
  const look = button("look inside", () => openInside({ index, n, answer, messages: messages(index), about }));
  const marks = answer.text ? [marked("good", true), marked("poor", false)] : [];
  const acts = writing || !(answer.text || answer.thought) ? [] : [...marks, ...(hidden ? [] : [look])];
  const cut = answer.finish === "length" ? " · cut off at its longest" : answer.finish || writing ? "" : " · stopped";
  // A score would tell whom to vote for.
  const known = answer.reward !== undefined && (turn.answers.length === 1 || turn.vote);
  const reward = known ? ` · reward ${answer.reward.toFixed(2)}` : "";
  const chosen = turn.answers.length > 1 && turn.chosen === n && turn.vote ? " chosen" : "";
  return el("article", { className: `answer${chosen}`, data: { n } },
    el("p", { className: "who", textContent: answer.shown + cut + reward }), ...(answer.thought ? [drawThought(answer)] : []), place, el("div", { className: "acts" }, ...acts));
}

function drawAssistant(turn, index) {
  const made = el("div", { className: "turn assistant" },
    el("div", { className: "answers" }, ...turn.answers.map((_, n) => drawAnswer(turn, index, n))));
  if (turn.answers.length > 1 && !writing) {
    const names = { 1: "1 is better", 2: "2 is better", tie: "tie", bad: "both bad" };
    const choices = Object.entries(names).map(([choice, text]) =>
      button(text, () => vote(index, choice), { ariaPressed: `${turn.vote === choice}` }));
    made.append(el("div", { className: "votes" }, ...choices));
  }
  if (index === talk.length - 1 && !writing) {
    made.append(el("div", { className: "acts" }, button("regenerate", () => regenerate(index))));
  }
  return made;
}

function draw() {
  $("talk").replaceChildren(...talk.map((turn, index) => (turn.role === "user" ? drawUser(turn, index) : drawAssistant(turn, index))));
}

function facts() {
  const chosen = about.models.filter(({ id }) => [$("first").value, $("second").value].includes(id));
  const lines = $("blind").checked && $("second").value ? [] : chosen.flatMap((model) => [
    ...model.facts.map((text) => el("p", { textContent: text })),
    ...model.warnings.map((text) => el("p", { className: "warning", textContent: `warning: ${text}` })),
  ]);
  $("facts").replaceChildren(...(talk.length ? [] : lines));
}

// One `messages` row a line, as SFT reads them: the chosen answers, and no turn without one.
function exported() {
  const end = talk.length && talk.at(-1).role === "user" ? talk.length - 1 : talk.length;
  const blob = new Blob([`${JSON.stringify({ messages: messages(end, apart) })}\n`], { type: "application/x-ndjson" });
  const link = el("a", { href: URL.createObjectURL(blob), download: "chat.jsonl" });
  link.click();
  URL.revokeObjectURL(link.href);
}

function theme(next) {
  const wanted = next ?? localStorage.getItem("rlhf-theme") ?? "";
  const dark = wanted ? wanted === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  if (next) localStorage.setItem("rlhf-theme", next);
}

function listen() {
  $("composer").onsubmit = (event) => {
    event.preventDefault();
    const text = $("text").value.trim();
    if (!text || writing) return;
    $("text").value = "";
    facts();
    ask(text).then(facts);
  };
  $("text").onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("composer").requestSubmit();
  };
  $("stop").onclick = () => writing?.abort();
  $("new").onclick = () => {
    writing?.abort();
    talk = [];
    closeInside();
    save();
    problem();
    draw();
    facts();
  };
  $("export").onclick = exported;
  $("theme").onclick = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  for (const id of ["first", "second", "blind"]) $(id).onchange = facts;
  for (const id of ["temperature", "top-p"]) {
    const say = () => { $(`${id}-said`).textContent = Number($(id).value).toFixed(2); };
    $(id).addEventListener("input", say);
    say();
  }
}

async function begin() {
  theme();
  listen();
  draw();
  about = await call("/page/models");
  const options = about.models.map(({ id }) => id);
  $("first").append(...options.map((id) => new Option(id)));
  $("second").append(new Option("nobody", ""), ...options.map((id) => new Option(id)));
  if (options.length > 1) $("second").value = options[1];
  $("longest").max = about.max_new_tokens;
  $("longest").value = Math.min(256, about.max_new_tokens);
  facts();
  document.body.dataset.ready = "";
}

begin().catch(problem);
