// The dialog in which passages of a response are marked, with the mouse, by touch or with the keys.
// Offsets count characters (code points), as Python does, of the response as it is written.
import { byId, make } from "./elements.js";
import { keyOf } from "./keys.js";

const length = (text) => [...text].length;
let text = "";
let spans = [];
let options = [];
let onChange = null;

// [start, end] of the selection without the space at its ends; null if nothing is selected.
function selected() {
  const selection = getSelection();
  const pre = byId("spans-text");
  if (!selection.rangeCount) return null;
  const range = selection.getRangeAt(0);
  if (!pre.contains(range.startContainer) || !pre.contains(range.endContainer)) return null;
  const before = document.createRange();
  before.setStart(pre, 0);
  before.setEnd(range.startContainer, range.startOffset);
  const chosen = range.toString();
  const start = length(before.toString()) + length(chosen) - length(chosen.trimStart());
  return [start, start + length(chosen.trim())];
}

// Marks the selection; one that is marked already gets the new option.
function mark(option, range = selected()) {
  if (range === null || range[0] >= range[1]) {
    byId("spans-help").classList.add("problem");
    return;
  }
  byId("spans-help").classList.remove("problem");
  const [start, end] = range;
  spans = spans.filter((span) => span.start !== start || span.end !== end);
  spans.push({ start, end, text: [...text].slice(start, end).join(""), option });
  spans.sort((a, b) => a.start - b.start || a.end - b.end);
  show();
  placeCaret(end);
  onChange(spans);
}

function remove(span) {
  spans = spans.filter((other) => other !== span);
  show();
  placeCaret(span.start);
  onChange(spans);
}

// Puts the caret at this offset, so that the keyboard can go on from there.
function placeCaret(offset) {
  const walker = document.createTreeWalker(byId("spans-text"), NodeFilter.SHOW_TEXT);
  let left = offset;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const characters = [...node.data];
    if (left <= characters.length) {
      getSelection().collapse(node, characters.slice(0, left).join("").length);
      return;
    }
    left -= characters.length;
  }
}

function show() {
  const characters = [...text];
  const edges = [...new Set([0, characters.length, ...spans.flatMap(({ start, end }) => [start, end])])].sort((a, b) => a - b);
  byId("spans-text").replaceChildren(...edges.slice(0, -1).map((start, i) => {
    const content = characters.slice(start, edges[i + 1]).join("");
    const covering = spans.filter((span) => span.start <= start && start < span.end);
    return covering.length ? make("mark", { textContent: content, title: covering.map(({ option }) => option).join(", ") }) : content;
  }));
  byId("spans-list").replaceChildren(...spans.map((span) => {
    const button = make("button", { type: "button", textContent: "Remove", "aria-label": `Remove: ${span.text}` });
    button.addEventListener("click", () => remove(span));
    return make("li", {}, [make("q", { textContent: span.text }), ` ${span.option} `, button]);
  }));
}

// Opens the dialog on a response's text and calls `changed` with the new spans after each change.
export function openSpans(title, response, before, labels, changed) {
  [text, spans, options, onChange] = [response, [...before], labels, changed];
  byId("spans-title").textContent = title;
  byId("spans-help").classList.remove("problem");
  byId("spans-options").replaceChildren(...options.map((option, i) => {
    const button = make("button", { type: "button" }, [make("kbd", { textContent: String(i + 1) }), ` ${option}`]);
    let pressed = null; // what was selected then: a touch may end the selection before the click
    button.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // keeps the selection
      pressed = selected();
    });
    button.addEventListener("click", (event) => mark(option, event.detail ? pressed : selected())); // 0: by a key
    return button;
  }));
  show();
  byId("spans").showModal();
  byId("spans-text").focus();
  placeCaret(0);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = keyOf(event);
  if (/^[1-9]$/.test(key) && options[Number(key) - 1]) { event.preventDefault(); mark(options[Number(key) - 1]); }
  else if (key === "Enter") { event.preventDefault(); mark(options[0]); }
  else if (key === "Backspace" || key === "Delete") {
    event.preventDefault();
    const at = selected()?.[0] ?? -1;
    const span = spans.find(({ start, end }) => start <= at && at <= end);
    if (span) remove(span);
  }
}

export function connectSpans() {
  byId("spans-text").addEventListener("keydown", onKey);
  byId("spans-text").addEventListener("beforeinput", (event) => event.preventDefault()); // it is only read
}
