// The form's criteria: their questions on the page, and the answers in the form.
// A question is a fieldset with the name of its criterion and the index of its response ("" if it
// is about the item). Questions about the best or the worst exist for each response and are shown
// for those with that rank, so that a reason stays with its response. A line is a part that is answered by one key: all of a question, or one
// statement of a checklist.
import { make } from "./elements.js";
import { endsOf, letter } from "./form.js";

export const titleOf = (criterion) => {
  const words = criterion.name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
};

const isEmpty = (answer) =>
  answer === null || answer === undefined || answer === "" || (typeof answer === "object" && !Object.keys(answer).length);

// Radio buttons or checkboxes; each option is [value, visible text, accessible name].
function inputs(type, name, options, label) {
  return options.map(([value, text, title]) =>
    make("label", { title }, [
      make("input", { type, name, value: String(value), "aria-label": `${label}: ${title}` }),
      make("span", { textContent: text }),
    ]),
  );
}

function ratingOptions({ low, high, words }) {
  return Array.from({ length: high - low + 1 }, (_, i) => {
    const word = words.length === 2 ? { [low]: words[0], [high]: words[1] }[low + i] : words[i];
    return [low + i, String(low + i), word ? `${low + i}, ${word}` : String(low + i)];
  });
}

function line(className, children, statement) {
  const node = make("div", { className: `line ${className}` }, children);
  if (statement !== undefined) node.dataset.statement = statement;
  return node;
}

// The parts of a question below its title, by the kind of answer.
function answerNodes(criterion, name, label) {
  const numbered = (criterion.options ?? []).map((option, i) => [option, `${i + 1} ${option}`, option]);
  switch (criterion.kind) {
    case "rating":
      return [line("ratings", [...inputs("radio", name, ratingOptions(criterion), label), make("output", { className: "word" })])];
    case "choice":
      return [line("options", inputs(criterion.several ? "checkbox" : "radio", name, numbered, label))];
    case "checklist":
      return criterion.statements.map((statement, i) => {
        const options = [["yes", "yes", "yes"], ["no", "no", "no"]];
        return line("options", [make("span", { className: "statement", textContent: statement }), ...inputs("radio", `${name}-${i}`, options, statement)], statement);
      });
    case "spans":
      return [line("options", [make("button", { type: "button", className: "mark-passages", textContent: "Mark passages…" }), make("ul", { className: "passages" })])];
    default:
      return [line("written", [make("textarea", { rows: 2, maxLength: 100_000, "aria-label": label })])];
  }
}

const isAboutEnd = ({ about }) => about === "best" || about === "worst";

// `nameOf`: index of a response -> its name on the page.
function question(criterion, index, nameOf) {
  const place = index === null ? "" : ` of ${nameOf(index)}`;
  const label = `${titleOf(criterion)}${place}`;
  const node = make("fieldset", { className: "question", hidden: isAboutEnd(criterion) }, [
    make("legend", {}, [
      make("strong", { textContent: `${titleOf(criterion)}${isAboutEnd(criterion) ? ` ${nameOf(index)}` : ""}` }),
      ...(criterion.required ? [] : [make("span", { className: "dim", textContent: " optional" })]),
    ]),
    ...(criterion.question ? [make("p", { className: "asked", textContent: criterion.question })] : []),
    ...answerNodes(criterion, `question-${criterion.name}-${index ?? ""}`, label),
  ]);
  node.dataset.name = criterion.name;
  node.dataset.index = index ?? "";
  return node;
}

const block = (questions) => (questions.length ? [make("div", { className: "questions" }, questions)] : []);

// The questions about one response.
export function renderQuestions(criteria, index, nameOf = letter) {
  return block(criteria.filter(({ about }) => about === "response").map((criterion) => question(criterion, index, nameOf)));
}

// The questions about the item, and those about its best and its worst of `count` responses.
export function renderItemQuestions(criteria, count, nameOf = letter) {
  const indices = (criterion) => (isAboutEnd(criterion) ? [...Array(count).keys()] : [null]);
  return block(criteria.filter(({ about }) => about !== "response").flatMap((criterion) =>
    indices(criterion).map((index) => question(criterion, index, nameOf))));
}

const indexOf = (node) => (node.dataset.index === "" ? null : Number(node.dataset.index));

export function answerOf(form, name, index) {
  const answer = form.answers[name] ?? null;
  return index === null ? answer : (answer?.[index] ?? null);
}

export function setAnswer(form, name, index, answer) {
  const value = isEmpty(answer) ? null : answer;
  const count = form.tiers.length;
  const all = index === null ? value : Object.assign(Array(count).fill(null), form.answers[name] ?? [], { [index]: value });
  if (isEmpty(all) || (index !== null && all.every((one) => one === null))) delete form.answers[name];
  else form.answers[name] = all;
}

function fits({ kind, several, options, statements, low, high }, answer) {
  if (kind === "spans") return Array.isArray(answer) && answer.every((one) => options.includes(one.option));
  if (kind === "choice" && several) return Array.isArray(answer) && answer.every((one) => options.includes(one));
  if (kind === "choice") return options.includes(answer);
  if (kind === "checklist") return Object.keys(answer).every((one) => statements.includes(one));
  return kind === "rating" ? answer >= low && answer <= high : typeof answer === "string";
}

// The form without answers and flags that it no longer asks for, as in a draft of an older form.
export function withKnownFields(form, { criteria, flags }) {
  const isKnown = ([name, answer]) => {
    const criterion = criteria.find((one) => one.name === name);
    if (criterion === undefined) return false;
    if (criterion.about === "item") return fits(criterion, answer);
    return Array.isArray(answer) && answer.length === form.tiers.length && answer.every((one) => one === null || fits(criterion, one));
  };
  return {
    ...form,
    flags: form.flags.map((given) => given.filter((flag) => flags.includes(flag))),
    answers: Object.fromEntries(Object.entries(form.answers).filter(isKnown)),
  };
}

// Takes the answer of the question with this input into the form.
export function readAnswer(form, criteria, input) {
  const node = input.closest(".question");
  const criterion = criteria.find(({ name }) => name === node.dataset.name);
  const checked = [...node.querySelectorAll("input:checked")];
  const answers = {
    rating: () => (checked.length ? Number(checked[0].value) : null),
    choice: () => (criterion.several ? checked.map(({ value }) => value) : (checked[0]?.value ?? null)),
    checklist: () => Object.fromEntries(checked.map((one) => [one.closest(".line").dataset.statement, one.value === "yes"])),
    text: () => node.querySelector("textarea").value,
  };
  if (criterion.kind in answers) setAnswer(form, criterion.name, indexOf(node), answers[criterion.kind]());
}

function wordOf({ kind, low, high, words }, answer) {
  if (kind !== "rating" || !words.length) return "";
  if (answer === null || words.length === 2) return `${low} ${words[0]}, ${high} ${words.at(-1)}`;
  return words[answer - low];
}

function showAnswer(node, criterion, answer) {
  const given = criterion.kind === "choice" && criterion.several ? (answer ?? []) : [answer];
  for (const input of node.querySelectorAll("input")) {
    const statement = input.closest(".line").dataset.statement;
    if (statement === undefined) input.checked = given.some((one) => String(one) === input.value);
    else input.checked = answer?.[statement] === (input.value === "yes");
  }
  const text = node.querySelector("textarea");
  if (text && text !== document.activeElement) text.value = answer ?? "";
  const word = node.querySelector(".word");
  if (word) word.textContent = wordOf(criterion, answer);
  node.querySelector(".passages")?.replaceChildren(
    ...(answer ?? []).map((span) => make("li", {}, [make("q", { textContent: span.text }), ` ${span.option}`])),
  );
}

// Shows the form's answers, and those questions about the best and the worst that are asked now.
export function showAnswers(form, criteria) {
  for (const node of document.querySelectorAll(".question")) {
    const criterion = criteria.find(({ name }) => name === node.dataset.name);
    showAnswer(node, criterion, answerOf(form, criterion.name, indexOf(node)));
    if (isAboutEnd(criterion)) node.hidden = !endsOf(form, criterion.about).includes(indexOf(node));
  }
}

// The lines in the page's order, those of responses first.
function shownLines() {
  return [...document.querySelectorAll(".question .line")].filter((node) => !node.closest("[hidden]"));
}

function isOpen(form, criteria, node) {
  const { name, index } = node.closest(".question").dataset;
  const answer = answerOf(form, name, index === "" ? null : Number(index));
  if (node.dataset.statement !== undefined) return !(node.dataset.statement in (answer ?? {}));
  return isEmpty(answer);
}

// The first line that has to be answered before the form can be submitted, or null. A checklist is
// answered as a whole or not at all.
export function missingLine(form, criteria) {
  return shownLines().find((node) => {
    const { dataset } = node.closest(".question");
    const criterion = criteria.find(({ name }) => name === dataset.name);
    const isBegun = criterion.kind === "checklist" && !isEmpty(answerOf(form, dataset.name, dataset.index === "" ? null : Number(dataset.index)));
    return (criterion.required || isBegun) && isOpen(form, criteria, node);
  }) ?? null;
}

export function describeLine(node) {
  const { name, index } = node.closest(".question").dataset;
  return `${titleOf({ name })}${index === "" ? "" : ` of ${letter(Number(index))}`}`;
}

// The line after `node`; from a card, its first unanswered line. In a circle; null without any.
export function nextLine(form, criteria, node) {
  const lines = shownLines();
  const own = node.closest(".line");
  if (own) return lines[(lines.indexOf(own) + 1) % lines.length];
  const card = node.closest(".card");
  const open = lines.filter((one) => isOpen(form, criteria, one));
  const start = card ? Number(card.dataset.index) : 0;
  const indexOfLine = (one) => Number(one.closest(".card")?.dataset.index ?? Infinity);
  return open.find((one) => indexOfLine(one) >= start) ?? open[0] ?? lines[0] ?? null;
}

// The unanswered line after this one, or null at the end: where a key leads on to.
export function followingOpenLine(form, criteria, node) {
  const lines = shownLines();
  return lines.slice(lines.indexOf(node) + 1).find((one) => isOpen(form, criteria, one)) ?? null;
}

export function focusLine(node) {
  (node.querySelector("input:checked") ?? node.querySelector("input, textarea, button")).focus({ preventScroll: true });
  node.closest(".question").scrollIntoView({ block: "nearest" });
}

// Answers the line by a key: a digit, or y and n; Backspace removes the answer. Returns null for
// another key, otherwise whether the line is finished.
export function answerByKey(node, key) {
  const boxes = [...node.querySelectorAll("input")];
  if (key === "Backspace") {
    for (const box of boxes) box.checked = false;
    return false;
  }
  const isStatement = node.dataset.statement !== undefined;
  const value = { y: "yes", 1: "yes", n: "no", 2: "no" }[key];
  const box = isStatement ? boxes.find((one) => one.value === value)
    : node.classList.contains("ratings") ? boxes.find((one) => one.value === key) : /^[1-9]$/.test(key) ? boxes[Number(key) - 1] : null;
  if (!box) return null;
  box.checked = box.type === "radio" || !box.checked;
  box.focus({ preventScroll: true });
  return box.type === "radio";
}
