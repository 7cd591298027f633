// Copies text. On a page without HTTPS browsers have no clipboard API, and the selection is copied.
export async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const box = document.createElement("textarea");
  box.value = text;
  box.className = "hidden";
  document.body.append(box);
  box.select();
  document.execCommand("copy");
  box.remove();
}
