// Pictures of sound on one time axis: emotions with confidence, waveform, spectrogram, seconds. Holds no state.

import { classColor, pageColor } from "./palette.js";
import { merged } from "./shares.js";

const FRAME = 512; // samples, 32 ms at 16 kHz
const FRAMES_PER_COLUMN = 4; // at most; the rest of a long column is skipped
const RANGE_DB = 70;
const RAMP = [[8, 8, 26], [72, 24, 108], [176, 52, 108], [244, 136, 84], [254, 246, 204]]; // quiet to loud
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600];

const QUIETEST_PEAK_DB = 0; // of a spectrum: a tone at -42 dB re full scale; silence and its dither stay dark below it
const NARROWEST = 3; // pixels of a bar

/** Heights in CSS pixels, from the top; a recording that cannot be decoded has the first and the last alone. */
export const HEIGHTS = { band: 62, waveform: 56, spectrogram: 128, axis: 20 };
export const GUTTER = 34; // left of all, for units

/**
 * Draw all pictures that the arguments allow.
 * view: { start, end } in seconds; sound: { samples, rate } or null; segments: of the timeline, or [].
 */
export function draw(canvas, width, view, sound, segments, colors) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const parts = Object.entries(HEIGHTS).filter(([name]) => sound || name === "band" || name === "axis");
  const height = parts.reduce((sum, [, partHeight]) => sum + partHeight, 0);
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.font = `12px ${getComputedStyle(canvas).fontFamily}`;
  let top = 0;
  for (const [name, tall] of parts) {
    const box = { left: GUTTER, top, width: width - GUTTER, height: tall, ratio };
    PARTS[name](context, box, view, sound, segments, colors);
    top += tall;
  }
}

const PARTS = { waveform: drawWaveform, spectrogram: drawSpectrogram, band: drawBand, axis: drawAxis };

function drawWaveform(context, box, view, { samples, rate }) {
  const columns = Math.round(box.width * box.ratio);
  const lows = new Float32Array(columns), highs = new Float32Array(columns);
  let most = 0.05;
  for (let column = 0; column < columns; column++) {
    const [from, to] = samplesOf(column, columns, view, rate, samples.length);
    let low = 0, high = 0;
    for (let i = from; i < to; i++) {
      if (samples[i] < low) low = samples[i];
      else if (samples[i] > high) high = samples[i];
    }
    lows[column] = low;
    highs[column] = high;
    most = Math.max(most, high, -low);
  }
  context.fillStyle = pageColor("wave");
  const middle = box.top + box.height / 2, scale = (box.height / 2 - 3) / most, wide = 1 / box.ratio;
  for (let column = 0; column < columns; column++) {
    const tall = Math.max(wide, (highs[column] - lows[column]) * scale);
    context.fillRect(box.left + column * wide, middle - highs[column] * scale, wide, tall);
  }
}

/** Return the first sample of a column and its end; at least one sample, within the recording. */
function samplesOf(column, columns, view, rate, length) {
  const width = ((view.end - view.start) * rate) / columns, first = view.start * rate;
  const from = Math.min(length, Math.floor(first + column * width));
  return [from, Math.min(length, Math.max(from + 1, Math.floor(first + (column + 1) * width)))];
}

function drawSpectrogram(context, box, view, { samples, rate }) {
  const columns = Math.round(box.width * box.ratio), bins = FRAME / 2;
  const levels = new Float32Array(columns * bins), power = new Float64Array(bins);
  let loudest = QUIETEST_PEAK_DB;
  for (let column = 0; column < columns; column++) {
    const [from, to] = samplesOf(column, columns, view, rate, samples.length);
    const frames = Math.max(1, Math.min(FRAMES_PER_COLUMN, Math.floor((to - from) / FRAME)));
    power.fill(0);
    for (let frame = 0; frame < frames; frame++) {
      addPower(samples, Math.round(from + ((frame + 0.5) * (to - from)) / frames) - FRAME / 2, power);
    }
    for (let bin = 0; bin < bins; bin++) {
      const level = 10 * Math.log10(power[bin] / frames + 1e-10);
      levels[column * bins + bin] = level;
      if (level > loudest) loudest = level;
    }
  }
  const image = new ImageData(columns, bins);
  for (let column = 0; column < columns; column++) {
    for (let bin = 0; bin < bins; bin++) {
      const share = Math.max(0, 1 + (levels[column * bins + bin] - loudest) / RANGE_DB);
      image.data.set(rampColor(share), 4 * ((bins - 1 - bin) * columns + column));
    }
  }
  const small = new OffscreenCanvas(columns, bins);
  small.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(small, box.left, box.top, box.width, box.height);
  context.fillStyle = pageColor("faint");
  context.textAlign = "right";
  context.textBaseline = "middle";
  const [top, bottom] = [box.top + 8, box.top + box.height - 8];
  context.fillText("8 kHz", box.left - 4, top, GUTTER - 4);
  context.fillText("4", box.left - 4, (top + bottom) / 2);
  context.fillText("0", box.left - 4, bottom);
}

const RAMP_COLORS = Array.from({ length: 256 }, (_, i) => {
  const place = (i / 255) * (RAMP.length - 1), low = Math.min(RAMP.length - 2, Math.floor(place));
  return [...RAMP[low].map((part, k) => Math.round(part + (place - low) * (RAMP[low + 1][k] - part))), 255];
});
const rampColor = (share) => RAMP_COLORS[Math.round(255 * Math.min(1, share))];

const HANN = Float64Array.from({ length: FRAME }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / FRAME));
const COSINES = Float64Array.from({ length: FRAME / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / FRAME));
const SINES = Float64Array.from({ length: FRAME / 2 }, (_, k) => -Math.sin((2 * Math.PI * k) / FRAME));
const BITS = Math.log2(FRAME);
const REVERSED = Uint16Array.from({ length: FRAME }, (_, i) =>
  Array.from({ length: BITS }, (_, bit) => ((i >> bit) & 1) << (BITS - 1 - bit)).reduce((sum, bit) => sum + bit));
const real = new Float64Array(FRAME), imaginary = new Float64Array(FRAME);

/** Add |X|^2 of the Hann frame that begins at sample `start` to `power` (radix 2, Cooley and Tukey 1965). */
function addPower(samples, start, power) {
  imaginary.fill(0);
  for (let i = 0; i < FRAME; i++) real[REVERSED[i]] = HANN[i] * (samples[start + i] ?? 0);
  for (let half = 1; half < FRAME; half *= 2) {
    const stride = FRAME / (2 * half);
    for (let block = 0; block < FRAME; block += 2 * half) {
      for (let k = 0; k < half; k++) {
        const a = block + k, b = a + half, c = COSINES[k * stride], s = SINES[k * stride];
        const re = real[b] * c - imaginary[b] * s, im = real[b] * s + imaginary[b] * c;
        real[b] = real[a] - re; imaginary[b] = imaginary[a] - im;
        real[a] += re; imaginary[a] += im;
      }
    }
  }
  for (let bin = 0; bin < FRAME / 2; bin++) power[bin] += real[bin] ** 2 + imaginary[bin] ** 2;
}

/** Draw a bar for each segment that can be seen, as high as its confidence, with its name above if there is room. */
function drawBand(context, box, view, _, segments, colors) {
  const names = 18, floor = box.top + box.height - 4, tall = box.height - names - 8;
  const place = (seconds) => box.left + (box.width * (seconds - view.start)) / (view.end - view.start);
  context.fillStyle = pageColor("faint");
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.fillText("100 %", box.left - 4, floor - tall + 5, GUTTER - 4);
  context.fillText("0", box.left - 4, floor - 5);
  context.fillStyle = pageColor("rule");
  context.fillRect(box.left, floor, box.width, 1);
  context.textAlign = "left";
  const seen = merged(segments, (NARROWEST * (view.end - view.start)) / box.width);
  for (const { start_seconds: start, end_seconds: end, emotion, confidence } of seen) {
    const left = Math.max(box.left, place(start)), right = Math.min(box.left + box.width, place(end));
    if (emotion === null || right <= left) continue;
    const wide = Math.max(1, right - left - 1);
    context.fillStyle = classColor(colors[emotion]);
    context.globalAlpha = 0.2;
    context.fillRect(left, floor - tall, wide, tall);
    context.globalAlpha = 1;
    context.fillRect(left, floor - tall * confidence, wide, tall * confidence);
    const labels = [`${emotion} ${Math.round(100 * confidence)} %`, emotion];
    const label = labels.find((text) => context.measureText(text).width < wide);
    context.fillStyle = pageColor("ink");
    if (label) context.fillText(label, left + 1, box.top + names / 2 + 2);
  }
}

function drawAxis(context, box, view) {
  const seconds = view.end - view.start;
  const step = STEPS.find((step) => (step / seconds) * box.width > 80) ?? 2 * STEPS.at(-1);
  context.fillStyle = pageColor("faint");
  context.textBaseline = "top";
  for (let k = Math.ceil(view.start / step); k * step <= view.end; k++) {
    const x = box.left + (box.width * (k * step - view.start)) / seconds;
    context.textAlign = x > box.left + box.width - 16 ? "right" : k === 0 ? "left" : "center";
    context.fillText(clock(k * step, step < 1 ? 1 : 0), x, box.top + 4);
  }
}

/** Return seconds as "1:02.5". */
export function clock(seconds, decimals = 1) {
  const ticks = Math.round(seconds * 10 ** decimals), minute = 60 * 10 ** decimals;
  const rest = ((ticks % minute) / 10 ** decimals).toFixed(decimals);
  return `${Math.floor(ticks / minute)}:${rest.padStart(decimals ? 3 + decimals : 2, "0")}`;
}
