// Ranks, and the comparison of two responses.
import { letter, nextUnranked, scaleOfDigit } from "./form.js";
import { formChanged, select } from "./item.js";
import { announce, page, showStatus } from "./state.js";

export function rank(index, tier, selectNext = true) {
  const { form, item } = page;
  // Copies of one text share their rank.
  item.same.forEach((first, i) => { if (first === item.same[index]) form.tiers[i] = tier; });
  page.confirmed = false;
  showStatus("");
  formChanged();
  const tied = form.tiers.flatMap((other, i) => (other === tier && i !== index && tier !== null ? [letter(i)] : []));
  announce(`${letter(index)} ${tier === null ? "has no rank" : `rank ${tier}`}${tied.length ? `, tied with ${tied.join(" and ")}` : ""}`);
  const next = nextUnranked(form, index);
  if (selectNext && next >= 0) select(next);
}

export function compare(scale) {
  page.form.scale = page.item.same[1] === 0 ? 0 : scale;
  page.form.both_bad = false;
  formChanged();
}

export function setBad(value) {
  page.form.both_bad = value;
  if (value) page.form.scale = null;
  formChanged();
}

export function onDigit(digit) {
  const count = page.form.tiers.length;
  if (count === 2) {
    if (digit === 0) compare(0);
    else if (digit <= 8) compare(scaleOfDigit(digit));
  } else if (digit >= 1 && digit <= count) rank(page.current, digit);
}
