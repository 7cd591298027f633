// Renders the turns before the responses; the middle of a long talk is folded.
import { make } from "./elements.js";
import { keyFor } from "./keys.js";
import { renderText } from "./render.js";

const MIN_FOLDED = 4; // turns; fewer are not worth a fold

function turnNode(turn, isLast, isTalk, raw) {
  const names = { user: isTalk ? "User" : "Prompt", assistant: "Assistant", system: "System" };
  return make("div", { className: `turn ${turn.role}${isLast ? " last" : ""}` }, [
    make("h2", { className: "role", textContent: names[turn.role] ?? turn.role }),
    renderText(turn, raw),
  ]);
}

export function renderConversation(parent, turns, raw) {
  const isTalk = turns.filter((turn) => turn.role === "user").length > 1;
  const nodes = turns.map((turn, index) => turnNode(turn, index === turns.length - 1, isTalk, raw));
  const first = turns[0]?.role === "system" ? 1 : 0;
  const folded = nodes.slice(first, -2);
  parent.classList.toggle("talk", isTalk);
  if (folded.length < MIN_FOLDED) {
    parent.replaceChildren(...nodes);
    return;
  }
  const wasOpen = document.getElementById("earlier")?.open ?? false;
  const key = make("kbd", { textContent: keyFor("earlier") });
  key.dataset.action = "earlier";
  const summary = make("summary", {}, [`${folded.length} earlier turns `, key]);
  const earlier = make("details", { id: "earlier", open: wasOpen }, [summary, ...folded]);
  parent.replaceChildren(...nodes.slice(0, first), earlier, ...nodes.slice(-2));
}

export function toggleEarlier() {
  const earlier = document.getElementById("earlier");
  if (earlier) earlier.open = !earlier.open;
}
