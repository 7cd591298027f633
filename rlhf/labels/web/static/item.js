// Shows the item and its form: everything that follows from the page's state.
import { call } from "./api.js";
import { showCompletion } from "./completion.js";
import { renderConversation } from "./conversation.js";
import * as criteria from "./criteria.js";
import * as draft from "./draft.js";
import { byId, make } from "./elements.js";
import { formOf, letter, nextUnranked, scaleText, unranked } from "./form.js";
import { guidelineVersion, loadGuideline } from "./guideline.js";
import { showProgress } from "./progress.js";
import { renderControls, renderResponses, showForm } from "./render.js";
import { layOut } from "./reading.js";
import { announce, page, showStatus } from "./state.js";
import * as timer from "./timer.js";

// Loads the form's settings: at the start, and when the server serves another version of the form.
export async function loadSettings() {
  page.settings = await call("/api/form");
  document.dispatchEvent(new Event("settings"));
}

export async function showItem(state) {
  if (state.form !== page.settings.version) await loadSettings();
  showProgress(state);
  page.item = state.claim === null ? null : state;
  byId("main").hidden = byId("dock").hidden = page.item === null;
  byId("empty").hidden = page.item !== null;
  if (page.item === null) showEmpty(state);
  else showNewItem(page.item);
}

function showEmpty(state) {
  byId("empty-title").textContent = state.done ? "All done. Thank you!" : "No items to rank yet";
  byId("empty-text").textContent = "New items appear here automatically. You may close this page.";
  showCompletion().catch((error) => showStatus(error.message, true));
  if (state.notice) [byId("empty-title").textContent, byId("empty-text").textContent] = [state.heading, state.notice];
}

function showNewItem(item) {
  const { settings } = page;
  const count = item.answers.length;
  const entered = draft.enteredForm(item.claim);
  page.form = criteria.withKnownFields(formOf(entered ?? item.draft, count), settings);
  page.current = Math.max(0, nextUnranked(page.form, count - 1));
  page.confirmed = false;
  byId("qualification").hidden = !item.is_qualification;
  byId("conversation").replaceChildren();
  render();
  renderControls(byId("controls"), count);
  byId("item-questions").replaceChildren(...criteria.renderItemQuestions(settings.criteria, count));
  renderStarts(count);
  showBoxes(page.form);
  scrollTo(0, 0);
  timer.restart(item.claim, item.seconds);
  refresh();
  select(page.current, false);
  showStatus("");
  announce(`Next item, ${count} responses`);
  if (entered) formChanged();
  if (item.guideline !== guidelineVersion()) loadGuideline();
}

function showBoxes(form) {
  for (const name of ["comment", "rewrite"]) {
    byId(name).value = form[name];
    byId(`${name}-box`).open = form[name] !== "";
    byId(`${name}-box`).hidden = !page.settings[name];
  }
}

export function openBox(name) {
  if (byId(`${name}-box`).hidden) return;
  byId(`${name}-box`).open = true;
  byId(name).focus();
}

// Fills the box of the better response with this response, as if it were typed: Ctrl Z takes it back.
export function startFrom(index) {
  openBox("rewrite");
  byId("rewrite").select();
  document.execCommand("insertText", false, page.item.answers[index].text);
}

function renderStarts(count) {
  byId("starts").replaceChildren("Start from ", ...Array.from({ length: count }, (_, index) => {
    const button = make("button", { type: "button", textContent: letter(index), "aria-label": `Start from response ${letter(index)}` });
    button.addEventListener("click", () => startFrom(index));
    return button;
  }));
}

function render() {
  renderConversation(byId("conversation"), page.item.prompt, page.raw);
  renderResponses(byId("responses"), page.item, page.settings, page.raw);
  byId("toggle-raw").setAttribute("aria-pressed", `${page.raw}`);
  layOut();
}

// Draw the texts again; the form and the selection stay.
export function redraw() {
  render();
  refresh();
  select(page.current, false);
}

export function toggleRaw() {
  page.raw = !page.raw;
  redraw();
}

export function refresh() {
  const { form, settings } = page;
  showForm(form, page.current);
  criteria.showAnswers(form, settings.criteria);
  const isReady = unranked(form).length === 0 && criteria.missingLine(form, settings.criteria) === null;
  byId("submit").classList.toggle("ready", isReady);
  if (form.tiers.length === 2) showStatus(form.both_bad ? "both bad" : pairText());
}

function pairText() {
  const same = page.item.same[1] === 0 ? ", as they are the same text" : "";
  return page.form.scale === null ? "" : `${scaleText(page.form.scale)}${same}`;
}

export const cardOf = (index) => document.querySelectorAll(".card")[index];

export function select(index, scroll = true) {
  page.current = index;
  showForm(page.form, index);
  const card = cardOf(index);
  card.focus({ preventScroll: true });
  if (scroll) card.scrollIntoView({ block: "nearest" });
}

export function formChanged() {
  if (byId("status").classList.contains("problem")) showStatus(""); // it may be solved now
  refresh();
  draft.keep(page.item.claim, page.form, timer.seconds());
}
