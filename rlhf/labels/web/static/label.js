// The ranking page: one item at a time, every click delivered, every key silent in text boxes.
import { Refusal, call, deliver, deliverLeftover } from "./api.js";
import { enableAsk } from "./ask.js";
import * as draft from "./draft.js";
import { enableDrag } from "./drag.js";
import { drawAnswers, drawBoard, drawTalk, make, showForm } from "./draw.js";
import { formOf, isOrderShown, letter, missing, nextWithout, scaleOfDigit, scaleText } from "./state.js";
import * as timer from "./timer.js";

const at = (id) => document.getElementById(id);
const KEYS = [
  ["1 … 9", "give the marked answer that place; the same place twice is a tie"],
  ["1 … 8", "two answers: from A much better (1) to B much better (8)"],
  ["0  =  b", "two answers: equally good (0 or =); both bad (b)"],
  ["← → j k", "mark another answer"],
  ["Backspace", "take the marked answer's place away"],
  ["Enter", "submit"],
  ["u", "undo: take the last item back"],
  ["s", "skip, with a reason"],
  ["f  o", "flags of the marked answer; its overall mark (arrows choose)"],
  ["g  ?", "guideline; these keys"],
  ["c  w", "comment; write a better answer"],
  ["r  v", "raw text or formatted; columns or rows"],
];

const READ = "rlhf-label-guideline";

let item = null;
let form = null;
let current = 0;
let settings = null;
let guideline = { version: 0, html: "" };
let busy = false;
let asked = false; // "unchanged order" is asked once an item
let raw = false;

const say = (words) => { at("spoken").textContent = words; };
function status(words, isProblem = false) {
  at("status").textContent = words;
  at("status").classList.toggle("problem", isProblem);
  if (words) say(words);
}
const onWait = () => status("Not saved yet: no answer from the server. Trying again…", true);

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function showProgress(state) {
  const total = state.done + state.left;
  at("meter").value = total ? state.done / total : 1;
  const toGo = state.left ? ` · about ${duration(state.pace * state.left)} to go` : "";
  const pace = state.pace === null ? "" : ` · ${duration(state.pace)} each${toGo}`;
  at("count").textContent = `${state.done} done · ${state.left} left${pace}`;
}

function show(state) {
  showProgress(state);
  item = state.claim === null ? null : state;
  at("main").hidden = at("dock").hidden = item === null;
  at("empty").hidden = item !== null;
  if (item === null) {
    at("empty-title").textContent = state.done ? "All done. Thank you!" : "Nothing to rank yet";
    at("empty-text").textContent = "This page looks for new items by itself. You may close it.";
    return;
  }
  const count = item.answers.length;
  const left = draft.leftover(item.claim);
  form = formOf(left ?? item.draft, count);
  current = Math.max(0, nextWithout(form, count - 1));
  asked = false;
  draw();
  drawBoard(at("board"), count);
  at("comment").value = form.comment;
  at("rewrite").value = form.rewrite;
  at("comment-box").open = form.comment !== "";
  at("rewrite-box").open = form.rewrite !== "";
  at("comment-box").hidden = !settings.comment;
  at("rewrite-box").hidden = !settings.rewrite;
  scrollTo(0, 0);
  timer.restart();
  refresh();
  mark(current, false);
  status("");
  say(`Next item, ${count} answers`);
  if (left) changed();
  if (item.guideline !== guideline.version) showGuideline();
}

// A version that was not read here yet is shown without being asked for: labels are to follow it.
async function showGuideline() {
  guideline = await call("/api/guideline");
  at("guideline-text").innerHTML = guideline.html || "<p>No guideline was given.</p>";
  const name = `${guideline.version} ${guideline.html.length}`;
  if (!guideline.version || localStorage.getItem(READ) === name || at("guideline").open) return;
  localStorage.setItem(READ, name);
  at("guideline").showModal();
}

function draw() {
  drawTalk(at("talk"), item.prompt, raw);
  drawAnswers(at("answers"), item, settings, raw);
}

function refresh() {
  showForm(form, current);
  at("submit").classList.toggle("ready", missing(form).length === 0);
  if (form.tiers.length === 2) status(form.both_bad ? "both bad" : scaleText(form.scale));
}

function mark(index, scroll = true) {
  current = index;
  showForm(form, current);
  const card = document.querySelectorAll(".card")[index];
  card.focus({ preventScroll: true });
  if (scroll) card.scrollIntoView({ block: "nearest" });
}

function changed() {
  refresh();
  draft.keep(item.claim, form);
}

function place(index, tier, goOn = true) {
  form.tiers[index] = tier;
  asked = false;
  status("");
  changed();
  const tied = form.tiers.flatMap((other, i) => (other === tier && i !== index && tier !== null ? [letter(i)] : []));
  say(`${letter(index)} ${tier === null ? "has no place" : `place ${tier}`}${tied.length ? `, tied with ${tied.join(" and ")}` : ""}`);
  const next = nextWithout(form, index);
  if (goOn && next >= 0) mark(next);
}

function rate(scale) {
  form.scale = scale;
  form.both_bad = false;
  changed();
}

function bothBad(value) {
  form.both_bad = value;
  if (value) form.scale = null;
  changed();
}

async function act(path, body) {
  if (busy) return;
  busy = true;
  at("submit").disabled = true;
  try {
    if (path === "/api/undo") await draft.save(); // the item on the page waits as it is
    const state = await deliver(path, body, onWait);
    if (path !== "/api/undo") draft.drop();
    show(state);
    if (state.kind === "late") status("That item had gone to somebody else while you were away; your ranking is kept, but not counted.", true);
    if (state.kind === "nothing") status("Nothing to take back.");
    if (state.kind === "undo") status("Taken back. Change it and submit again.");
  } catch (error) {
    if (error instanceof Refusal && error.status === 409) {
      show(await call("/api/next", {}));
    }
    status(error.message, true);
  } finally {
    busy = false;
    at("submit").disabled = false;
  }
}

function submit() {
  if (item === null || busy) return;
  const left = missing(form);
  if (left.length) {
    status(form.tiers.length === 2 ? "Say which answer is better, or that they are equal." : `Still without a place: ${left.map(letter).join(", ")}`, true);
    if (form.tiers.length > 2) mark(left[0]);
    return;
  }
  if (isOrderShown(form) && !asked) {
    asked = true;
    status("This is the order in which they were shown. Enter again if you mean it.", true);
    return;
  }
  act("/api/submit", { claim: item.claim, form, seconds: timer.seconds(), guideline_version: guideline.version });
}

function openSkip() {
  if (item === null) return;
  at("skip-comment").value = "";
  at("skipping").showModal();
}

function skip(reason) {
  at("skipping").close();
  act("/api/skip", { claim: item.claim, reason, comment: at("skip-comment").value, seconds: timer.seconds() });
}

function openBox(box, field) {
  if (at(box).hidden) return;
  at(box).open = true;
  at(field).focus();
}

function arrange(rows) {
  document.body.classList.toggle("rows", rows);
  localStorage.setItem("rlhf-label-rows", rows ? "1" : "");
}

const isTyping = (node) => node.matches("textarea, input:not([type=radio]):not([type=checkbox]), select, [contenteditable]");

function onDigit(digit) {
  const count = form.tiers.length;
  if (count === 2) {
    if (digit === 0) rate(0);
    else if (digit <= 8) rate(scaleOfDigit(digit));
  } else if (digit >= 1 && digit <= count) place(current, digit);
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
    if (dialog.id === "skipping" && reason) { event.preventDefault(); skip(reason); }
    return;
  }
  const onControl = event.target.matches("button, a, summary");
  if (onControl && (event.key === "Enter" || event.key === " ")) return;
  if (event.target.matches("input[type=radio]") && event.key.startsWith("Arrow")) return;
  const done = () => event.preventDefault();
  const count = form?.tiers.length ?? 0;
  const key = event.key;
  if (key === "?") { done(); at("keys").showModal(); }
  else if (key === "g") { done(); at("guideline").showModal(); }
  else if (key === "u" && !event.repeat) { done(); act("/api/undo", {}); }
  else if (key === "a" && at("ask")) { done(); at("asking").showModal(); }
  else if (item === null) return;
  else if (/^[0-9]$/.test(key)) { done(); onDigit(Number(key)); }
  else if (key === "=" && count === 2) { done(); rate(0); }
  else if (key === "b" && count === 2) { done(); bothBad(!form.both_bad); }
  else if (key === "Enter" && !event.repeat) { done(); submit(); }
  else if (key === "s") { done(); openSkip(); }
  else if (key === "c") { done(); openBox("comment-box", "comment"); }
  else if (key === "w") { done(); openBox("rewrite-box", "rewrite"); }
  else if (key === "f") { done(); document.querySelectorAll(".card")[current].querySelector(".flags input")?.focus(); }
  else if (key === "o") { done(); document.querySelectorAll(".card")[current].querySelector(".marks input")?.focus(); }
  else if (key === "r") { done(); raw = !raw; draw(); refresh(); mark(current, false); }
  else if (key === "v") { done(); arrange(!document.body.classList.contains("rows")); }
  else if (key === "Backspace" && count > 2) { done(); place(current, null, false); }
  else if (["ArrowRight", "ArrowDown", "j"].includes(key)) { done(); mark((current + 1) % count); }
  else if (["ArrowLeft", "ArrowUp", "k"].includes(key)) { done(); mark((current + count - 1) % count); }
}

function onChange(event) {
  const input = event.target;
  const card = input.closest(".card");
  const index = card ? Number(card.dataset.index) : -1;
  if (input.name === "scale") rate(Number(input.value));
  else if (input.id === "both-bad") bothBad(input.checked);
  else if (input.id === "comment" || input.id === "rewrite") { form[input.id] = input.value; changed(); }
  else if (index < 0) return;
  else if (input.name.startsWith("tier-")) place(index, Number(input.value), false);
  else if (input.name.startsWith("overall-")) { form.overall[index] = Number(input.value); changed(); }
  else if (input.name.startsWith("flag-")) {
    form.flags[index] = form.flags[index].filter((flag) => flag !== input.value).concat(input.checked ? [input.value] : []);
    changed();
  }
}

// What was asked for comes at once to who waits for it, and next to who has gone on ranking.
async function onAnswers(isOpen) {
  if (item !== null && !isOpen) {
    status("The models have answered: their answers come next.");
    return;
  }
  await draft.save();
  show(await call("/api/next", {}));
}

function connect() {
  document.addEventListener("keydown", onKey);
  document.addEventListener("change", onChange);
  for (const id of ["comment", "rewrite"]) at(id).addEventListener("input", onChange);
  document.addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    if (card && !event.target.closest("input, label, a") && !getSelection().toString()) mark(Number(card.dataset.index), false);
  });
  const open = { "open-guideline": "guideline", "open-keys": "keys", ask: "asking" };
  for (const [button, dialog] of Object.entries(open)) at(button)?.addEventListener("click", () => at(dialog).showModal());
  at("undo").addEventListener("click", () => act("/api/undo", {}));
  at("skip").addEventListener("click", openSkip);
  at("submit").addEventListener("click", submit);
  enableAsk(onAnswers);
  at("logout").addEventListener("click", async () => { await draft.save(); await call("/logout", {}); location.assign("/login"); });
  at("reasons").replaceChildren(...settings.skip_reasons.map((reason, i) => {
    const button = make("button", { type: "button" }, [make("kbd", { textContent: String(i + 1) }), ` ${reason}`]);
    button.addEventListener("click", () => skip(reason));
    return button;
  }));
  const keys = at("ask") ? [...KEYS, ["a", "ask the models a prompt of your own"]] : KEYS;
  at("key-list").replaceChildren(...keys.flatMap(([keys, what]) => [
    make("dt", {}, keys.split(/ +/).map((key) => (key === "…" ? " … " : make("kbd", { textContent: key })))),
    make("dd", { textContent: what }),
  ]));
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") draft.save(); });
  addEventListener("pagehide", draft.save);
  enableDrag((index, tier) => place(index, tier, false));
  setInterval(() => {
    if (item !== null && timer.isActive()) call("/api/heartbeat", { claim: item.claim }).catch(() => undefined);
  }, 60_000);
  setInterval(() => {
    // A server that has gone, with all labels in, is no fault to speak of.
    if (item === null && !busy) call("/api/next", {}).then(show).catch(() => undefined);
  }, 10_000);
}

async function start() {
  arrange(localStorage.getItem("rlhf-label-rows") === "1");
  settings = await call("/api/form");
  await showGuideline();
  connect();
  const refused = await deliverLeftover(onWait);
  show(await call("/api/next", {}));
  if (refused) status(refused, true);
  document.body.dataset.ready = "1";
}

start().catch((error) => {
  at("empty").hidden = false;
  at("empty-title").textContent = "This page did not load";
  at("empty-text").textContent = `${error.message}. Reload it; nothing that you submitted is lost.`;
});
