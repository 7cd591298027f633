// Seconds of active work: neither hidden time nor time long after the last input counts.
const IDLE = 120_000; // milliseconds
let total = 0;
let since = performance.now();
let lastInput = performance.now();

function addElapsed() {
  const now = performance.now();
  if (document.visibilityState === "visible") total += Math.max(0, Math.min(now, lastInput + IDLE) - since);
  since = now;
}

export function restart() {
  total = 0;
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
document.addEventListener("visibilitychange", () => {
  // Counting stops when the page is hidden and starts again when it is visible.
  if (document.visibilityState === "hidden") total += Math.max(0, performance.now() - since);
  since = performance.now();
});
