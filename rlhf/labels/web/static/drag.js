// Drag a letter, of a card or in a slot, to a rank; with mouse, pen or touch.
import { letter } from "./form.js";

const DRAG_DISTANCE = 5; // pixels before a press becomes a drag

export function enableDrag(onDrop) {
  let press = null;
  const ghost = document.createElement("span");
  ghost.className = "chip ghost";

  const slotAt = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest(".slot");
  const end = () => {
    ghost.remove();
    document.querySelector(".slot.over")?.classList.remove("over");
    press = null;
  };

  document.addEventListener("pointerdown", (event) => {
    const handle = event.target.closest(".chip, .card .letter");
    if (handle === null || event.button !== 0 || !document.querySelector(".slots")) return;
    const index = Number(handle.dataset.index ?? handle.closest(".card").dataset.index);
    press = { index, x: event.clientX, y: event.clientY, id: event.pointerId };
    event.preventDefault();
  });
  document.addEventListener("pointermove", (event) => {
    if (press === null || event.pointerId !== press.id) return;
    if (Math.hypot(event.clientX - press.x, event.clientY - press.y) > DRAG_DISTANCE && !ghost.isConnected) {
      ghost.textContent = letter(press.index);
      document.body.append(ghost);
    }
    ghost.style.transform = `translate(${event.clientX}px, ${event.clientY}px)`;
    const over = slotAt(event);
    for (const slot of document.querySelectorAll(".slot")) slot.classList.toggle("over", slot === over);
  });
  document.addEventListener("pointerup", (event) => {
    if (press === null || event.pointerId !== press.id) return;
    const slot = ghost.isConnected ? slotAt(event) : null;
    if (slot) onDrop(press.index, slot.dataset.tier === "" ? null : Number(slot.dataset.tier));
    end();
  });
  document.addEventListener("pointercancel", end);
}
