// Elements. Text is set as text; only `html` that the server has sanitized is set as HTML.
export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "data") Object.assign(made.dataset, value);
    else if (key.startsWith("aria")) made.setAttribute(key.replace("aria", "aria-").toLowerCase(), value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

export function button(text, onclick, properties = {}) {
  return el("button", { type: "button", textContent: text, onclick, ...properties });
}

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const visible = (text) => text.replaceAll("\n", "⏎") || "∅";

export const token = (text) => el("code", { className: "token", textContent: visible(text) });

export function table(heads, rows) {
  const head = el("tr", {}, ...heads.map((text) => el("th", { textContent: text })));
  return el("div", { className: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

export const cell = (content) => el("td", {}, content);

// `after` fills the bar; a line stands where `before` was, if there was one.
export function bar(before, after) {
  const [filled, line] = [el("i", { className: "after" }), el("i", { className: "before" })];
  filled.style.width = `${100 * after}%`;
  line.style.width = `${100 * before}%`;
  return el("div", { className: "bar" }, filled, ...(before === undefined ? [] : [line]));
}

// A line over the tokens of an answer, 0 marked.
export function curve(values, names) {
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const x = (at) => 20 + (360 * at) / Math.max(1, values.length - 1);
  const y = (value) => 130 - (110 * (value - low)) / (high - low || 1);
  const dots = values.map((value, at) =>
    svg("circle", { class: "step", cx: x(at), cy: y(value), r: 2.4 }, svg("title", {}, `${names[at]} ${value.toFixed(3)}`)));
  return svg(
    "svg", { viewBox: "0 0 400 150", role: "img", "aria-label": "reward token by token" },
    svg("line", { class: "axis", x1: 20, x2: 380, y1: y(0), y2: y(0) }),
    svg("polyline", { class: "line", points: values.map((value, at) => `${x(at)},${y(value)}`).join(" ") }),
    ...dots, svg("text", { x: 22, y: 12 }, high.toFixed(2)), svg("text", { x: 22, y: 146 }, low.toFixed(2)),
  );
}

// Points of a plane, and the way of an answer over them, its tokens numbered.
export function plane(points, path) {
  const all = [...points, ...path];
  const [xs, ys] = [all.map((p) => p.x), all.map((p) => p.y)];
  const scale = (value, values) => 15 + (370 * (value - Math.min(...values))) / (Math.max(...values) - Math.min(...values) || 1);
  const place = (p) => [scale(p.x, xs), 400 - scale(p.y, ys)];
  const dot = (p, kind, r, name) => {
    const [cx, cy] = place(p);
    return svg("circle", { class: kind, cx, cy, r }, svg("title", {}, name));
  };
  const labelled = points.length <= 40 ? points : [];
  const steps = new Map(); // a token that comes twice stands once, with both its numbers
  path.slice(0, 40).forEach((p, at) => steps.set(p.text, [...(steps.get(p.text) ?? []), at + 1]));
  const label = (p, text) => svg("text", { x: place(p)[0] + 4, y: place(p)[1] - 3 }, text);
  return svg(
    "svg", { viewBox: "0 0 400 400", role: "img", "aria-label": "embeddings on two principal axes" },
    ...points.map((p) => dot(p, "dot", 2.2, visible(p.text))),
    svg("polyline", { class: "way", points: path.map((p) => place(p).join(",")).join(" ") }),
    ...path.map((p, at) => dot(p, "step", 3, `${at + 1}: ${visible(p.text)}`)),
    ...labelled.map((p) => label(p, p.text.slice(0, 24))),
    ...[...steps].map(([text, at]) => label(path[at[0] - 1], `${at.join(", ")} ${visible(text)}`)),
  );
}
