// The answer in words and bars: what the model says of a recording, or, while one is recorded, of its last seconds.

import { sentence } from "./server.js";

const UNLIKE = 0.05; // typicality below which a recording is said to be unlike its class

const at = (id) => document.getElementById(id);

export const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

/** An element that shows a share as per cent and keeps the exact number. */
function share(value) {
  const made = document.createElement("data");
  made.value = value;
  made.textContent = percent(value);
  return made;
}

/** One row per class, empty until there are probabilities. */
export function prepareBars(model) {
  at("bars").tBodies[0].replaceChildren(...model.classes.map((name, i) => {
    const row = document.createElement("tr");
    row.dataset.name = name;
    row.style.setProperty("--class", model.colors[i]);
    const head = Object.assign(document.createElement("th"), { scope: "row", textContent: name });
    const bar = document.createElement("td");
    bar.append(document.createElement("span"));
    row.append(head, bar, document.createElement("td"));
    return row;
  }));
}

function fillBars(probabilities, emotion) {
  for (const row of at("bars").tBodies[0].rows) {
    const value = probabilities[row.dataset.name];
    row.classList.toggle("first", row.dataset.name === emotion);
    row.style.setProperty("--share", value ?? 0);
    row.cells[2].replaceChildren(...(value === undefined ? [] : [share(value)]));
  }
}

/** Before there is an answer: a line of what to do or what is being done. */
export function showWaiting(line) {
  at("emotion").replaceChildren();
  at("words").textContent = line;
  at("warnings").hidden = true;
  fillBars({}, null);
}

/** What is heard in the last seconds of a recording that goes on. */
export function showMoment(moment) {
  headline(moment.emotion, moment.confidence);
  const [start, end] = [moment.start_seconds, moment.end_seconds].map(Math.round);
  at("words").textContent = `Between ${start} and ${end} s, while it is recorded.`;
  fillBars(moment.smoothed, moment.emotion);
}

/** What a result of /v1/predict says. */
export function showAnswer(result) {
  const [likeliest] = Object.entries(result.probabilities).reduce((best, one) => (one[1] > best[1] ? one : best));
  headline(result.emotion, result.confidence);
  at("words").textContent = `${typicalityWords(result.typicality, likeliest)} ${result.seconds.toFixed(1)} s long.`;
  at("warnings").hidden = !result.warnings.length;
  at("warnings").replaceChildren(...result.warnings.map((warning) => {
    const onPage = warning.replace(/; `emospec timeline` .*/, "; the timeline below judges all of it");
    return Object.assign(document.createElement("li"), { textContent: sentence(onPage) });
  }));
  fillBars(result.probabilities, result.emotion);
}

function headline(emotion, confidence) {
  const name = Object.assign(document.createElement("strong"), { textContent: emotion ?? "not sure" });
  at("emotion").replaceChildren(name, " ", share(confidence), " confidence");
}

function typicalityWords(typicality, emotion) {
  if (typicality === null) return "";
  const many = `${Math.round(100 * typicality)}\u00a0%`;
  const recordings = `the ${emotion} recordings that the model was checked on`;
  if (typicality >= UNLIKE) return `At least as typical as ${typicality === 1 ? "all" : many} of ${recordings}.`;
  return `Unlike ${recordings}: ${typicality ? `${many} of them lie` : "none of them lies"} as far from their centre.`;
}
