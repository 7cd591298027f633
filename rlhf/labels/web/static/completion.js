// The completion code of a participant from a crowd platform, on the page without an item.
import { call } from "./api.js";

const box = document.getElementById("completion"); // null without a study

export async function showCompletion() {
  if (box === null) return;
  const { complete, code, link } = await call("/api/completion");
  box.hidden = !complete;
  if (!complete) return;
  document.getElementById("empty-title").textContent = "All done. Thank you!";
  document.getElementById("empty-text").textContent = "Your labels are stored.";
  document.getElementById("completion-code").textContent = code;
  const anchor = document.getElementById("completion-link");
  anchor.hidden = link === "";
  anchor.href = link;
  document.getElementById("completion-help").textContent = link ? "If the link does not work, enter this code:" : "Copy this code into the HIT and submit it:";
}
