// Colours: the page's, as style.css has them, and the classes', as the server gives them for a white page.

const DARK = matchMedia("(prefers-color-scheme: dark)");
const FORCED = matchMedia("(forced-colors: active)");
const LIFT = 0.3; // of the way to white, to be seen on a dark page

export const onThemeChange = (act) => [DARK, FORCED].forEach((one) => one.addEventListener("change", act));

/** A colour of style.css as rgb(): with forced colours it is the system's, whose names a canvas may not know. */
export function pageColor(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** "#rrggbb" of a class -> the colour to draw it in, here and now. */
export function classColor(hex) {
  if (!DARK.matches) return hex;
  const parts = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgb(${parts.map((part) => Math.round(part + LIFT * (255 - part))).join(" ")})`;
}
