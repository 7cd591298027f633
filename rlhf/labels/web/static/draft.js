// The unsubmitted form: stored in this window at once, on the server a moment later.
import { call } from "./api.js";
import { ofProject } from "./base.js";

const DRAFT = ofProject("rlhf-label-draft");
const SAVE_DELAY = 250; // milliseconds
const RETRY_DELAY = 3000; // after a failed save
let timer = null;
let unsaved = null;
let newest = null; // what was entered last, saved or not

export function keep(claim, form, seconds) {
  newest = unsaved = { claim, form, seconds };
  sessionStorage.setItem(DRAFT, JSON.stringify(unsaved));
  clearTimeout(timer);
  timer = setTimeout(save, SAVE_DELAY);
}

// Sends the draft unless it is saved already.
export async function save() {
  clearTimeout(timer);
  if (unsaved === null) return;
  const draft = unsaved;
  const body = JSON.stringify(draft);
  unsaved = null;
  try {
    await call("/api/draft", draft);
    if (sessionStorage.getItem(DRAFT) === body) sessionStorage.removeItem(DRAFT);
  } catch {
    // The server is unreachable: this window keeps the draft and retries, unless a newer one came.
    unsaved ??= draft;
    timer = setTimeout(save, RETRY_DELAY);
  }
}

// The claim has ended.
export function drop() {
  clearTimeout(timer);
  newest = unsaved = null;
  sessionStorage.removeItem(DRAFT);
}

// The form of this claim as it was entered in this window, or before a reload and not saved. It goes
// before the server's: that may have been read before the newest draft was saved.
export function enteredForm(claim) {
  const draft = newest ?? JSON.parse(sessionStorage.getItem(DRAFT) ?? "null");
  return draft?.claim === claim ? draft.form : null;
}
