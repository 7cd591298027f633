// Draws the item. Only `html` of the server, which it has sanitized, is ever put in as HTML.
import { STRENGTH, digitOfScale, letter } from "./state.js";

export function make(tag, properties = {}, children = []) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node && name !== "role") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function text(content, raw) {
  if (raw) return make("pre", { className: "text raw", textContent: content.text });
  const node = make("div", { className: "text" });
  node.innerHTML = content.html;
  return node;
}

// A thought is folded: people judge the response.
function thought(content, raw) {
  return make("details", { className: "thought" }, [
    make("summary", { textContent: "Thought" }), text(content, raw),
  ]);
}

export function drawTalk(place, turns, raw) {
  place.replaceChildren(
    ...turns.map((turn, index) => {
      const last = index === turns.length - 1 ? " last" : "";
      const who = { user: last ? "Prompt" : "User", assistant: "Assistant", system: "System" }[turn.role] ?? turn.role;
      return make("div", { className: `turn ${turn.role}${last}` }, [
        make("h2", { className: "who", textContent: who }),
        text(turn, raw),
      ]);
    }),
  );
}

function choices(name, legend, options, className) {
  const inputs = options.map(([value, label, spoken]) =>
    make("label", { title: spoken }, [
      make("input", { type: "radio", name, value: String(value), "aria-label": spoken }),
      make("span", { textContent: label }),
    ]),
  );
  return make("fieldset", { className }, [make("legend", { className: "hidden", textContent: legend }), ...inputs]);
}

function card(answer, index, count, settings, raw) {
  const name = letter(index);
  const head = [make("h2", { className: "letter", textContent: name, title: "Drag to a place" })];
  if (count > 2) {
    const places = Array.from({ length: count }, (_, i) => [
      i + 1, String(i + 1), `place ${i + 1} of ${count}`,
    ]);
    head.push(choices(`tier-${index}`, `Place of answer ${name}`, places, "places"));
  }
  const flags = settings.flags.map((flag) =>
    make("label", {}, [
      make("input", { type: "checkbox", name: `flag-${index}`, value: flag, "aria-label": `${name}: ${flag}` }),
      make("span", { textContent: flag }),
    ]),
  );
  const foot = [make("fieldset", { className: "flags" }, [
    make("legend", { className: "hidden", textContent: `Flags of answer ${name}` }), ...flags,
  ])];
  if (settings.overall) {
    const marks = [1, 2, 3, 4, 5, 6, 7].map((mark) => [mark, String(mark), `${name}: ${mark} of 7`]);
    foot.push(make("div", { className: "overall" }, [
      make("span", { textContent: "overall", "aria-hidden": "true" }),
      choices(`overall-${index}`, `Answer ${name} overall, 1 poor to 7 excellent`, marks, "marks"),
    ]));
  }
  const article = make("article", { className: "card", tabIndex: -1, "aria-label": `Answer ${name}` }, [
    make("header", {}, head),
    make("div", {}, [...(answer.thought ? [thought(answer.thought, raw)] : []), text(answer, raw)]),
    make("footer", {}, foot),
  ]);
  article.dataset.index = index;
  return article;
}

export function drawAnswers(place, item, settings, raw) {
  const count = item.answers.length;
  place.replaceChildren(...item.answers.map((answer, i) => card(answer, i, count, settings, raw)));
  place.className = `k${count}`;
}

export function drawBoard(place, count) {
  if (count === 2) {
    const steps = [-4, -3, -2, -1, 1, 2, 3, 4].map((scale) => [
      scale, String(digitOfScale(scale)), `${scale < 0 ? "A" : "B"} is ${STRENGTH[Math.abs(scale)]} better`,
    ]);
    steps.splice(4, 0, [0, "=", "equally good"]);
    const bad = make("label", { className: "bad" }, [
      make("input", { type: "checkbox", id: "both-bad" }),
      make("span", {}, ["both bad ", make("kbd", { textContent: "b" })]),
    ]);
    place.replaceChildren(make("div", { className: "scale" }, [
      make("span", { className: "end", textContent: "A better", "aria-hidden": "true" }),
      choices("scale", "Which is better, and how much", steps, "steps"),
      make("span", { className: "end", textContent: "B better", "aria-hidden": "true" }),
      bad,
    ]));
    return;
  }
  const slot = (tier, label) => {
    const node = make("div", { className: "slot" }, [make("span", { className: "slot-name", textContent: label })]);
    node.dataset.tier = tier;
    return node;
  };
  const places = Array.from({ length: count }, (_, i) => {
    const name = i === 0 ? "1 best" : i === count - 1 ? `${count} worst` : String(i + 1);
    return slot(i + 1, name);
  });
  place.replaceChildren(make("div", { className: count > 5 ? "slots many" : "slots", "aria-hidden": "true" }, [slot("", "no place"), ...places]));
}

export function showForm(form, current) {
  const cards = [...document.querySelectorAll(".card")];
  cards.forEach((node, index) => {
    node.classList.toggle("current", index === current && form.tiers.length > 2);
    node.classList.toggle("placed", form.tiers[index] !== null);
    for (const input of node.querySelectorAll(".places input")) input.checked = Number(input.value) === form.tiers[index];
    for (const input of node.querySelectorAll(".flags input")) input.checked = form.flags[index].includes(input.value);
    for (const input of node.querySelectorAll(".marks input")) input.checked = Number(input.value) === form.overall[index];
  });
  for (const input of document.querySelectorAll(".steps input")) {
    input.checked = form.scale !== null && Number(input.value) === form.scale;
  }
  const bad = document.getElementById("both-bad");
  if (bad) bad.checked = form.both_bad;
  for (const slot of document.querySelectorAll(".slot")) {
    const tier = slot.dataset.tier === "" ? null : Number(slot.dataset.tier);
    const chips = form.tiers.flatMap((own, index) => {
      if (own !== tier) return [];
      const chip = make("span", { className: "chip", textContent: letter(index) });
      chip.dataset.index = index;
      return [chip];
    });
    slot.replaceChildren(slot.firstElementChild, ...chips);
  }
}
