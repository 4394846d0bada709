// The answer in words and bars: for a recording, for the time of a long one, or for the last seconds while recording.

import { clock } from "./pictures.js";
import { sentence } from "./server.js";

const UNUSUAL = 0.05; // typicality below which a recording is called unlike its class
const MANY_CLASSES = 6; // with more, bars are thinner, so that the answer stays in sight
const PROBABILITIES = "Probability of each emotion";

const byId = (id) => document.getElementById(id);

export const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

/** Return an element that shows a share as per cent and keeps the exact number. */
function share(value) {
  const data = document.createElement("data");
  data.value = value;
  data.textContent = percent(value);
  return data;
}

/** Make one row per class, empty until there are probabilities. */
export function prepareBars(model) {
  byId("bars").classList.toggle("many", model.classes.length > MANY_CLASSES);
  byId("bars").tBodies[0].replaceChildren(...model.classes.map((name, i) => {
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

/** Fill the bars under the heading `summary`; `folded` hides them. */
function fillBars(shares, emotion, summary, folded = false) {
  byId("odds").hidden = !Object.keys(shares).length;
  byId("odds").open = !folded;
  byId("odds").firstElementChild.textContent = summary;
  for (const row of byId("bars").tBodies[0].rows) {
    const value = shares[row.dataset.name];
    row.classList.toggle("first", row.dataset.name === emotion);
    row.style.setProperty("--share", value ?? 0);
    row.cells[2].replaceChildren(...(value === undefined ? [] : [share(value)]));
  }
}

/** Show a line in place of an answer: what to do, or what is being done. */
export function showWaiting(line) {
  byId("emotion").replaceChildren();
  byId("words").textContent = line;
  byId("warnings").hidden = true;
  fillBars({}, null, PROBABILITIES);
}

/** Show the prediction for the last window of a recording that goes on. */
export function showWindow(prediction) {
  const [start, end] = [prediction.start_seconds, prediction.end_seconds].map(Math.round);
  const isSpeech = prediction.emotion !== null;
  headline(isSpeech ? prediction.emotion : "no speech", isSpeech ? prediction.confidence : null, "confidence");
  byId("words").textContent = `Between ${start} and ${end} s, while it is recorded.`;
  fillBars(isSpeech ? prediction.smoothed : {}, prediction.emotion, PROBABILITIES);
}

/** Show a result of /v1/predict. */
export function showAnswer(result) {
  const [start, end] = result.span;
  const isPart = end - start < result.seconds - 0.1;
  const length = isPart
    ? `Only ${clock(start)} to ${clock(end)} of ${clock(result.seconds)}`
    : `${result.seconds.toFixed(1)}\u00a0s long`;
  const spoken = result.speech_seconds ?? null;
  // The headline says already that there is no speech.
  showWarnings(result.warnings.filter((warning) => !warning.startsWith("no speech found")));
  if (spoken === 0) return showNoSpeech(length, result.probabilities, "What the model would say if it were speech");
  const [likeliest] = Object.entries(result.probabilities).reduce((best, entry) => (entry[1] > best[1] ? entry : best));
  headline(result.emotion ?? "not sure", result.confidence, "confidence");
  const sentences = [typicalityWords(result.typicality, likeliest), spokenWords(length, spoken, result.span)];
  byId("words").textContent = sentences.filter(Boolean).join(" ");
  fillBars(result.probabilities, result.emotion, PROBABILITIES);
}

/** Show shares of time per emotion, from `sharesOf`, of a recording too long for one answer; `isCut` at pauses. */
export function showShares({ seconds, spoken, shares }, isCut, warnings) {
  showWarnings(warnings.filter((warning) => !/emospec timeline|^no speech found/.test(warning)));
  if (!spoken) return showNoSpeech(`${clock(seconds, 0)} long`, {}, "");
  const [first, most] = Object.entries(shares).reduce((best, entry) => (entry[1] > best[1] ? entry : best));
  headline(first, most, "of the speech");
  const pauses = isCut ? "Pauses are left out." : "Short pauses count: “Cut at pauses” leaves them out.";
  byId("words").textContent = `${clock(seconds, 0)} long, ${clock(spoken, 0)} of it speech. ${pauses}`;
  fillBars(shares, first, "Share of the speech");
}

function showNoSpeech(length, probabilities, summary) {
  headline("No speech found");
  byId("words").textContent = `${length}. It may be silence, music or noise: emotions are predicted from speech alone.`;
  fillBars(probabilities, null, summary, true);
}

function showWarnings(warnings) {
  byId("warnings").hidden = !warnings.length;
  byId("warnings").replaceChildren(...warnings.map((warning) => {
    // The page has no command line: neither its timeline nor its --channel.
    const onPage = warning.replace(/; `emospec timeline` .*/, "; the timeline below covers all of it")
      .replace(/: choose one by --channel.*/, "");
    return Object.assign(document.createElement("li"), { textContent: sentence(onPage) });
  }));
}

/** Show the large words, with a share and its name; the dot has the colour of the emotion's bar. */
function headline(words, value = null, of = "") {
  const name = Object.assign(document.createElement("strong"), { textContent: words });
  const bar = [...byId("bars").tBodies[0].rows].find((row) => row.dataset.name === words);
  name.classList.toggle("dot", Boolean(bar));
  byId("emotion").style.setProperty("--class", bar?.style.getPropertyValue("--class") ?? "transparent");
  byId("emotion").replaceChildren(name, ...(value === null ? [] : [" ", share(value), ` ${of}`]));
}

function spokenWords(length, spoken, [start, end]) {
  const isPart = spoken !== null && spoken < 0.9 * (end - start);
  return isPart ? `${length}, ${spoken.toFixed(1)}\u00a0s of it speech.` : `${length}.`;
}

/** Return in words the share of the class's recordings that lie as far from its centre. */
function typicalityWords(typicality, emotion) {
  if (typicality === null) return "";
  const many = `${Math.round(100 * typicality)}\u00a0%`;
  const recordings = `the ${emotion} recordings that the model was tested on`;
  if (typicality >= UNUSUAL) return `More typical of ${emotion} than ${typicality === 1 ? "any" : many} of ${recordings}.`;
  return `Take it with care: this sounds unlike ${recordings}; ${typicality ? `only ${many} are` : "none is"} as unusual.`;
}
