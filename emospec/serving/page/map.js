// The map as SVG: recordings that the model learned from, the centres of its emotions, and this recording.

import { classColor } from "./palette.js";

const MARGIN = 26; // pixels around the dots, for names
const NAME_HEIGHT = 16;

/** Draw the model's plane into `place`, and a star at `point`, [x, y], unless it is null. */
export function drawMap(place, model, point) {
  const { cloud, labels, centers } = model.plane;
  const [width, height] = [place.clientWidth || 300, place.clientHeight || 300];
  const to = fitted([...cloud, ...centers, ...(point ? [point] : [])], width, height);
  const classes = model.classes.map((name, i) => ({
    name, color: classColor(model.colors[i]), points: cloud.filter((_, k) => labels[k] === i), center: centers[i],
  }));
  const clouds = classes.map(({ name, color, points }) => element("g", { fill: color, "fill-opacity": 0.38 },
    titled(name), ...points.map((dot) => element("circle", { cx: to(dot)[0], cy: to(dot)[1], r: 3 }))));
  const star = point ? [element("path", { d: starAt(to(point)), class: "star" }, titled("this recording"))] : [];
  const middles = classes.map(({ name, color, center }) =>
    element("path", { d: diamondAt(to(center)), fill: color, class: "middle" }, titled(`middle of ${name}`)));
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    ...clouds, ...middles, ...star, ...namesOf(classes.map(({ name, center }) => [name, to(center)]), width, point && to(point)));
  place.replaceChildren(svg);
  place.setAttribute("aria-label", wordsOf(classes, point));
}

/** Return a function from a point to pixels, with the same scale on both axes and all `points` within the margin. */
function fitted(points, width, height) {
  const [[left, right], [low, high]] = [0, 1].map((axis) => {
    const values = points.map((point) => point[axis]);
    return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  });
  const scale = Math.min((width - 2 * MARGIN) / (right - left || 1), (height - 2 * MARGIN) / (high - low || 1));
  const [midX, midY] = [(left + right) / 2, (low + high) / 2];
  const round = (value) => Math.round(10 * value) / 10;
  return ([x, y]) => [round(width / 2 + scale * (x - midX)), round(height / 2 - scale * (y - midY))];
}

/** Return the names, each above its diamond, or near it where it hides neither another name nor the star. */
function namesOf(places, width, star) {
  const taken = star ? [[star[0], star[1] + 4, 12]] : [];
  return places.map(([name, [x, y]]) => {
    const half = 4.2 * name.length, middle = Math.max(half, Math.min(width - half, x));
    const isFree = (top) => taken.every(([a, b, h]) => Math.abs(a - middle) > half + h || Math.abs(b - top) > NAME_HEIGHT);
    const top = [-14, 22, -30, 38].map((shift) => y + shift).find(isFree) ?? y - 14;
    taken.push([middle, top, half]);
    const label = element("text", { x: middle, y: top });
    label.textContent = name;
    return label;
  });
}

const diamondAt = ([x, y]) => `M${x} ${y - 7}l7 7l-7 7l-7-7z`;

function starAt([x, y]) {
  const corners = Array.from({ length: 10 }, (_, k) => {
    const radius = k % 2 ? 5 : 12, angle = (Math.PI * k) / 5;
    return `${(x + radius * Math.sin(angle)).toFixed(1)} ${(y - radius * Math.cos(angle)).toFixed(1)}`;
  });
  return `M${corners.join("L")}z`;
}

function wordsOf(classes, point) {
  const about = `Map of ${classes.map(({ name, points }) => `${points.length} ${name}`).join(", ")} recordings`;
  if (!point) return about;
  const near = classes.map(({ name, center: [x, y] }) => [Math.hypot(x - point[0], y - point[1]), name]);
  const [first, second] = near.sort(([a], [b]) => a - b).map(([, name]) => name);
  return `${about}. This recording lies nearest to the middle of ${first}${second ? `, then ${second}` : ""}.`;
}

function element(tag, attributes, ...children) {
  const created = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) created.setAttribute(name, value);
  created.append(...children);
  return created;
}

/** Return a title, which a browser shows where the pointer rests. */
function titled(text) {
  const title = element("title", {});
  title.textContent = text;
  return title;
}
