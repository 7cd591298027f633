// The keyboard shortcuts: their names on any layout, and the keys that the annotator has changed.
const CHANGED = "rlhf-label-keys";

// Actions with a letter that can be changed: [action, default key, description].
export const ACTIONS = [
  ["next", "j", "select the next response (also → and ↓)"],
  ["previous", "k", "select the one before (also ← and ↑)"],
  ["bad", "b", "both bad, or all bad"],
  ["undo", "u", "undo the last item"],
  ["skip", "s", "skip, with a reason"],
  ["flags", "f", "flags of the selected response"],
  ["overall", "o", "overall rating of the selected response: then a digit"],
  ["criterion", "m", "next question of the form: then a digit, or y and n"],
  ["comment", "c", "comment"],
  ["rewrite", "w", "write a better response"],
  ["edit", "e", "write it, starting from the selected response"],
  ["earlier", "t", "show or fold earlier turns"],
  ["raw", "r", "raw or formatted text"],
  ["rows", "v", "columns or rows"],
  ["differences", "d", "mark the words in which the responses differ"],
  ["fold", "h", "fold the middle of long responses"],
  ["full", "l", "long responses at full length, or in panes"],
  ["guideline", "g", "guideline"],
  ["questions", "q", "ask the researcher; read the answers"],
  ["work", "p", "your labels and working time by day"],
  ["prompt", "a", "send a prompt of your own to the models"],
];
// The other keys: [keys, description].
export const FIXED = [
  ["1 … 9", "give the selected response this rank; the same rank twice is a tie"],
  ["1 … 8", "two responses: from A much better (1) to B much better (8); 0 or = equally good"],
  ["Backspace", "remove the rank of the selected response, or an answer"],
  ["PageDown  PageUp", "scroll the selected response"],
  ["Enter", "submit; Ctrl Enter in a text box"],
  ["Esc", "leave a text box, a rating or a question"],
  ["?", "these keys"],
];

const defaults = Object.fromEntries(ACTIONS.map(([action, key]) => [action, key]));
let bindings = { ...defaults, ...JSON.parse(localStorage.getItem(CHANGED) ?? "{}") };

export const keyFor = (action) => bindings[action];
export const actionOf = (key) => ACTIONS.find(([action]) => bindings[action] === key)?.[0];

// Gives the action this key; an action that had it gets the other key in exchange.
export function bind(action, key) {
  const other = actionOf(key);
  bindings = { ...bindings, ...(other ? { [other]: bindings[action] } : {}), [action]: key };
  localStorage.setItem(CHANGED, JSON.stringify(bindings));
}

export function resetKeys() {
  bindings = { ...defaults };
  localStorage.removeItem(CHANGED);
}

let isLatin = true; // whether the last letter was one of a to z

// The key by its label on a Latin keyboard, and by its place on others and in the row of digits:
// "u" is "г" on a Russian keyboard, and "1" needs Shift on a French one.
export function keyOf({ key, code }) {
  if (key === "?" || key === "=") return key;
  const digit = /^Digit([0-9])$/.exec(code ?? "")?.[1];
  if (digit) return digit;
  if (/^[a-z]$/i.test(key)) {
    isLatin = true;
    return key.toLowerCase();
  }
  const place = /^Key([A-Z])$/.exec(code ?? "")?.[1].toLowerCase();
  const isLetter = /^\p{L}+$/u.test(key) && key.length <= 2;
  if (isLetter) isLatin = false;
  // Hebrew and others have signs on some of the letter keys.
  return place && (isLetter || !isLatin) ? place : key;
}

// Writes the keys into the page, wherever it shows the key of an action.
export function showKeys() {
  for (const node of document.querySelectorAll("kbd[data-action]")) node.textContent = keyFor(node.dataset.action);
}
