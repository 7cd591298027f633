// The guideline's dialog. A version that was not confirmed in this browser opens by itself.
import { call } from "./api.js";
import { ofProject } from "./base.js";

const READ = ofProject("rlhf-label-guideline");
const dialog = document.getElementById("guideline");
const button = document.getElementById("guideline-close");
let guideline = { version: 0, html: "" };

const nameOf = () => `${guideline.version} ${guideline.html.length}`;
const isRead = () => !guideline.version || localStorage.getItem(READ) === nameOf();

export const guidelineVersion = () => guideline.version;

export function openGuideline() {
  button.textContent = isRead() ? "Close" : "I have read it";
  dialog.returnValue = "";
  dialog.showModal(); // the text has the focus, so that the arrow keys scroll it
  dialog.scrollTop = 0;
}

export async function loadGuideline() {
  guideline = await call("/api/guideline");
  document.getElementById("guideline-text").innerHTML = guideline.html || "<p>There is no guideline.</p>";
  if (!isRead() && !dialog.open) openGuideline();
}

dialog.addEventListener("close", () => {
  if (dialog.returnValue === "read") localStorage.setItem(READ, nameOf());
});
