// The page: it sends a recording to the server, and shows the answer in words, bars, map and track.

import { percent, prepareBars, showAnswer, showWindow, showShares, showWaiting } from "./answer.js";
import { cardOf } from "./card.js";
import { drawMap } from "./map.js";
import { record } from "./microphone.js";
import { onThemeChange } from "./palette.js";
import { clock } from "./pictures.js";
import { Progress } from "./progress.js";
import { ask, askJson, openStream, Trouble, useToken } from "./server.js";
import { sharesOf } from "./shares.js";
import { lengthOf, Track } from "./track.js";

const byId = (id) => document.getElementById(id);
const START = "Record, choose a file or take an example.";
const NO_ANSWER = "No answer.";
const LONGEST_SECONDS = 14; // of a recording that has one answer, unless the model has another limit
const track = new Track(), progress = new Progress();

let model = null, limits = null;
let microphone = null; // while recording
let job = new AbortController(); // the recording that is shown
let file = null, point = null;
let isSavable = false; // recorded by this page or an example, so that there is no file of it yet
let isCut = false; // whether the timeline that is shown is cut at pauses
let prediction = null, timeline = null; // the answers of the server so far
let retry = null; // the action of "Try again"

async function start() {
  const answer = await askJson("v1/models");
  [model, limits] = [answer.models.find((described) => described.default), answer.limits];
  byId("model").textContent = model.name;
  byId("limits").textContent = `; up to ${Math.floor(limits.bytes / 1e6)} MB and ${Math.floor(limits.seconds / 60)} min`;
  for (const id of ["record", "file", "card-open"]) byId(id).disabled = false;
  prepareBars(model);
  showWaiting(START);
  showMap();
  await showExamples();
}

async function showExamples() {
  const examples = await askJson("examples");
  byId("examples").hidden = !examples.length;
  byId("examples").querySelectorAll("button").forEach((old) => old.remove());
  byId("examples").append(...examples.map(({ name, url }) => button(name, async () => {
    const sound = await (await ask(url)).blob();
    await analyse(new File([sound], `${name}.wav`, { type: sound.type }), true);
  })));
}

function button(name, act) {
  const created = Object.assign(document.createElement("button"), { type: "button", textContent: name });
  created.onclick = () => attempt(act);
  return created;
}

function showMap() {
  drawMap(byId("plane"), model, point);
  byId("star-word").hidden = !point;
  const isPart = prediction && prediction.span[1] - prediction.span[0] < prediction.seconds;
  byId("star-word").textContent = `Star: ${isPart ? "the middle of " : ""}this recording.`;
}

/** Do something that the user asked for; an earlier error is hidden. */
function attempt(act) {
  byId("trouble").hidden = true;
  return orShowTrouble(act);
}

/** Do something that may fail; if it does, show the error, with a way to try again. */
async function orShowTrouble(act) {
  try {
    await act();
  } catch (error) {
    if (error.name === "AbortError") return;
    const isTrouble = error instanceof Trouble;
    showTrouble(isTrouble ? error : new Trouble("page", `The page failed: ${error.message}.`, "Load it again."), act);
  }
}

function showTrouble(trouble, act) {
  retry = act;
  const wantsToken = trouble.code === "unauthorized";
  byId("trouble-message").textContent = trouble.message;
  byId("trouble-fix").textContent = trouble.fix;
  byId("token-form").hidden = !wantsToken;
  byId("retry").hidden = !trouble.retryAfter;
  byId("trouble").hidden = false;
  byId("trouble").scrollIntoView({ block: "nearest" });
  if (wantsToken) byId("token").focus();
  const free = performance.now() + 1000 * trouble.retryAfter;
  (function count() {
    const left = Math.ceil((free - performance.now()) / 1000);
    byId("retry").disabled = trouble.code === "busy" && left > 0;
    byId("retry").textContent = byId("retry").disabled ? `Try again in ${left} s` : "Try again";
    if (byId("retry").disabled && retry === act) setTimeout(count, 250);
  })();
}

/** Send a recording to the server and show its answers; `isOwn` if it came from this page, so that it can be saved. */
async function analyse(recording, isOwn = false) {
  [file, isSavable, point, prediction, timeline] = [recording, isOwn, null, null, null];
  track.clear();
  URL.revokeObjectURL(byId("wav").href);
  // First, before anything can fail: a recording of this page is nowhere else.
  Object.assign(byId("wav"), { href: isSavable ? URL.createObjectURL(file) : "", download: file.name, hidden: !isSavable });
  byId("time").hidden = false;
  byId("time-title").textContent = `Over time: ${file.name}`;
  showSegments();
  showMap();
  showAsAnswered();
  if (file.size > limits.bytes) {
    job.abort();
    byId("time").hidden = !isSavable;
    showWaiting(START);
    const [size, most] = [file.size, limits.bytes].map((bytes) => Math.floor(bytes / 1e6));
    throw new Trouble("too_large", `${file.name} has ${size} MB; this server takes ${most} MB.`,
      "Cut it, or compress it as FLAC, MP3 or Opus.");
  }
  showWaiting(`Analysing ${file.name} …`);
  await work(async (newJob) => {
    const seconds = await lengthOf(file);
    progress.setLength(seconds);
    // A long recording is cut at its pauses, which have no emotion.
    if (!newJob.signal.aborted) byId("speech").checked = isLong(seconds);
    await all([predict(newJob), showTimeline(newJob), track.open(file, newJob.signal, (exact) => progress.setLength(exact))]);
  });
}

/** Ask for the timeline anew, cut another way; or for all answers if there is no prediction yet. */
const cutAnew = () => (prediction ? work(showTimeline) : analyse(file, isSavable));

/** Wait for all, then fail if one has: a recording whose timeline fails still has an answer for its middle. */
async function all(parts) {
  const failed = (await Promise.allSettled(parts)).find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
}

/** Do something that can be cancelled, and stop the work before. */
async function work(act) {
  job.abort();
  const newJob = job = new AbortController();
  const end = () => {
    progress.end();
    byId("time").hidden = !isSavable && !timeline;
    byId("speech").checked = isCut;
    if (timeline) track.show(timeline, colors());
  };
  progress.start(() => {
    newJob.abort();
    end();
    showAnswers("Cancelled.");
    if (!byId("emotion").textContent) point = null; // no star without an answer
    showMap();
  });
  try {
    await act(newJob);
  } catch (error) {
    if (!newJob.signal.aborted) {
      end();
      showAnswers(NO_ANSWER);
    }
    throw error;
  }
  if (!newJob.signal.aborted) end();
}

/** Make room for the answer on a phone. */
function showAsAnswered() {
  document.body.classList.add("answered");
  if (matchMedia("(max-width: 699px)").matches) scrollTo({ top: 0 });
}

async function predict(ownJob) {
  const query = { check_speech: true };
  ({ results: [prediction] } = await askJson("v1/predict", requestOptions(query, ownJob)));
  point = prediction.speech_seconds === 0 ? null : prediction.point;
  showMap();
  showAnswers();
}

const isLong = (seconds) => seconds > (model.max_seconds ?? LONGEST_SECONDS);

/**
 * Show the best answer so far. A long recording needs its timeline, which comes later; `lastly` is the line to show if
 * nothing more comes. If the timeline failed, the prediction for the middle is shown.
 */
function showAnswers(lastly = "") {
  const needsTime = isLong(timeline?.duration_seconds ?? prediction?.seconds);
  if (needsTime && timeline) showShares(sharesOf(timeline), isCut, prediction?.warnings ?? []);
  else if (prediction && (!needsTime || lastly === NO_ANSWER)) showAnswer(prediction);
  else if (lastly) showWaiting(lastly);
}

const colors = () => Object.fromEntries(model.classes.map((name, i) => [name, model.colors[i]]));

async function showTimeline(ownJob) {
  const speech = byId("speech").checked;
  track.forget();
  timeline = await askJson("v1/timeline", requestOptions({ format: "json", speech }, ownJob));
  isCut = speech;
  track.show(timeline, colors());
  showSegments();
  showAnswers();
}

/** Return the options of a request: the file in a form, a query, a signal to stop, and a callback for progress. */
function requestOptions(query, { signal }) {
  const form = new FormData();
  form.append("file", file, file.name);
  return { form, query, signal, onSent: (bytes, all) => progress.sent(form, bytes, all) };
}

/** Show the number of segments; their table, which may be long, is filled once it is opened. */
function showSegments() {
  const segments = timeline?.segments ?? [];
  for (const id of ["segments", "downloads"]) byId(id).hidden = !segments.length && (id === "segments" || byId("wav").hidden);
  for (const format of byId("downloads").querySelectorAll("[data-format]")) format.disabled = !timeline;
  byId("segments").firstElementChild.textContent = `Segments (${segments.length})`;
  byId("segments").querySelector("tbody").replaceChildren();
  if (byId("segments").open) fillSegments();
}

function fillSegments() {
  const body = byId("segments").querySelector("tbody");
  if (body.rows.length) return;
  body.replaceChildren(...(timeline?.segments ?? []).map(({ start_seconds: start, end_seconds: end, emotion, confidence }) => {
    const row = document.createElement("tr");
    const from = button(clock(start), () => track.seek(start));
    const sure = confidence === null ? "" : percent(confidence);
    [from, clock(end), emotion ?? "no speech", sure].forEach((cell) => row.insertCell().append(cell));
    return row;
  }));
}

/** Save the timeline in another format: the server converts it without its recording. */
async function download(format) {
  const response = await ask(`v1/formats/${format}`, { json: timeline });
  const [, name] = /filename\*=UTF-8''(\S+)/.exec(response.headers.get("Content-Disposition")) ?? [];
  save(await response.blob(), name ? decodeURIComponent(name) : `${file.name.replace(/\.(wave?|flac|aif[fc]?|mp3|og[ga]|opus|m4a|mp4|webm)$/i, "")}.json`);
}

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function startRecording() {
  byId("record").disabled = true;
  try {
    let live = null;
    microphone = await record((samples, peakDb, seconds) => {
      live?.send(samples);
      byId("level").setAttribute("aria-valuenow", Math.max(-60, peakDb).toFixed(0));
      byId("level").firstElementChild.style.transform = `scaleX(${Math.max(0, 1 + peakDb / 60)})`;
      byId("recorded").textContent = clock(seconds);
      const most = Math.min(limits.seconds, limits.bytes / (2 * microphone?.sampleRate)); // of 16 bits
      if (microphone && seconds > most - 1) toggleRecording();
    });
    live = microphone.live = openStream(microphone.sampleRate, showWindow,
      () => showWaiting("The server gives no live answer. The recording goes on."));
  } catch (error) {
    microphone?.release();
    microphone = null;
    throw error;
  } finally {
    byId("record").disabled = false;
  }
  job.abort();
  progress.end();
  track.clear();
  [point, prediction, timeline] = [null, null, null];
  showMap();
  showAsAnswered();
  byId("time").hidden = true;
  // A screen reader would read a word per second.
  byId("verdict").setAttribute("aria-live", "off");
  showWaiting("Speak: the first answer comes after three seconds.");
  showRecording(true);
}

async function stopRecording() {
  const { live, stop } = microphone;
  microphone = null;
  showRecording(false);
  live.end();
  byId("record").disabled = true;
  const recorded = await stop();
  byId("record").disabled = false;
  byId("verdict").removeAttribute("aria-live");
  attempt(() => analyse(recorded, true));
}

function showRecording(on) {
  byId("recording").hidden = !on;
  for (const id of ["drop", "examples"]) byId(id).inert = on;
  byId("record").classList.toggle("on", on);
  byId("record-word").textContent = on ? "Stop" : "Record";
  byId("recorded").textContent = clock(0);
}

const toggleRecording = () => attempt(microphone ? stopRecording : startRecording);

const take = (files) => {
  if (files.length > 1) {
    const fix = "For many at once there is emospec predict.";
    return showTrouble(new Trouble("several", "One recording at a time.", fix), null);
  }
  return files.length && !microphone && attempt(() => analyse(files[0]));
};

byId("host").textContent = location.host;
byId("record").onclick = toggleRecording;
byId("file").onchange = () => { take([...byId("file").files]); byId("file").value = ""; };
byId("speech").onchange = () => attempt(cutAnew);
byId("segments").ontoggle = () => byId("segments").open && fillSegments();
byId("retry").onclick = () => attempt(retry);
byId("dismiss").onclick = () => { byId("trouble").hidden = true; };
byId("token-form").onsubmit = (event) => {
  event.preventDefault();
  useToken(byId("token").value);
  byId("token").value = "";
  attempt(retry);
};
byId("downloads").onclick = ({ target: { dataset: { format } } }) => format && attempt(() => download(format));
byId("card-open").onclick = () => {
  byId("card").querySelector("article").replaceChildren(...cardOf(model.card));
  byId("card").showModal();
};
onThemeChange(() => model && showMap());
new ResizeObserver(() => model && showMap()).observe(byId("plane"));
document.ondragover = (event) => { event.preventDefault(); document.body.classList.add("dropping"); };
document.ondragleave = (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); };
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (model) take([...event.dataTransfer.files]);
};
document.onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || byId("card").open) return;
  if (event.target.closest("input:not([type=checkbox], [type=file])")) return;
  if (event.key === "r" || event.key === "R") byId("record").click();
  if (event.key === " " && !event.target.closest("button, a, summary, input")) {
    event.preventDefault();
    track.toggle();
  }
};

attempt(start);
