// The progress of a recording: how much of it is sent, then for how long the server computes; and a way to stop it.

import { clock } from "./pictures.js";

const byId = (id) => document.getElementById(id);
const DELAY_MS = 400; // short recordings are done before: a bar that flashes up says nothing

export class Progress {
  constructor() {
    this.parts = new Map();
    byId("cancel").onclick = () => this.onCancel?.();
  }

  /** Begin; `onCancel` is called when the user cancels. */
  start(onCancel) {
    this.end();
    this.onCancel = onCancel;
    this.length = null;
    this.began = performance.now();
    this.timer = setInterval(() => this.show(), DELAY_MS);
  }

  /** Note how many bytes of a request's form are sent. */
  sent(form, bytes, all) {
    this.parts.set(form, [bytes, all]);
    if (bytes < all) this.computing = null;
    this.show();
  }

  /** Note how long the recording is. */
  setLength(seconds) {
    this.length = seconds;
  }

  end() {
    clearInterval(this.timer);
    this.parts.clear();
    this.computing = null;
    this.timer = this.onCancel = null;
    byId("progress").hidden = true;
  }

  show() {
    if (!this.timer || performance.now() - this.began < DELAY_MS) return;
    byId("progress").hidden = false;
    const sums = [...this.parts.values()].reduce(([a, b], [bytes, all]) => [a + bytes, b + all], [0, 0]);
    if (sums[0] < sums[1] || !sums[1]) return this.say(`Sending ${Math.floor((100 * sums[0]) / (sums[1] || 1))}\u00a0%`, sums[0] / (sums[1] || 1));
    this.computing ??= performance.now();
    const sound = this.length ? `${clock(this.length, 0)} of sound` : "the sound";
    this.say(`Analysing ${sound} … ${Math.floor((performance.now() - this.computing) / 1000)}\u00a0s`);
  }

  say(words, share) {
    byId("progress-words").textContent = words;
    if (share === undefined) byId("progress-bar").removeAttribute("value");
    else byId("progress-bar").value = share;
  }
}
