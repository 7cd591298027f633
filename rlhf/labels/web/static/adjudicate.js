// The adjudicator's page: rank an item blind, then see the labels and keep or change the ranking.
import { call, deliver } from "./api.js";
import { base } from "./base.js";
import { byId, make } from "./elements.js";
import { letter } from "./form.js";
import { loadGuideline, openGuideline } from "./guideline.js";
import { keyOf } from "./keys.js";
import { enableQuestions } from "./questions.js";
import * as timer from "./timer.js";

const PAUSE = 1000; // milliseconds in which Enter does not decide, so that a second press does not
let shownAt = 0;
let task = null;
let current = 0; // the marked response, which a digit ranks

const html = (className, content) => {
  const node = make("div", { className, dir: "auto" });
  node.innerHTML = content; // sanitized by the server
  return node;
};

function showTurns(turns) {
  byId("turns").replaceChildren(...turns.map((turn, index) =>
    make("div", { className: `turn ${turn.role}${index === turns.length - 1 ? " last" : ""}` }, [
      make("h2", { className: "role", textContent: turn.role }), html("text", turn.html),
    ])));
}

function rankChoice(index, count, chosen) {
  const inputs = Array.from({ length: count }, (_, i) => {
    const name = `${letter(index)}: rank ${i + 1} of ${count}`;
    return make("label", { title: name }, [
      make("input", { type: "radio", name: `rank-${index}`, value: String(i + 1), checked: chosen === i + 1, "aria-label": name }),
      make("span", { textContent: String(i + 1) }),
    ]);
  });
  return make("fieldset", { className: "ranks" }, [make("legend", { className: "hidden", textContent: `Rank of response ${letter(index)}` }), ...inputs]);
}

function showAnswers(answers, blind) {
  byId("answers").replaceChildren(...answers.map((content, index) =>
    make("article", { className: "card", tabIndex: -1, "aria-label": `Response ${letter(index)}` }, [
      make("header", {}, [make("h2", { className: "letter", textContent: letter(index) }), rankChoice(index, answers.length, blind?.[index])]),
      html("text", content),
    ])));
}

const cards = () => [...document.querySelectorAll(".card")];

function highlight(index) {
  current = index;
  cards().forEach((card, i) => card.classList.toggle("current", i === index));
}

function mark(index, isScrolling = true) {
  const count = cards().length;
  highlight((index + count) % count);
  const card = cards()[current];
  card.focus({ preventScroll: true });
  if (isScrolling) card.scrollIntoView({ block: "nearest" });
}

function showLabels(labels, blind) {
  byId("labels").hidden = labels.length === 0;
  if (!labels.length) return;
  const head = make("tr", {}, [make("th", { textContent: "label" }), ...blind.map((_, i) => make("th", { textContent: letter(i) })), make("th", { textContent: "comment" })]);
  const row = (name, ranks, flags, comment) => make("tr", {}, [
    make("th", { scope: "row", textContent: name }),
    ...ranks.map((rank, i) => make("td", {}, [
      make("span", { className: rank === blind[i] ? "chosen-rank" : "differs", textContent: String(rank) }),
      ...(flags?.[i] ?? []).flatMap((flag) => [" ", make("small", { className: "flag", textContent: flag })]),
    ])),
    make("td", { className: "text-cell", dir: "auto", textContent: comment }),
  ]);
  byId("labels").replaceChildren(
    make("h2", { textContent: "Labels" }),
    make("div", { className: "table-box" }, [make("table", { className: "list" }, [
      make("thead", {}, [head]),
      make("tbody", {}, [row("you, blind", blind, null, ""), ...labels.map((one, i) => row(`annotator ${i + 1}`, one.ranks, one.flags, one.comment))]),
    ])]),
  );
}

function show(next) {
  task = next;
  const none = task.item === null;
  byId("ruling").hidden = byId("keys-help").hidden = none;
  byId("left").textContent = none ? "" : `${task.left} contested item${task.left === 1 ? "" : "s"} left`;
  byId("problem").textContent = "";
  if (none) {
    byId("stage").textContent = "No contested items";
    byId("hint").textContent = "Items on which annotators disagree appear here.";
    for (const id of ["turns", "answers", "labels"]) byId(id).replaceChildren();
    return;
  }
  const isBlind = task.blind === null;
  byId("stage").textContent = isBlind ? "Rank without the labels" : "Keep or change your ranking";
  byId("hint").textContent = isBlind ? "1 is best; the same rank is a tie. Afterwards you see how the annotators ranked." : "Red ranks differ from yours. What you submit now is the decision about this item.";
  byId("send").textContent = isBlind ? "Show the labels" : "Decide";
  byId("comment").value = task.comment;
  showTurns(task.turns);
  showAnswers(task.answers, task.blind);
  showLabels(task.labels, task.blind);
  mark(0, false);
  shownAt = performance.now();
  scrollTo(0, 0);
  timer.restart();
  byId("announcement").textContent = byId("stage").textContent;
}

byId("ruling").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (byId("send").disabled) return; // the last ranking is on its way
  const ranks = task.answers.map((_, i) => Number(document.querySelector(`input[name=rank-${i}]:checked`)?.value ?? 0));
  if (ranks.includes(0)) {
    byId("problem").textContent = `Not ranked yet: ${ranks.flatMap((rank, i) => (rank ? [] : [letter(i)])).join(", ")}`;
    return;
  }
  byId("send").disabled = true;
  try {
    const body = { item: task.item, ranks, comment: byId("comment").value, seconds: timer.seconds() };
    show(await deliver("/api/adjudicate", body, () => { byId("problem").textContent = "Not saved yet: the server does not respond. Retrying…"; }));
  } catch (error) {
    if (error.status === 422 || error.status === 409) show(await call("/api/adjudicate"));
    byId("problem").textContent = error.message;
  } finally {
    byId("send").disabled = false;
  }
});

function onKey(event) {
  const { target } = event;
  const isEnter = event.key === "Enter" && !event.repeat && performance.now() - shownAt > PAUSE;
  if (!task?.item || document.querySelector("dialog[open]")) return;
  if (target.matches("textarea")) {
    if (isEnter && (event.ctrlKey || event.metaKey)) byId("ruling").requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || (isEnter && target.matches("a, button"))) return;
  if (target.matches("input[type=radio]") && event.key.startsWith("Arrow")) return;
  const rank = document.querySelector(`input[name=rank-${current}][value="${CSS.escape(keyOf(event))}"]`);
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!rank && !step && !isEnter) return;
  event.preventDefault();
  if (rank) rank.checked = true;
  if (isEnter) byId("ruling").requestSubmit();
  else mark(current + (step ?? 1));
}

document.addEventListener("keydown", onKey);
// A response that gets the focus is the marked one.
byId("answers").addEventListener("focusin", ({ target }) => highlight(cards().indexOf(target.closest(".card"))));
byId("open-guideline").addEventListener("click", openGuideline);
enableQuestions(() => null);
byId("logout").addEventListener("click", async () => {
  await call("/logout", {});
  location.assign(`${base}/login`);
});
await loadGuideline();
show(await call("/api/adjudicate"));
document.body.dataset.ready = "1";
