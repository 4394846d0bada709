// The page: what is recorded or chosen goes to the server, and its answer into words, bars, map and track.

import { percent, prepareBars, showAnswer, showMoment, showShares, showWaiting } from "./answer.js";
import { cardOf } from "./card.js";
import { drawMap } from "./map.js";
import { record } from "./microphone.js";
import { onThemeChange } from "./palette.js";
import { clock } from "./pictures.js";
import { Progress } from "./progress.js";
import { ask, askJson, listen, Trouble, useToken } from "./server.js";
import { sharesOf } from "./shares.js";
import { lengthOf, Track } from "./track.js";

const at = (id) => document.getElementById(id);
const START = "Record, choose a file or take an example.";
const NO_ANSWER = "No answer.";
const LONGEST_SECONDS = 14; // of a recording that has one answer, where the model says nothing else
const track = new Track(), progress = new Progress();

let model = null, limits = null;
let microphone = null; // while recording
let job = new AbortController(); // the recording that is shown
let file = null, point = null;
let isOwn = false; // recorded here, so it is nowhere else and can be saved
let isCut = false; // at pauses: the timeline that is shown
let prediction = null, timeline = null; // what the server has answered so far
let again = null; // what "Try again" does

async function start() {
  const known = await askJson("v1/models");
  [model, limits] = [known.models.find((one) => one.default), known.limits];
  at("model").textContent = model.name;
  at("limits").textContent = `; up to ${Math.floor(limits.bytes / 1e6)} MB and ${Math.floor(limits.seconds / 60)} min`;
  for (const id of ["record", "file", "card-open"]) at(id).disabled = false;
  prepareBars(model);
  showWaiting(START);
  showMap();
  await showExamples();
}

async function showExamples() {
  const examples = await askJson("examples");
  at("examples").hidden = !examples.length;
  at("examples").querySelectorAll("button").forEach((old) => old.remove());
  at("examples").append(...examples.map(({ name, url }) => button(name, async () => {
    const sound = await (await ask(url)).blob();
    await judge(new File([sound], `${name}.wav`, { type: sound.type }), true);
  })));
}

function button(name, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: name });
  made.onclick = () => attempt(act);
  return made;
}

function showMap() {
  drawMap(at("plane"), model, point);
  at("star-word").hidden = !point;
  const isPart = prediction && prediction.span[1] - prediction.span[0] < prediction.seconds;
  at("star-word").textContent = `Star: ${isPart ? "the middle of " : ""}this recording.`;
}

/** Do what somebody asked for: what was wrong before is past. */
function attempt(act) {
  at("trouble").hidden = true;
  return orTell(act);
}

/** Do something that may fail, and say so where it does, with a way to try it again. */
async function orTell(act) {
  try {
    await act();
  } catch (error) {
    if (error.name === "AbortError") return;
    const known = error instanceof Trouble;
    showTrouble(known ? error : new Trouble("page", `The page failed: ${error.message}.`, "Load it again."), act);
  }
}

function showTrouble(trouble, act) {
  again = act;
  const wantsToken = trouble.code === "unauthorized";
  at("trouble-message").textContent = trouble.message;
  at("trouble-fix").textContent = trouble.fix;
  at("token-form").hidden = !wantsToken;
  at("retry").hidden = !trouble.retryAfter;
  at("trouble").hidden = false;
  at("trouble").scrollIntoView({ block: "nearest" });
  if (wantsToken) at("token").focus();
  const free = performance.now() + 1000 * trouble.retryAfter;
  (function count() {
    const left = Math.ceil((free - performance.now()) / 1000);
    at("retry").disabled = trouble.code === "busy" && left > 0;
    at("retry").textContent = at("retry").disabled ? `Try again in ${left} s` : "Try again";
    if (at("retry").disabled && again === act) setTimeout(count, 250);
  })();
}

/** Send a recording to the server and show all that is said of it; one that was made here can be saved. */
async function judge(given, isMade = false) {
  [file, isOwn, point, prediction, timeline] = [given, isMade, null, null, null];
  track.clear();
  URL.revokeObjectURL(at("wav").href);
  // Before anything can fail: what was recorded here is nowhere else.
  Object.assign(at("wav"), { href: isOwn ? URL.createObjectURL(file) : "", download: file.name, hidden: !isOwn });
  at("time").hidden = false;
  at("time-title").textContent = `Over time: ${file.name}`;
  showSegments();
  showMap();
  showAsAnswered();
  if (file.size > limits.bytes) {
    job.abort();
    at("time").hidden = !isOwn;
    showWaiting(START);
    const [size, most] = [file.size, limits.bytes].map((bytes) => Math.floor(bytes / 1e6));
    throw new Trouble("too_large", `${file.name} has ${size} MB; this server takes ${most} MB.`,
      "Cut it, or compress it as FLAC, MP3 or Opus.");
  }
  showWaiting(`Analysing ${file.name} …`);
  await work(async (own) => {
    const seconds = await lengthOf(file);
    progress.lasts(seconds);
    // A recording of many turns is judged turn by turn, and its pauses by nothing.
    if (!own.signal.aborted) at("speech").checked = isLong(seconds);
    await all([predict(own), showTimeline(own), track.open(file, own.signal, (exact) => progress.lasts(exact))]);
  });
}

/** Ask for the timeline anew, after another way to cut was chosen; for all where there is no prediction yet. */
const cutAnew = () => (prediction ? work(showTimeline) : judge(file, isOwn));

/** Wait for several things, to the end of all: of a recording whose timeline fails, the middle has an answer. */
async function all(parts) {
  const failed = (await Promise.allSettled(parts)).find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
}

/** Do something in place of what was done before; it can be cancelled. */
async function work(act) {
  job.abort();
  const own = job = new AbortController();
  const end = () => {
    progress.end();
    at("time").hidden = !isOwn && !timeline;
    at("speech").checked = isCut;
    if (timeline) track.show(timeline, colors());
  };
  progress.start(() => {
    own.abort();
    end();
    showSaid("Cancelled.");
    if (!at("emotion").textContent) point = null; // a star without an answer says nothing
    showMap();
  });
  try {
    await act(own);
  } catch (error) {
    if (!own.signal.aborted) {
      end();
      showSaid(NO_ANSWER);
    }
    throw error;
  }
  if (!own.signal.aborted) end();
}

/** On a phone the ways to give a sound make room for the answer. */
function showAsAnswered() {
  document.body.classList.add("answered");
  if (matchMedia("(max-width: 699px)").matches) scrollTo({ top: 0 });
}

async function predict(own) {
  const query = { check_speech: true };
  ({ results: [prediction] } = await askJson("v1/predict", asking(query, own)));
  point = prediction.speech_seconds === 0 ? null : prediction.point;
  showMap();
  showSaid();
}

const isLong = (seconds) => seconds > (model.max_seconds ?? LONGEST_SECONDS);

/**
 * Show the answer that fits what has come. Of a long recording that is its timeline's, which comes later; where nothing
 * more comes, `lastly` is what to say without any. A timeline that failed leaves the answer for the middle.
 */
function showSaid(lastly = "") {
  const needsTime = isLong(timeline?.duration_seconds ?? prediction?.seconds);
  if (needsTime && timeline) showShares(sharesOf(timeline), isCut, prediction?.warnings ?? []);
  else if (prediction && (!needsTime || lastly === NO_ANSWER)) showAnswer(prediction);
  else if (lastly) showWaiting(lastly);
}

const colors = () => Object.fromEntries(model.classes.map((name, i) => [name, model.colors[i]]));

async function showTimeline(own) {
  const speech = at("speech").checked;
  track.forget();
  timeline = await askJson("v1/timeline", asking({ format: "json", speech }, own));
  isCut = speech;
  track.show(timeline, colors());
  showSegments();
  showSaid();
}

/** What to ask with: the file in a form, a query, a way to stop, and somebody to tell how much is sent. */
function asking(query, { signal }) {
  const form = new FormData();
  form.append("file", file, file.name);
  return { form, query, signal, onSent: (bytes, all) => progress.sent(form, bytes, all) };
}

/** Say how many segments there are; their table, which may be long, is filled once it is opened. */
function showSegments() {
  const segments = timeline?.segments ?? [];
  for (const id of ["segments", "downloads"]) at(id).hidden = !segments.length && (id === "segments" || at("wav").hidden);
  for (const one of at("downloads").querySelectorAll("[data-format]")) one.disabled = !timeline;
  at("segments").firstElementChild.textContent = `Segments (${segments.length})`;
  at("segments").querySelector("tbody").replaceChildren();
  if (at("segments").open) fillSegments();
}

function fillSegments() {
  const body = at("segments").querySelector("tbody");
  if (body.rows.length) return;
  body.replaceChildren(...(timeline?.segments ?? []).map((one) => {
    const row = document.createElement("tr");
    const from = button(clock(one.start_seconds), () => track.seek(one.start_seconds));
    const sure = one.confidence === null ? "" : percent(one.confidence);
    [from, clock(one.end_seconds), one.emotion ?? "no speech", sure].forEach((cell) => row.insertCell().append(cell));
    return row;
  }));
}

/** Save the timeline that is shown in another format: it is sent to be written, not its recording. */
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
  at("record").disabled = true;
  try {
    let live = null;
    microphone = await record((samples, peakDb, seconds) => {
      live?.send(samples);
      at("level").setAttribute("aria-valuenow", Math.max(-60, peakDb).toFixed(0));
      at("level").firstElementChild.style.transform = `scaleX(${Math.max(0, 1 + peakDb / 60)})`;
      at("recorded").textContent = clock(seconds);
      const most = Math.min(limits.seconds, limits.bytes / (2 * microphone?.sampleRate)); // of 16 bits
      if (microphone && seconds > most - 1) toggleRecording();
    });
    live = microphone.live = listen(microphone.sampleRate, showMoment,
      () => showWaiting("The server gives no live answer. The recording goes on."));
  } catch (error) {
    microphone?.release();
    microphone = null;
    throw error;
  } finally {
    at("record").disabled = false;
  }
  job.abort();
  progress.end();
  track.clear();
  [point, prediction, timeline] = [null, null, null];
  showMap();
  showAsAnswered();
  at("time").hidden = true;
  at("verdict").setAttribute("aria-live", "off"); // a word per second is no use to who listens
  showWaiting("Speak: the first answer comes after three seconds.");
  showRecording(true);
}

async function stopRecording() {
  const { live, stop } = microphone;
  microphone = null;
  showRecording(false);
  live.end();
  at("record").disabled = true;
  const recorded = await stop();
  at("record").disabled = false;
  at("verdict").removeAttribute("aria-live");
  attempt(() => judge(recorded, true));
}

function showRecording(on) {
  at("recording").hidden = !on;
  for (const id of ["drop", "examples"]) at(id).inert = on;
  at("record").classList.toggle("on", on);
  at("record-word").textContent = on ? "Stop" : "Record";
  at("recorded").textContent = clock(0);
}

const toggleRecording = () => attempt(microphone ? stopRecording : startRecording);

const take = (files) => {
  if (files.length > 1) {
    const fix = "For many at once there is emospec predict.";
    return showTrouble(new Trouble("several", "One recording at a time.", fix), null);
  }
  return files.length && !microphone && attempt(() => judge(files[0]));
};

at("host").textContent = location.host;
at("record").onclick = toggleRecording;
at("file").onchange = () => { take([...at("file").files]); at("file").value = ""; };
at("speech").onchange = () => attempt(cutAnew);
at("segments").ontoggle = () => at("segments").open && fillSegments();
at("retry").onclick = () => attempt(again);
at("dismiss").onclick = () => { at("trouble").hidden = true; };
at("token-form").onsubmit = (event) => {
  event.preventDefault();
  useToken(at("token").value);
  at("token").value = "";
  attempt(again);
};
at("downloads").onclick = ({ target: { dataset: { format } } }) => format && attempt(() => download(format));
at("card-open").onclick = () => {
  at("card").querySelector("article").replaceChildren(...cardOf(model.card));
  at("card").showModal();
};
onThemeChange(() => model && showMap());
new ResizeObserver(() => model && showMap()).observe(at("plane"));
document.ondragover = (event) => { event.preventDefault(); document.body.classList.add("dropping"); };
document.ondragleave = (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); };
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (model) take([...event.dataTransfer.files]);
};
document.onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || at("card").open) return;
  if (event.target.closest("input:not([type=checkbox], [type=file])")) return;
  if (event.key === "r" || event.key === "R") at("record").click();
  if (event.key === " " && !event.target.closest("button, a, summary, input")) {
    event.preventDefault();
    track.toggle();
  }
};

attempt(start);
