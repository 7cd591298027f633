// How long responses are read: in panes of their own, with a folded middle, with their differences marked.
import { byId, make } from "./elements.js";
import { countWords, markDifferences, unmarkDifferences, wordCount } from "/static/text/words.js";

const STORAGE = "rlhf-label-reading";
const LONG = 300; // words; a shorter response has no middle to fold
const FIRST = 120; // words at least before the folded middle
const LAST = 80; // words at least after it
const percent = new Intl.NumberFormat("en", { style: "percent" });
const modes = { full: false, fold: false, differences: false, ...JSON.parse(localStorage.getItem(STORAGE) ?? "{}") };

const cards = () => [...document.querySelectorAll("#responses > .card")];
const textOf = (card) => card.querySelector(".pane > .text");

// The blocks between the first and the last words; empty if there are fewer than two.
function middleOf(text) {
  const blocks = [...text.children];
  const counts = blocks.map((block) => countWords(block.textContent));
  let [first, last, before, after] = [0, blocks.length, 0, 0];
  while (first < last && before < FIRST) before += counts[first++];
  while (last > first && after < LAST) after += counts[--last];
  return last - first < 2 ? [] : blocks.slice(first, last);
}

function foldMiddle(text) {
  const middle = countWords(text.textContent) > LONG ? middleOf(text) : [];
  if (!middle.length) return;
  const words = wordCount(middle.map((block) => block.textContent).join("\n"));
  const unfold = make("button", { type: "button", className: "unfold", textContent: `… ${words} in the middle: show` });
  unfold.addEventListener("click", () => { unfold.remove(); for (const block of middle) block.hidden = false; });
  middle[0].before(unfold);
  for (const block of middle) block.hidden = true;
}

function showModes() {
  document.body.classList.toggle("full", modes.full);
  for (const [name, on] of Object.entries(modes)) byId(`toggle-${name}`).setAttribute("aria-pressed", `${on}`);
}

function showDifferences() {
  const shown = cards();
  unmarkDifferences();
  const shares = modes.differences && shown.length > 1 ? markDifferences(shown.map(textOf)) : [];
  shown.forEach((card, n) => {
    const differ = shares.length ? ` · ${percent.format(shares[n])} differs` : "";
    card.querySelector(".words").textContent = wordCount(textOf(card).textContent) + differ;
  });
}

// Lay out the responses that were just drawn.
export function layOut() {
  const shown = cards();
  for (const card of shown) card.querySelector("header").append(make("span", { className: "words" }));
  const isLong = shown.some((card) => countWords(textOf(card).textContent) > LONG);
  byId("toggle-fold").hidden = byId("toggle-full").hidden = !isLong;
  byId("toggle-differences").hidden = shown.length < 2 || !CSS.highlights;
  if (modes.fold) for (const card of shown) foldMiddle(textOf(card));
  showModes();
  showDifferences();
}

// Switch `full`, `fold` or `differences`; `redraw` draws the responses again.
export function toggle(name, redraw) {
  if (byId(`toggle-${name}`).hidden) return;
  modes[name] = !modes[name];
  localStorage.setItem(STORAGE, JSON.stringify(modes));
  redraw();
}

// Scroll the pane of the selected response by most of its height; false if it does not scroll.
export function scrollPane(card, direction) {
  const pane = card?.querySelector(".pane");
  if (!pane || pane.scrollHeight <= pane.clientHeight + 1) return false;
  pane.scrollBy({ top: 0.85 * direction * pane.clientHeight });
  return true;
}

// Letters stay in sight below the bar, whose height depends on the window.
export function measureBar() {
  const bar = document.querySelector(".bar");
  new ResizeObserver(() => document.body.style.setProperty("--bar", `${bar.offsetHeight}px`)).observe(bar);
}
