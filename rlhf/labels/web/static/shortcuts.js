// The dialog that lists the keyboard shortcuts and changes them.
import { byId, make } from "./elements.js";
import { ACTIONS, FIXED, bind, keyFor, keyOf, resetKeys, showKeys } from "./keys.js";

let changing = null; // [action, button] whose new key is awaited

const keyList = (keys) => keys.split(/ +/).map((key) => (key === "…" ? " … " : make("kbd", { textContent: key })));

function actionRow([action, , description]) {
  const key = make("kbd", { textContent: keyFor(action) });
  key.dataset.action = action;
  // Text and no aria-label: the name of the button begins with the key that it shows, also after a change.
  const purpose = make("span", { className: "hidden", textContent: ` change the key of: ${description}` });
  const button = make("button", { type: "button", title: "Change this key" }, [key, purpose]);
  button.addEventListener("click", () => awaitKey(action, button));
  return [make("dt", {}, [button]), make("dd", { textContent: description })];
}

function awaitKey(action, button) {
  stop();
  changing = [action, button];
  button.classList.add("changing");
  byId("keys-status").textContent = "Press the new key, a letter. Esc keeps the old one.";
}

function stop() {
  changing?.[1].classList.remove("changing");
  changing = null;
  byId("keys-status").textContent = "";
}

function onKey(event) {
  if (changing === null || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault(); // Esc stops the change, and does not close the dialog
  event.stopPropagation();
  const key = keyOf(event);
  if (event.key !== "Escape" && !/^[a-z]$/.test(key)) return;
  if (event.key !== "Escape") bind(changing[0], key);
  stop();
  showKeys();
}

// `isLive`: whether annotators can prompt models.
export function renderShortcuts(isLive) {
  const actions = ACTIONS.filter(([action]) => isLive || action !== "prompt");
  byId("key-list").replaceChildren(
    ...FIXED.flatMap(([keys, description]) => [make("dt", {}, keyList(keys)), make("dd", { textContent: description })]),
    ...actions.flatMap(actionRow),
  );
  byId("keys").addEventListener("keydown", onKey, true);
  byId("keys").addEventListener("close", stop);
  byId("reset-keys").addEventListener("click", () => { stop(); resetKeys(); showKeys(); });
  showKeys();
}
