// The answer in words and bars: of a recording, of the time of a long one, or of the last seconds while one is recorded.

import { clock } from "./pictures.js";
import { sentence } from "./server.js";

const UNLIKE = 0.05; // typicality below which a recording is said to be unlike its class
const MANY = 6; // classes, from which on bars are thinner: the answer stays in sight
const ODDS = "Probability of each emotion";

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
  at("bars").classList.toggle("many", model.classes.length > MANY);
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

/** Fill the bars; `summary` says what they are, and `folded` puts them away. */
function fillBars(shares, emotion, summary, folded = false) {
  at("odds").hidden = !Object.keys(shares).length;
  at("odds").open = !folded;
  at("odds").firstElementChild.textContent = summary;
  for (const row of at("bars").tBodies[0].rows) {
    const value = shares[row.dataset.name];
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
  fillBars({}, null, ODDS);
}

/** The answer for the last seconds of a recording that goes on. */
export function showMoment(moment) {
  const [start, end] = [moment.start_seconds, moment.end_seconds].map(Math.round);
  const isSpeech = moment.emotion !== null;
  headline(isSpeech ? moment.emotion : "no speech", isSpeech ? moment.confidence : null, "confidence");
  at("words").textContent = `Between ${start} and ${end} s, while it is recorded.`;
  fillBars(isSpeech ? moment.smoothed : {}, moment.emotion, ODDS);
}

/** A result of /v1/predict. */
export function showAnswer(result) {
  const [start, end] = result.span;
  const isPart = end - start < result.seconds - 0.1;
  const length = isPart
    ? `Only ${clock(start)} to ${clock(end)} of ${clock(result.seconds)}`
    : `${result.seconds.toFixed(1)}\u00a0s long`;
  const spoken = result.speech_seconds ?? null;
  showWarnings(result.warnings.filter((warning) => !warning.startsWith("no speech found"))); // the headline says it
  if (spoken === 0) return showNoSpeech(length, result.probabilities, "What the model would say if it were speech");
  const [likeliest] = Object.entries(result.probabilities).reduce((best, one) => (one[1] > best[1] ? one : best));
  headline(result.emotion ?? "not sure", result.confidence, "confidence");
  const sentences = [typicalityWords(result.typicality, likeliest), spokenWords(length, spoken, result.span)];
  at("words").textContent = sentences.filter(Boolean).join(" ");
  fillBars(result.probabilities, result.emotion, ODDS);
}

/** Shares of time per emotion, as `sharesOf` gives them, of a recording too long for one answer; `isCut` at pauses. */
export function showShares({ seconds, spoken, shares }, isCut, warnings) {
  showWarnings(warnings.filter((warning) => !/emospec timeline|^no speech found/.test(warning)));
  if (!spoken) return showNoSpeech(`${clock(seconds, 0)} long`, {}, "");
  const [first, most] = Object.entries(shares).reduce((best, one) => (one[1] > best[1] ? one : best));
  headline(first, most, "of the speech");
  const pauses = isCut ? "Pauses are left out." : "Short pauses count: “Cut at pauses” leaves them out.";
  at("words").textContent = `${clock(seconds, 0)} long, ${clock(spoken, 0)} of it speech. ${pauses}`;
  fillBars(shares, first, "Share of the speech");
}

function showNoSpeech(length, probabilities, summary) {
  headline("No speech found");
  at("words").textContent = `${length}. It may be silence, music or noise: emotions are predicted from speech alone.`;
  fillBars(probabilities, null, summary, true);
}

function showWarnings(warnings) {
  at("warnings").hidden = !warnings.length;
  at("warnings").replaceChildren(...warnings.map((warning) => {
    const onPage = warning.replace(/; `emospec timeline` .*/, "; the timeline below covers all of it")
      .replace(/: choose one by --channel.*/, ""); // which the page has not
    return Object.assign(document.createElement("li"), { textContent: sentence(onPage) });
  }));
}

/** The large words, with a share and what it is of; the dot has the colour of the emotion's bar. */
function headline(words, value = null, of = "") {
  const name = Object.assign(document.createElement("strong"), { textContent: words });
  const row = [...at("bars").tBodies[0].rows].find((one) => one.dataset.name === words);
  name.classList.toggle("dot", Boolean(row));
  at("emotion").style.setProperty("--class", row?.style.getPropertyValue("--class") ?? "transparent");
  at("emotion").replaceChildren(name, ...(value === null ? [] : [" ", share(value), ` ${of}`]));
}

function spokenWords(length, spoken, [start, end]) {
  const isPart = spoken !== null && spoken < 0.9 * (end - start);
  return isPart ? `${length}, ${spoken.toFixed(1)}\u00a0s of it speech.` : `${length}.`;
}

/** In plain words, the share of the class's recordings that lie as far from its centre. */
function typicalityWords(typicality, emotion) {
  if (typicality === null) return "";
  const many = `${Math.round(100 * typicality)}\u00a0%`;
  const recordings = `the ${emotion} recordings that the model was tested on`;
  if (typicality >= UNLIKE) return `More typical of ${emotion} than ${typicality === 1 ? "any" : many} of ${recordings}.`;
  return `Take it with care: this sounds unlike ${recordings}; ${typicality ? `only ${many} are` : "none is"} as unusual.`;
}
