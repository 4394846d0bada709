// A recording on its time axis, to play, seek and zoom; pictures.js draws it.

import { clock, draw, GUTTER } from "./pictures.js";
import { onThemeChange } from "./palette.js";
import { percent } from "./answer.js";

const byId = (id) => document.getElementById(id);
const RATE = 16000; // Hz, of the pictures
const CLOSEST_SECONDS = 1;
const EDGE_SECONDS = 1e-3; // a playhead this far outside, by rounding, is still in sight

export class Track {
  constructor() {
    this.audio = new Audio();
    this.clear();
    byId("play").onclick = () => this.toggle();
    byId("closer").onclick = () => this.zoom(0.5);
    byId("farther").onclick = () => this.zoom(2);
    this.audio.onplay = this.audio.onpause = () => this.follow();
    const track = byId("track");
    track.onpointerdown = (event) => { if (event.button === 0) this.seek(this.secondsAt(event)); };
    track.onpointermove = (event) => {
      if (event.buttons === 1) this.seek(this.secondsAt(event));
      else this.read(this.secondsAt(event));
    };
    track.onpointerleave = () => this.read(this.position);
    track.onkeydown = (event) => this.press(event);
    new ResizeObserver(() => this.draw()).observe(track);
    onThemeChange(() => this.draw());
  }

  /** Forget the recording. */
  clear() {
    this.audio.pause();
    if (this.audio.src) URL.revokeObjectURL(this.audio.src);
    this.audio.removeAttribute("src");
    const view = { start: 0, end: 0 }; // in seconds, as all here
    Object.assign(this, { sound: null, segments: null, colors: {}, seconds: 0, position: 0, view });
    byId("no-pictures").hidden = true;
    byId("play").disabled = true;
  }

  /** Open a file to see and play, if the browser can decode it; `onLength` is called with its seconds. */
  async open(file, signal, onLength) {
    let decoded = null;
    try {
      decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
    } catch { /* A format that the browser cannot decode; the server may. */ }
    if (signal.aborted) return;
    byId("no-pictures").hidden = Boolean(decoded);
    if (!decoded) return;
    this.sound = { samples: mixed(decoded), rate: RATE };
    this.audio.src = URL.createObjectURL(file);
    byId("play").disabled = false;
    onLength(decoded.duration);
    this.setLength(decoded.duration);
  }

  /** Show the timeline of the file. */
  show(timeline, colors) {
    this.segments = timeline.segments;
    this.colors = colors;
    this.setLength(timeline.duration_seconds);
  }

  /** Forget the timeline while it is computed anew. */
  forget() {
    this.segments = null;
    this.draw();
    this.read(this.position);
  }

  setLength(seconds) {
    if (!this.seconds) this.view = { start: 0, end: seconds };
    this.seconds ||= seconds;
    byId("track").setAttribute("aria-valuemax", this.seconds.toFixed(1));
    this.draw();
    this.read(this.position);
  }

  draw() {
    const width = byId("track").clientWidth;
    if (!width || !this.seconds) return;
    draw(byId("pictures"), width, this.view, this.sound, this.segments ?? [], this.colors);
    byId("closer").disabled = this.view.end - this.view.start <= CLOSEST_SECONDS;
    byId("farther").disabled = this.view.end - this.view.start >= this.seconds;
    this.place();
  }

  toggle() {
    if (!this.audio.src) return;
    if (this.audio.paused) this.audio.play();
    else this.audio.pause();
  }

  /** Move the playhead with the sound. */
  follow() {
    byId("play").firstElementChild.textContent = this.audio.paused ? "Play" : "Pause";
    this.position = Math.min(this.seconds, this.audio.currentTime);
    this.place();
    this.read(this.position);
    if (!this.audio.paused) requestAnimationFrame(() => this.follow());
  }

  seek(seconds) {
    this.position = Math.max(0, Math.min(this.seconds, seconds));
    if (this.audio.src) this.audio.currentTime = this.position;
    this.place();
    this.read(this.position);
  }

  zoom(factor) {
    const wanted = Math.max(CLOSEST_SECONDS, factor * (this.view.end - this.view.start));
    const length = Math.min(this.seconds, wanted);
    this.look(this.position - length / 2, length);
  }

  look(start, length) {
    const first = Math.max(0, Math.min(this.seconds - length, start));
    this.view = { start: first, end: first + length };
    this.draw();
  }

  /** Put the playhead at the position, and scroll there if it is out of sight. */
  place() {
    const { start, end } = this.view;
    const isOut = this.position < start - EDGE_SECONDS || this.position > end + EDGE_SECONDS;
    if (isOut) return this.look(this.position - 0.05 * (end - start), end - start);
    const x = GUTTER + ((byId("track").clientWidth - GUTTER) * (this.position - start)) / (end - start || 1);
    byId("playhead").style.transform = `translateX(${x}px)`;
  }

  /** Show the emotion at a time. */
  read(seconds) {
    const segment = this.segments?.find(({ start_seconds, end_seconds }) => seconds >= start_seconds && seconds <= end_seconds);
    const none = this.segments ? "no speech" : "";
    const words = segment?.emotion ? `${segment.emotion} ${percent(segment.confidence)}` : none;
    byId("readout").textContent = `${clock(seconds)} of ${clock(this.seconds)}  ${words}`;
    byId("track").setAttribute("aria-valuenow", this.position.toFixed(1));
    byId("track").setAttribute("aria-valuetext", byId("readout").textContent);
  }

  secondsAt(event) {
    const box = byId("track").getBoundingClientRect();
    const share = (event.clientX - box.left - GUTTER) / (box.width - GUTTER);
    return Math.max(0, Math.min(this.seconds, this.view.start + share * (this.view.end - this.view.start)));
  }

  press(event) {
    const step = (this.view.end - this.view.start) / 50;
    const here = this.position;
    const to = { ArrowLeft: here - step, ArrowRight: here + step, Home: 0, End: this.seconds }[event.key];
    if (to !== undefined) this.seek(to);
    else if (event.key === "+") this.zoom(0.5);
    else if (event.key === "-") this.zoom(2);
    else return;
    event.preventDefault();
  }
}

const HEADER_MS = 2000; // for the browser to read it

/** Return the seconds of a file by its header; null if the browser cannot read it. */
export async function lengthOf(file) {
  const audio = Object.assign(new Audio(), { preload: "metadata", src: URL.createObjectURL(file) });
  await new Promise((resolve) => {
    audio.onloadedmetadata = audio.onerror = resolve;
    setTimeout(resolve, HEADER_MS);
  });
  URL.revokeObjectURL(audio.src);
  return Number.isFinite(audio.duration) ? audio.duration : null;
}

/** Return the mean of the channels. */
function mixed(decoded) {
  const first = decoded.getChannelData(0);
  for (let c = 1; c < decoded.numberOfChannels; c++) {
    const other = decoded.getChannelData(c);
    for (let i = 0; i < first.length; i++) first[i] += (other[i] - first[i]) / (c + 1);
  }
  return first;
}
