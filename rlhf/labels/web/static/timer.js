// Seconds that the annotator was at the page: not while it is hidden, not long after the last move.
const IDLE = 120_000;
let total = 0;
let since = performance.now();
let lastMove = performance.now();

function take() {
  const now = performance.now();
  if (document.visibilityState === "visible") total += Math.max(0, Math.min(now, lastMove + IDLE) - since);
  since = now;
}

export function restart() {
  total = 0;
  since = lastMove = performance.now();
}

export function seconds() {
  take();
  return Math.round(total) / 1000;
}

export const isActive = () =>
  document.visibilityState === "visible" && performance.now() - lastMove < 5 * IDLE;

for (const kind of ["pointermove", "keydown", "scroll", "pointerdown"]) {
  addEventListener(kind, () => { take(); lastMove = performance.now(); }, { passive: true });
}
document.addEventListener("visibilitychange", () => {
  // Hidden time ends here: what is counted starts anew when the page is seen again.
  if (document.visibilityState === "hidden") total += Math.max(0, performance.now() - since);
  since = performance.now();
});
