// What is not submitted yet: in this window at once, on the server a moment later.
import { call } from "./api.js";

const DRAFT = "rlhf-label-draft";
const SOON = 250; // milliseconds
const LATER = 3000; // after a save that failed
let timer = null;
let unsaved = null;

export function keep(claim, form) {
  unsaved = { claim, form };
  sessionStorage.setItem(DRAFT, JSON.stringify(unsaved));
  clearTimeout(timer);
  timer = setTimeout(save, SOON);
}

// Sends what has not been sent; does nothing where everything has.
export async function save() {
  clearTimeout(timer);
  if (unsaved === null) return;
  const sent = unsaved;
  const body = JSON.stringify(sent);
  unsaved = null;
  try {
    await call("/api/draft", sent);
    if (sessionStorage.getItem(DRAFT) === body) sessionStorage.removeItem(DRAFT);
  } catch {
    // The server is away: this window has it, and tries again unless there is something newer.
    unsaved ??= sent;
    timer = setTimeout(save, LATER);
  }
}

// The claim has been answered.
export function drop() {
  clearTimeout(timer);
  unsaved = null;
  sessionStorage.removeItem(DRAFT);
}

// The form that this window could not save before it was loaded anew, if it is of this claim.
export function leftover(claim) {
  const left = JSON.parse(sessionStorage.getItem(DRAFT) ?? "null");
  return left?.claim === claim ? left.form : null;
}
