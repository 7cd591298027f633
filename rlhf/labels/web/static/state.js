// What the label page shows now, and its line of status.
import { byId } from "./elements.js";

export const page = {
  item: null, // as /api/next describes it; null: there is none
  form: null, // of the item, as the annotator fills it in
  settings: null, // of the form: its version, criteria, flags and others
  current: 0, // the selected response
  raw: false, // plain texts
  confirmed: false, // the page asks once per item to confirm the order shown
};

let retrying = false; // a click waits for the server

export const announce = (text) => { byId("announcement").textContent = text; };

export function showStatus(text, isProblem = false) {
  if (retrying && !isProblem) return; // "Not saved yet" stays until it is saved
  byId("status").textContent = text;
  byId("status").classList.toggle("problem", isProblem);
  if (text) announce(text);
}

export function onRetry() {
  retrying = true;
  showStatus("Not saved yet: the server does not respond. Retrying…", true);
}

export const endRetry = () => { retrying = false; };
