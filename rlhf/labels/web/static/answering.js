// Answers to the questions of the form, by key and by mouse.
import * as criteria from "./criteria.js";
import { letter } from "./form.js";
import { cardOf, formChanged, select } from "./item.js";
import { showForm } from "./render.js";
import { openSpans } from "./spans.js";
import { page } from "./state.js";

const lineOrCard = () => document.activeElement.closest(".line") ?? cardOf(page.current);

export const toNextLine = () => toLine(criteria.nextLine(page.form, page.settings.criteria, lineOrCard()));

export function toLine(node) {
  if (node === null) return;
  criteria.focusLine(node);
  const card = node.closest(".card");
  if (card) { page.current = Number(card.dataset.index); showForm(page.form, page.current); }
}

// A key in a rating or a question: whether it was used.
export function onLineKey(node, key) {
  if (key === "Escape") { select(page.current, false); return true; }
  const finished = criteria.answerByKey(node, key);
  if (finished === null) return /^[0-9]$/.test(key); // a digit of no option does not rank instead
  takeAnswer(node.querySelector("input") ?? node);
  if (!finished) return true;
  const following = node.closest(".overall") ? null : criteria.followingOpenLine(page.form, page.settings.criteria, node);
  if (following) toLine(following);
  else select(page.current, false);
  return true;
}

// Takes the value of a rating or a question into the form.
export function takeAnswer(input) {
  if (input.closest(".question")) criteria.readAnswer(page.form, page.settings.criteria, input);
  else {
    const rating = input.closest(".overall").querySelector("input:checked");
    page.form.overall[Number(input.closest(".card").dataset.index)] = rating ? Number(rating.value) : null;
  }
  formChanged();
}

// Opens the dialog of marked passages of the response with this button.
export function openPassages(button) {
  const { form, item, settings } = page;
  const { name, index } = button.closest(".question").dataset;
  const criterion = settings.criteria.find((one) => one.name === name);
  const place = Number(index);
  const spans = criteria.answerOf(form, name, place) ?? [];
  openSpans(`${criteria.titleOf(criterion)}: response ${letter(place)}`, item.answers[place].text, spans, criterion.options, (changed) => {
    criteria.setAnswer(form, name, place, changed);
    formChanged();
  });
}
