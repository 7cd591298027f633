// The fields of the page that outlive a reload: settings and the draft in this tab, name and theme in this browser.
import { $ } from "/static/render.js";

const IN_TAB = ["first", "second", "blind", "temperature", "top-p", "max-tokens", "seed", "system", "text"];
const IN_BROWSER = ["name"];
const PREFIX = "rlhf-field-";
const dark = matchMedia("(prefers-color-scheme: dark)");

const storageOf = (id) => (IN_BROWSER.includes(id) ? localStorage : sessionStorage);
const property = (field) => (field.type === "checkbox" ? "checked" : "value");

export function remember(id) {
  storageOf(id).setItem(PREFIX + id, JSON.stringify($(id)[property($(id))]));
}

export function setField(id, value) {
  $(id)[property($(id))] = value;
  remember(id);
}

// Restore the fields, and store them whenever they change. A model that is no longer served is not restored.
export function rememberFields() {
  for (const id of [...IN_TAB, ...IN_BROWSER]) {
    const field = $(id);
    const stored = JSON.parse(storageOf(id).getItem(PREFIX + id) ?? "null");
    const exists = field.tagName !== "SELECT" || [...field.options].some(({ value }) => value === stored);
    if (stored !== null && exists) field[property(field)] = stored;
    field.addEventListener("input", () => remember(id));
    field.addEventListener("change", () => remember(id));
  }
  for (const id of ["temperature", "top-p"]) {
    const showValue = () => { $(`${id}-value`).textContent = Number($(id).value).toFixed(2); };
    $(id).addEventListener("input", showValue);
    showValue();
  }
}

export const sampling = () => ({ temperature: Number($("temperature").value), top_p: Number($("top-p").value) });

export const maxTokens = () => Number($("max-tokens").value) || undefined;

export const newSeed = () => ($("seed").value === "" ? Math.floor(Math.random() * 2 ** 31) : Number($("seed").value));

export const system = () => $("system").value.trim();

export const annotator = () => $("name").value.trim();

const theme = () => localStorage.getItem("rlhf-theme") ?? "system";

function showTheme() {
  const name = theme();
  const isDark = name === "system" ? dark.matches : name === "dark";
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  $("theme").ariaLabel = $("theme").title = `Theme: ${name}`;
  $("theme").textContent = { system: "◐", light: "☀", dark: "☾" }[name];
}

// From the system's theme to the other one, to its opposite, and back.
function nextTheme() {
  const other = dark.matches ? ["light", "dark"] : ["dark", "light"];
  const order = ["system", ...other];
  localStorage.setItem("rlhf-theme", order[(order.indexOf(theme()) + 1) % order.length]);
  showTheme();
}

export function enableTheme() {
  dark.addEventListener("change", showTheme);
  $("theme").onclick = nextTheme;
  showTheme();
}
