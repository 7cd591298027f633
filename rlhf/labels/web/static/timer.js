// Seconds of active work: neither hidden time nor time long after the last input counts. They go on
// after a reload and after undo.
import { ofProject } from "./base.js";

const IDLE = 120_000; // milliseconds
const KEPT = ofProject("rlhf-label-seconds"); // in this window, for a reload
let claim = null;
let total = 0;
let since = performance.now();
let lastInput = performance.now();

function addElapsed() {
  const now = performance.now();
  if (document.visibilityState === "visible") total += Math.max(0, Math.min(now, lastInput + IDLE) - since);
  since = now;
}

// Counts for this claim from now on, if there is one; `before`: its seconds as the server knows them.
export function restart(newClaim = null, before = 0) {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  claim = newClaim;
  total = 1000 * Math.max(before, kept?.claim === claim ? kept.seconds : 0);
  since = lastInput = performance.now();
}

export function seconds() {
  addElapsed();
  return Math.round(total) / 1000;
}

export const isActive = () =>
  document.visibilityState === "visible" && performance.now() - lastInput < 5 * IDLE;

for (const kind of ["pointermove", "keydown", "scroll", "pointerdown"]) {
  addEventListener(kind, () => { addElapsed(); lastInput = performance.now(); }, { passive: true });
}
addEventListener("pagehide", () => {
  if (claim !== null) sessionStorage.setItem(KEPT, JSON.stringify({ claim, seconds: seconds() }));
});
document.addEventListener("visibilitychange", () => {
  // Counting stops when the page is hidden and starts again when it is visible.
  const now = performance.now();
  if (document.visibilityState === "hidden") total += Math.max(0, Math.min(now, lastInput + IDLE) - since);
  since = now;
});
