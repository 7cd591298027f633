// Texts of responses as elements: Markdown that the server renders, and folded thoughts.
import { call } from "/static/api.js";
import { follow } from "/static/follow.js";
import { isGenerating } from "/static/generate.js";
import { el } from "/static/render.js";
import { wordCount } from "/static/text/words.js";

const MAX_RENDERED = 400; // texts whose HTML is kept, so that drawing again does not move the page
const rendered = new Map(); // text -> HTML

async function htmlOf(text) {
  if (!rendered.has(text)) {
    const { html } = await call("/page/markdown", { text });
    if (rendered.size >= MAX_RENDERED) rendered.delete(rendered.keys().next().value);
    rendered.set(text, html);
  }
  return rendered.get(text);
}

// Render a text, so that it can be drawn at once.
export const prepare = (text) => (text ? htmlOf(text) : undefined);

function setHtml(element, html) {
  element.className = "text";
  element.innerHTML = html; // the server has sanitized it
}

// A text as Markdown, at once if it was rendered before; `onRendered` is called where it is later.
export function drawText(text, onRendered) {
  const element = el("div", { className: "text plain", dir: "auto", textContent: text });
  if (rendered.has(text)) setHtml(element, rendered.get(text));
  else if (text) htmlOf(text).then((html) => { setHtml(element, html); follow(); onRendered(); }).catch(() => undefined);
  return element;
}

// The thought of a response, folded; it is open while it is generated, until the response begins.
export function drawThought(response) {
  const text = el("div", { className: "text plain", dir: "auto", textContent: response.thought });
  const details = el("details", { className: "thought", open: !response.text }, el("summary"), text);
  updateThoughtSummary(details, response);
  // Rendered when it is opened: most thoughts never are.
  details.ontoggle = () => {
    if (details.open && !isGenerating()) htmlOf(response.thought).then((html) => setHtml(text, html)).catch(() => undefined);
  };
  return details;
}

export function updateThoughtSummary(details, { thought, text, finish }) {
  details.firstChild.textContent = `${isGenerating() && !text && !finish ? "Thinking" : "Thought"}, ${wordCount(thought)}`;
}

// Markdown of a text that is still growing, one request at a time.
export async function renderStreamed(element, response) {
  element.dataset.rendering = "1";
  try {
    const { html } = await call("/page/markdown", { text: response.text });
    setHtml(element, html);
    follow();
  } catch {
    // The plain text stays.
  }
  delete element.dataset.rendering;
}
