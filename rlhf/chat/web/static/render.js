// Elements. Text is set as text; only `html` that the server has sanitized is set as HTML.
export const $ = (id) => document.getElementById(id);

export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "data") Object.assign(element.dataset, value);
    else if (key.startsWith("aria")) element.setAttribute(key.replace("aria", "aria-").toLowerCase(), value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

export function button(text, onclick, properties = {}) {
  return el("button", { type: "button", textContent: text, onclick, ...properties });
}

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export const visible = (text) => text.replaceAll("\n", "⏎") || "∅";

export const token = (text) => el("code", { className: "token", textContent: visible(text) });

export function table(heads, rows) {
  const head = el("tr", {}, ...heads.map((text) => el("th", { textContent: text })));
  return el("div", { className: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

export const cell = (content) => el("td", {}, content);

// `after` fills the bar; a line marks `before`, if it is defined.
export function bar(before, after) {
  const [filled, line] = [el("i", { className: "after" }), el("i", { className: "before" })];
  filled.style.width = `${100 * after}%`;
  line.style.width = `${100 * before}%`;
  return el("div", { className: "bar" }, filled, ...(before === undefined ? [] : [line]));
}

// A line chart over the tokens of a response, with an axis at 0.
export function curve(values, names) {
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const x = (index) => 20 + (360 * index) / Math.max(1, values.length - 1);
  const y = (value) => 130 - (110 * (value - low)) / (high - low || 1);
  const dots = values.map((value, index) =>
    svg("circle", { class: "step", cx: x(index), cy: y(value), r: 2.4 }, svg("title", {}, `${names[index]} ${value.toFixed(3)}`)));
  return svg(
    "svg", { viewBox: "0 0 400 150", role: "img", "aria-label": "reward token by token" },
    svg("line", { class: "axis", x1: 20, x2: 380, y1: y(0), y2: y(0) }),
    svg("polyline", { class: "line", points: values.map((value, index) => `${x(index)},${y(value)}`).join(" ") }),
    ...dots, svg("text", { x: 22, y: 12 }, high.toFixed(2)), svg("text", { x: 22, y: 146 }, low.toFixed(2)),
  );
}

// Points on a map, and the path of a response over them with numbered tokens.
export function embeddingMap(points, path) {
  const all = [...points, ...path];
  const [xs, ys] = [all.map((p) => p.x), all.map((p) => p.y)];
  const scale = (value, values) => 15 + (370 * (value - Math.min(...values))) / (Math.max(...values) - Math.min(...values) || 1);
  const position = (p) => [scale(p.x, xs), 400 - scale(p.y, ys)];
  const dot = (p, kind, r, name) => {
    const [cx, cy] = position(p);
    return svg("circle", { class: kind, cx, cy, r }, svg("title", {}, name));
  };
  const labelled = points.length <= 40 ? points : [];
  const steps = new Map(); // a repeated token gets one label with all its numbers
  path.slice(0, 40).forEach((p, index) => steps.set(p.text, [...(steps.get(p.text) ?? []), index + 1]));
  const label = (p, text) => svg("text", { x: position(p)[0] + 4, y: position(p)[1] - 3 }, text);
  return svg(
    "svg", { viewBox: "0 0 400 400", role: "img", "aria-label": "embeddings on two principal axes" },
    ...points.map((p) => dot(p, "dot", 2.2, visible(p.text))),
    svg("polyline", { class: "path", points: path.map((p) => position(p).join(",")).join(" ") }),
    ...path.map((p, index) => dot(p, "step", 3, `${index + 1}: ${visible(p.text)}`)),
    ...labelled.map((p) => label(p, p.text.slice(0, 24))),
    ...[...steps].map(([text, numbers]) => label(path[numbers[0] - 1], `${numbers.join(", ")} ${visible(text)}`)),
  );
}
