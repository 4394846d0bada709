// The map of z, drawn by plotly: the cloud the model learned from, the centres of its classes, this recording.

import { classColor, pageColor } from "./palette.js";

let loading;

/** plotly, from the server, once it is needed: the page is up before its megabytes are read. */
function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("plotly.min.js", import.meta.url);
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { loading = undefined; reject(new Error("plotly cannot be loaded")); };
    document.head.append(script);
  });
  return loading;
}

/** Draw the model's plane into `place`, and a star at `point`, [x, y], where there is one. */
export async function drawMap(place, model, point) {
  const { cloud, labels, centers } = model.plane;
  const known = model.classes.map((name, i) => ({
    name, color: classColor(model.colors[i]), points: cloud.filter((_, k) => labels[k] === i), center: centers[i],
  }));
  const ink = pageColor("ink"), edge = { color: pageColor("panel"), width: 1.5 };
  const traces = known.map(({ name, color, points }) => ({
    ...scatter(points), marker: { color, size: 6, opacity: 0.35 }, hovertemplate: `${escaped(name)}<extra></extra>`,
  }));
  if (point) {
    traces.push({
      ...scatter([point]), hovertemplate: "this recording<extra></extra>",
      marker: { color: ink, size: 20, symbol: "star", line: edge },
    });
  }
  traces.push({
    ...scatter(centers), text: known.map(({ name }) => escaped(name)),
    hovertemplate: "centre of %{text}<extra></extra>",
    marker: { color: known.map(({ color }) => color), size: 10, symbol: "diamond", line: edge },
  });
  const annotations = known.map(({ name, center: [x, y] }) => ({
    x, y, text: `<b>${escaped(name)}</b>`, showarrow: false, yshift: 18, font: { color: ink },
  }));
  const axis = { visible: false, fixedrange: true };
  const layout = {
    margin: { l: 8, r: 8, t: 24, b: 8 }, showlegend: false, dragmode: false, hovermode: "closest",
    paper_bgcolor: "transparent", plot_bgcolor: "transparent",
    font: { family: getComputedStyle(place).fontFamily, size: 12, color: ink },
    annotations, xaxis: axis, yaxis: { ...axis, scaleanchor: "x" },
  };
  const where = point ? `; nearest to this one: ${nearest(known, point)}` : "";
  place.setAttribute("aria-label", `Map of the model's recordings${where}`);
  await (await plotly()).react(place, traces, layout, { displayModeBar: false, responsive: true });
}

function scatter(points) {
  const [x, y] = [0, 1].map((axis) => points.map((point) => point[axis]));
  return { type: "scatter", mode: "markers", x, y, cliponaxis: false };
}

const nearest = (known, [x, y]) =>
  known.map(({ name, center }) => [Math.hypot(center[0] - x, center[1] - y), name]).sort(([a], [b]) => a - b)[0][1];

/** plotly reads some HTML in its texts. */
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
