// The conversation of this tab. The tab keeps it at once; with a history, the server keeps it too.
import { call } from "/static/api.js";
import { branch, isEmpty, newId } from "/static/tree.js";

const STORAGE_KEY = "rlhf-conversation";
const RETRY_DELAY = 3000; // milliseconds after a failed save
const MAX_TITLE = 80;
const empty = () => ({ id: newId(), title: "", leaf: null, turns: [], unsaved: [], moved: false });

export let state = { ...empty(), ...JSON.parse(sessionStorage.getItem(STORAGE_KEY) ?? "{}") };
let onSaved = null; // called after a save, with its error if there was one; null if no server keeps conversations
let retry = null;

export const path = () => branch(state.turns, state.leaf);
export const turnOf = (id) => state.turns.find((turn) => turn.id === id);

export function keepOnServer(saved) {
  onSaved = saved;
  save();
}

// Keep the conversation in the tab. Beyond the browser's limit only the server keeps it.
export function keep() {
  try {
    sessionStorage.setItem(STORAGE_KEY, JSON.stringify(state));
  } catch (error) {
    if (error.name !== "QuotaExceededError") throw error;
  }
}

export function startNew() {
  state = empty();
  keep();
}

export function open({ id, title, leaf, turns }) {
  state = { ...empty(), id, title, leaf, turns };
  keep();
}

// Add a turn, or note that one has changed.
export function put(turn) {
  if (!turnOf(turn.id)) state.turns.push(turn);
  if (!state.title && turn.role === "user") state.title = turn.content.trim().replace(/\s+/g, " ").slice(0, MAX_TITLE);
  if (!state.unsaved.includes(turn.id)) state.unsaved.push(turn.id);
  keep();
}

// Take back a turn without any text, which was never saved.
export function remove(turn) {
  state.turns = state.turns.filter(({ id }) => id !== turn.id);
  state.unsaved = state.unsaved.filter((id) => id !== turn.id);
  if (!state.turns.length) state.title = "";
  keep();
}

// Show the branch that ends with turn `leaf`.
export function show(leaf) {
  state.leaf = leaf;
  state.moved = true;
  keep();
}

const hasText = (turn) => (turn.role === "assistant"
  ? turn.responses.some((response) => !isEmpty(response))
  : state.turns.some((child) => child.parent === turn.id && hasText(child)));

// Send what has changed to the server, again and again until it has it. Returns whether it has.
export async function save() {
  clearTimeout(retry);
  const sent = state;
  const turns = sent.turns.filter((turn) => sent.unsaved.includes(turn.id) && hasText(turn));
  const isStored = sent.turns.some((turn) => hasText(turn));
  if (!onSaved || !isStored || (!turns.length && !sent.moved)) return true;
  const ids = turns.map(({ id }) => id);
  sent.unsaved = sent.unsaved.filter((id) => !ids.includes(id));
  sent.moved = false;
  try {
    // A leaf without text is not on the server.
    const leaf = branch(sent.turns, sent.leaf).findLast((turn) => hasText(turn))?.id ?? null;
    await call(`/page/history/${sent.id}`, { title: sent.title || "Untitled", leaf, turns });
  } catch (error) {
    sent.unsaved = [...new Set([...ids, ...sent.unsaved])];
    sent.moved = true;
    if (sent === state) retry = setTimeout(save, RETRY_DELAY);
    onSaved(error);
    return false;
  }
  if (sent === state) keep();
  onSaved(null);
  return true;
}
