// Leads from an item to the one before and the next one of the list from which it was opened.
import { ofProject } from "./base.js";
import { byId, make } from "./elements.js";

const LIST = ofProject("rlhf-label-items"); // the list that this tab showed last: its address and those of its items

function rememberList(table) {
  const paths = [...table.querySelectorAll("th a")].map((link) => link.pathname);
  sessionStorage.setItem(LIST, JSON.stringify({ list: location.pathname + location.search, paths }));
}

function link(text, href, rel) {
  return href === undefined ? make("span", { className: "dim", textContent: text }) : make("a", { textContent: text, href, rel });
}

function showNeighbours(place) {
  const { list, paths } = JSON.parse(sessionStorage.getItem(LIST) ?? '{"paths": []}');
  const index = paths.indexOf(location.pathname);
  if (index < 0) return;
  place.replaceChildren(
    link("← Previous", paths[index - 1], "prev"), ` ${index + 1} of ${paths.length} `, link("Next →", paths[index + 1], "next"),
    make("a", { textContent: "Back to the list", href: list }),
  );
  place.hidden = false;
}

export function enableNeighbours() {
  if (byId("item-list")) rememberList(byId("item-list"));
  if (byId("neighbours")) showNeighbours(byId("neighbours"));
}
