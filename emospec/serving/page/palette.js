// Colours: those of the page, from style.css, and those of the classes, which the server gives for a white page.

const DARK = matchMedia("(prefers-color-scheme: dark)");
const FORCED = matchMedia("(forced-colors: active)");
const LIFT = 0.3; // of the way to white, to be seen on a dark page

export const onThemeChange = (act) => [DARK, FORCED].forEach((query) => query.addEventListener("change", act));

/** Return a colour of style.css as rgb(). Forced colours are the system's, whose names a canvas may not know. */
export function pageColor(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** Return the colour to draw a class in, from its "#rrggbb": lighter on a dark page. */
export function classColor(hex) {
  if (!DARK.matches) return hex;
  const parts = [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
  return `rgb(${parts.map((part) => Math.round(part + LIFT * (255 - part))).join(" ")})`;
}
