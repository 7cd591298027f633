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
  return form.tiers.flatMap((tier, index) => (tier === null ? [index] : []));
}

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
