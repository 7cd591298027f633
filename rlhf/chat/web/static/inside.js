// The panel beside the talk: tokens, the next token's probabilities, what training changed, space.
import { call } from "/static/api.js";
import { goOn, sampling, whole } from "/static/chat.js";
import { bar, button, cell, curve, el, plane, table, token, visible } from "/static/draw.js";

const $ = (id) => document.getElementById(id);
const PAUSE = 60; // milliseconds: a slider that is dragged asks for its last place
let looked = null; // {index, n, answer, messages, about, cut, at}
let tab = "tokens";
let turned = 0; // counts requests, so that a late reply does not overwrite a newer one

const question = (more = {}) => ({ model: looked.answer.model, messages: looked.messages, answer: whole(looked.answer), ...more });

export function closeInside() {
  looked = null;
  $("inside").hidden = true;
}

export function openInside(what) {
  looked = { ...what, at: 0 };
  $("inside").hidden = false;
  show(tab);
}

async function show(name) {
  tab = name;
  for (const one of document.querySelectorAll("[data-tab]")) one.ariaSelected = `${one.dataset.tab === tab}`;
  const mine = ++turned;
  try {
    looked.cut ??= await call("/page/tokens", question());
    const drawn = await { tokens, next, why, space }[name]();
    const whose = el("p", { className: "who", textContent: `the answer of ${looked.answer.shown}` });
    if (mine === turned) $("pane").replaceChildren(whose, ...drawn);
  } catch (error) {
    if (mine === turned) tell(error);
  }
}

const tell = (error) => $("pane").replaceChildren(el("p", { textContent: error.message }));

// The tokens as buttons; one that is pressed is the place that the next tab looks at.
function pieces(withPrompt) {
  const one = ({ id, text }, at, kind) =>
    button(visible(text), () => pick(at), { className: kind, title: `token ${id}`, ariaPressed: `${kind === "" && at === looked.at}` });
  const prompt = withPrompt ? looked.cut.prompt.map((t) => { const made = one(t, -1, "prompt"); made.append(el("small", { textContent: t.id })); return made; }) : [];
  const answer = looked.cut.answer.map((t, at) => { const made = one(t, at, ""); if (withPrompt) made.append(el("small", { textContent: t.id })); return made; });
  return [...prompt, ...answer];
}

function pick(at) {
  if (at < 0) return;
  looked.at = at;
  show("next");
}

async function tokens() {
  const { prompt, answer } = looked.cut;
  return [
    el("p", { className: "legend", textContent: `${prompt.length} tokens of the prompt (dashed), ${answer.length} of the answer, each with its id.` }),
    el("div", { className: "cut" }, ...pieces(true)),
  ];
}

async function next() {
  const place = el("div");
  const ids = looked.cut.answer.slice(0, looked.at).map((t) => t.id);
  const knob = (name, label, min, max) => {
    const said = el("output");
    const input = el("input", { type: "range", min, max, step: 0.05, value: sampling()[name], ariaLabel: label });
    const say = () => { said.textContent = Number(input.value).toFixed(2); };
    input.oninput = () => { say(); clearTimeout(input.timer); input.timer = setTimeout(() => refresh().catch(tell), PAUSE); };
    say();
    return [input, el("label", { className: "inline" }, `${label} `, said, input)];
  };
  const [temperature, first] = knob("temperature", "temperature", 0, 2);
  const [topP, second] = knob("top_p", "top-p", 0.05, 1);
  let newest = 0;
  async function refresh() {
    const mine = ++newest;
    const found = await call("/page/next", question({ ids, temperature: Number(temperature.value), top_p: Number(topP.value), most: 15 }));
    if (mine === newest) place.replaceChildren(likely(found, ids));
  }
  await refresh();
  return [
    el("div", { className: "cut" }, ...pieces(false)),
    first, second,
    el("p", { className: "legend" }, "Bar: what is drawn with. ", el("b", { textContent: "Line" }), ": the model's own. Click a token to go on from it."),
    place,
    everywhere(() => ({ temperature: Number(temperature.value), top_p: Number(topP.value), most: 5 })),
  ];
}

// Every position of the answer in one table: what was written, and what else was likely there.
function everywhere(knobs) {
  const place = el("div");
  const opened = el("details", {}, el("summary", { textContent: "All positions of the answer" }), place);
  opened.ontoggle = async () => {
    if (!opened.open) return;
    try {
      const ids = looked.cut.answer.map((t) => t.id);
      const found = await call("/page/positions", question({ ids, ...knobs() }));
      place.replaceChildren(table(["token", "p", "rank", "likeliest there"], found.map(positionRow)));
    } catch (error) {
      place.replaceChildren(el("p", { textContent: error.message }));
    }
  };
  return opened;
}

function positionRow({ token: one, probability, rank, likeliest }, at) {
  const name = button(visible(one.text), () => pick(at), { title: "look at this place" });
  const others = el("span", {}, ...likeliest.flatMap((other) => [token(other.token.text), ` ${other.probability.toFixed(2)} `]));
  return el("tr", {}, cell(name), cell(probability.toFixed(3)), cell(`${rank}`), cell(others));
}

function likely(found, ids) {
  const written = looked.cut.answer[looked.at];
  const rows = found.map(({ token: one, probability, reshaped }) => {
    const name = token(one.text);
    if (one.id === written?.id) name.append(" ✓");
    const row = el("tr", { className: "pick", tabIndex: 0, title: "go on from this token" },
      cell(name), cell(`${one.id}`), cell(probability.toFixed(3)), cell(reshaped.toFixed(3)), cell(bar(probability, reshaped)));
    row.onclick = () => follow(one, ids).catch(tell);
    row.onkeydown = (event) => { if (event.key === "Enter") row.onclick(); };
    return row;
  });
  return table(["token", "id", "p", "drawn with", ""], rows);
}

// The answer up to here, then the token that was clicked, then what the model makes of it.
async function follow(one, ids) {
  const { index, n } = looked;
  const all = [...ids, one.id];
  const { thought, text } = await call("/page/tokens", question({ ids: all }));
  if (!looked) return;
  closeInside();
  goOn(index, n, { thought, text }, all);
}

async function why() {
  const names = looked.about.models.map(({ id }) => id);
  const others = names.filter((id) => id !== looked.answer.shown);
  const { tokens: found, rewards } = await call("/page/why", question({ others }));
  const sum = (of) => found.reduce((total, one) => total + of(one), 0);
  const most = Math.max(1e-9, ...found.flatMap((one) => one.kl));
  const rows = found.map((one, at) => el("tr", {},
    cell(token(one.token.text)),
    ...one.logprobs.map((value) => cell(Math.exp(value).toFixed(3))),
    ...one.kl.map((value) => { const made = cell(bar(undefined, value / most)); made.title = `${value.toFixed(3)} nats`; return made; }),
    ...(rewards.length ? [cell(rewards[at].toFixed(2))] : [])));
  const heads = ["token", ...[looked.answer.shown, ...others].map((name) => `p ${name}`), ...others.map((name) => `KL from ${name}`)];
  const moved = others.map((name, n) => `KL from ${name}: ${sum((one) => one.kl[n]).toFixed(3)} nats in all.`);
  const said = [el("p", { className: "legend", textContent: others.length ? moved.join(" ") : "Serve a second checkpoint to see what changed between them." })];
  if (rewards.length) {
    said.push(el("p", { className: "legend", textContent: `Reward, had the answer ended there; at its end ${rewards.at(-1).toFixed(3)}.` }), curve(rewards, found.map((one) => visible(one.token.text))));
  } else {
    said.push(el("p", { className: "legend", textContent: "Serve with --reward_model DIR to see the reward grow." }));
  }
  return [...said, table([...heads, ...(rewards.length ? ["reward"] : [])], rows)];
}

async function space() {
  const box = el("textarea", { rows: 4, placeholder: "Prompts, one a line, laid out beside this one", ariaLabel: "prompts" });
  const place = el("div");
  const lay = async () => {
    const texts = box.value.split("\n").map((line) => line.trim()).filter(Boolean);
    try {
      const found = await call("/page/space", question({ texts }));
      const what = texts.length ? "prompts" : "tokens of the vocabulary";
      place.replaceChildren(
        el("p", { className: "legend" }, `${found.points.length} ${what} on two principal axes, ${(100 * found.explained).toFixed(1)}% of the variance. `, el("i", { textContent: "Line" }), ": the answer, token by token. Hover for names."),
        plane(found.points, found.path));
    } catch (error) {
      place.replaceChildren(el("p", { textContent: error.message }));
    }
  };
  await lay();
  return [box, el("div", { className: "inline" }, button("Lay out", lay)), place];
}

for (const one of document.querySelectorAll("[data-tab]")) one.onclick = () => show(one.dataset.tab);
$("close").onclick = closeInside;
