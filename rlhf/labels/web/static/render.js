// Renders the item. Only `html` from the server, which has sanitized it, is inserted as HTML.
import { make } from "./elements.js";
import { STRENGTH, digitOfScale, letter, scaleText } from "./form.js";
import { keyFor } from "./keys.js";
import { renderQuestions } from "./criteria.js";

export function renderText(content, raw) {
  if (content.blank) return make("p", { className: "text dim", textContent: "(empty)" });
  if (raw) return make("pre", { className: "text raw", dir: "auto", textContent: content.text });
  const node = make("div", { className: "text" });
  node.innerHTML = content.html;
  return node;
}

// A thought is folded: annotators judge the response.
function renderThought(content, raw) {
  return make("details", { className: "thought" }, [
    make("summary", { textContent: "Thought" }), renderText(content, raw),
  ]);
}

// `options`: [value, visible label, accessible name].
function radioGroup(name, legend, options, className) {
  const inputs = options.map(([value, label, title]) =>
    make("label", { title }, [
      make("input", { type: "radio", name, value: String(value), "aria-label": title }),
      make("span", { textContent: label }),
    ]),
  );
  return make("fieldset", { className }, [make("legend", { className: "hidden", textContent: legend }), ...inputs]);
}

function cardHeader(index, count, same) {
  const name = letter(index);
  const children = [make("h2", { className: "letter", textContent: name, title: count > 2 ? "Drag to a rank" : "" })];
  if (count > 2) {
    const ranks = Array.from({ length: count }, (_, i) => [i + 1, String(i + 1), `rank ${i + 1} of ${count}`]);
    children.push(radioGroup(`tier-${index}`, `Rank of response ${name}`, ranks, "ranks"));
  }
  if (same !== index) children.splice(1, 0, make("span", { className: "same", textContent: `the same text as ${letter(same)}` }));
  return make("header", {}, children);
}

function cardFooter(index, settings) {
  const name = letter(index);
  const flags = settings.flags.map((flag) =>
    make("label", {}, [
      make("input", { type: "checkbox", name: `flag-${index}`, value: flag, "aria-label": `${name}: ${flag}` }),
      make("span", { textContent: flag }),
    ]),
  );
  const children = [make("fieldset", { className: "flags" }, [
    make("legend", { className: "hidden", textContent: `Flags of response ${name}` }), ...flags,
  ])];
  if (settings.overall) {
    const ratings = [1, 2, 3, 4, 5, 6, 7].map((rating) => [rating, String(rating), `${name}: ${rating} of 7`]);
    children.push(make("div", { className: "overall" }, [
      make("span", { textContent: "overall", "aria-hidden": "true" }),
      radioGroup(`overall-${index}`, `Response ${name} overall, 1 poor to 7 excellent`, ratings, "ratings"),
    ]));
  }
  return make("footer", {}, children);
}

function card(response, index, item, settings, raw) {
  const article = make("article", { className: "card", tabIndex: -1, "aria-label": `Response ${letter(index)}` }, [
    cardHeader(index, item.answers.length, item.same[index]),
    make("div", { className: "pane" }, [...(response.thought ? [renderThought(response.thought, raw)] : []), renderText(response, raw)]),
    cardFooter(index, settings),
    ...renderQuestions(settings.criteria, index),
  ]);
  article.dataset.index = index;
  return article;
}

export function renderResponses(parent, item, settings, raw) {
  const count = item.answers.length;
  parent.replaceChildren(...item.answers.map((response, i) => card(response, i, item, settings, raw)));
  parent.className = `k${count}`;
}

export function renderControls(parent, count) {
  parent.replaceChildren(count === 2 ? comparisonScale() : make("div", { className: "ranking" }, [rankSlots(count), badBox("all bad")]));
}

function badBox(text) {
  const key = make("kbd", { textContent: keyFor("bad") });
  key.dataset.action = "bad";
  return make("label", { className: "bad" }, [
    make("input", { type: "checkbox", id: "both-bad" }),
    make("span", {}, [`${text} `, key]),
  ]);
}

const strengthOf = (scale) => (scale === 0 ? "equal" : STRENGTH[Math.abs(scale)]);

function comparisonScale() {
  const steps = [-4, -3, -2, -1, 1, 2, 3, 4].map((scale) => [scale, String(digitOfScale(scale)), scaleText(scale)]);
  steps.splice(4, 0, [0, "=", scaleText(0)]);
  const group = radioGroup("scale", "Which response is better, and by how much", steps, "steps");
  for (const label of group.querySelectorAll("label")) {
    const word = strengthOf(Number(label.querySelector("input").value));
    label.append(make("small", { textContent: word, "aria-hidden": "true" }));
  }
  return make("div", { className: "scale" }, [
    make("span", { className: "end first", textContent: "A better", "aria-hidden": "true" }),
    group,
    make("span", { className: "end second", textContent: "B better", "aria-hidden": "true" }),
    badBox("both bad"),
  ]);
}

function rankSlots(count) {
  const slot = (tier, label) => {
    const node = make("div", { className: "slot" }, [make("span", { className: "slot-name", textContent: label })]);
    node.dataset.tier = tier;
    return node;
  };
  const ranks = Array.from({ length: count }, (_, i) => {
    const name = i === 0 ? "1 best" : i === count - 1 ? `${count} worst` : String(i + 1);
    return slot(i + 1, name);
  });
  return make("div", { className: count > 5 ? "slots many" : "slots", "aria-hidden": "true" }, [slot("", "unranked"), ...ranks]);
}

export function showForm(form, current) {
  document.querySelectorAll(".card").forEach((node, index) => {
    node.classList.toggle("current", index === current && form.tiers.length > 2);
    node.classList.toggle("ranked", form.tiers[index] !== null);
    for (const input of node.querySelectorAll(".ranks input")) input.checked = Number(input.value) === form.tiers[index];
    for (const input of node.querySelectorAll(".flags input")) input.checked = form.flags[index].includes(input.value);
    for (const input of node.querySelectorAll(".overall input")) input.checked = Number(input.value) === form.overall[index];
  });
  for (const input of document.querySelectorAll(".steps input")) {
    input.checked = form.scale !== null && Number(input.value) === form.scale;
  }
  const bad = document.getElementById("both-bad");
  if (bad) bad.checked = form.both_bad;
  for (const slot of document.querySelectorAll(".slot")) {
    const tier = slot.dataset.tier === "" ? null : Number(slot.dataset.tier);
    const chips = form.tiers.flatMap((other, index) => {
      if (other !== tier) return [];
      const chip = make("span", { className: "chip", textContent: letter(index) });
      chip.dataset.index = index;
      return [chip];
    });
    slot.replaceChildren(slot.firstElementChild, ...chips);
  }
}
