// The form of the current item. Responses count from 0 in the order shown.
export const STRENGTH = ["", "slightly", "somewhat", "clearly", "much"];
export const letter = (index) => String.fromCharCode(65 + index);

export function emptyForm(count) {
  return {
    tiers: Array(count).fill(null),
    scale: null,
    both_bad: false,
    flags: Array.from({ length: count }, () => []),
    overall: Array(count).fill(null),
    comment: "",
    rewrite: "",
    skip_comment: "",
    answers: {},
  };
}

export function formOf(draft, count) {
  const form = { ...emptyForm(count), ...(draft ?? {}) };
  for (const name of ["tiers", "flags", "overall"]) {
    if (form[name].length !== count) form[name] = emptyForm(count)[name];
  }
  return form;
}

// Indices of the responses without a rank.
export function unranked(form) {
  if (form.tiers.length === 2) return form.scale === null && !form.both_bad ? [0, 1] : [];
  if (form.both_bad && form.tiers.every((tier) => tier === null)) return [];
  return form.tiers.flatMap((tier, index) => (tier === null ? [index] : []));
}

// Indices of the best or of the worst responses; none while all are equal or unranked.
export function endsOf(form, about) {
  const pair = form.scale ? (form.scale < 0 ? [1, 2] : [2, 1]) : [];
  const tiers = form.tiers.length === 2 ? pair : form.tiers.filter((tier) => tier !== null);
  if (new Set(tiers).size < 2) return [];
  const end = about === "best" ? Math.min(...tiers) : Math.max(...tiers);
  return (form.tiers.length === 2 ? pair : form.tiers).flatMap((tier, index) => (tier === end ? [index] : []));
}

export const hasText = (form) => (form.comment + form.rewrite).trim() !== "" || Object.keys(form.answers).length > 0;

export const isOrderShown = (form) =>
  form.tiers.length > 2 && form.tiers.every((tier, index) => tier === index + 1);

// The next response without a rank after `index`, in a circle; -1 if all have one.
export function nextUnranked(form, index) {
  const count = form.tiers.length;
  for (let step = 1; step <= count; step += 1) {
    const other = (index + step) % count;
    if (form.tiers[other] === null) return other;
  }
  return -1;
}

export function scaleText(scale) {
  if (scale === null) return "";
  if (scale === 0) return "equally good";
  return `${scale < 0 ? "A" : "B"} is ${STRENGTH[Math.abs(scale)]} better`;
}

// Digits 1 to 8 along the scale: -4 … -1, 1 … 4.
export const scaleOfDigit = (digit) => (digit <= 4 ? digit - 5 : digit - 4);
export const digitOfScale = (scale) => (scale < 0 ? scale + 5 : scale + 4);
