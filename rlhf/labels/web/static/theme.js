// Light, dark, or as the system: set before the first paint, chosen in a list where there is one.
const THEME = "rlhf-label-theme";
const choose = (theme) => {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
};

choose(localStorage.getItem(THEME));
document.addEventListener("DOMContentLoaded", () => {
  const list = document.getElementById("theme");
  if (list === null) return;
  list.value = localStorage.getItem(THEME) ?? "";
  list.addEventListener("change", () => {
    localStorage.setItem(THEME, list.value);
    choose(list.value);
  });
});
