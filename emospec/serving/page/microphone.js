// The microphone: its 16-bit samples as they come, and one WAV file of them in memory at the end.

import { Trouble } from "./server.js";

const RATE = 16000; // Hz, the model's own

/**
 * Start recording. `onBlock(samples, peakDb, seconds)` is called with each block, an Int16Array, its peak relative to
 * full scale and the length so far. Returns { sampleRate, stop, release }: stop ends the recording and returns the WAV
 * file, release only closes the microphone.
 */
export async function record(onBlock) {
  if (!navigator.mediaDevices) {
    throw new Trouble("insecure", "The browser lends its microphone to secure pages only.",
      "Open the page at localhost, or serve it over https.");
  }
  const plain = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
  } catch (error) {
    throw error.name === "NotAllowedError"
      ? new Trouble("denied", "The page may not use the microphone.", "Allow it in the browser's address bar.")
      : new Trouble("no_microphone", `There is no microphone to record from (${error.name}).`,
        "Plug one in, or choose a file.");
  }
  const [context, source] = sourceOf(stream);
  const release = () => {
    stream.getTracks().forEach((track) => track.stop());
    return context.close();
  };
  try {
    return { ...await recordFrom(context, source, onBlock, release), release };
  } catch (error) {
    release();
    throw error;
  }
}

async function recordFrom(context, source, onBlock, release) {
  const blocks = [];
  let length = 0;
  await context.audioWorklet.addModule(new URL("recorder.js", import.meta.url));
  const mono = { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" };
  const node = new AudioWorkletNode(context, "recorder", mono);
  const ended = new Promise((resolve) => {
    node.port.onmessage = ({ data }) => {
      if (data === null) return resolve();
      const samples = Int16Array.from(data, (x) => Math.max(-32768, Math.min(32767, Math.round(32768 * x))));
      const peak = data.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-4);
      blocks.push(samples);
      length += samples.length;
      onBlock(samples, 20 * Math.log10(peak), length / context.sampleRate);
    };
  });
  source.connect(node);
  // Some browsers start it suspended.
  await context.resume();
  async function stop() {
    node.port.postMessage("end");
    await ended;
    await release();
    return wavOf(blocks, length, context.sampleRate);
  }
  return { sampleRate: context.sampleRate, stop };
}

/** Return a context at the model's rate, or at the microphone's if the browser does not resample it, and its source. */
function sourceOf(stream) {
  const context = new AudioContext({ sampleRate: RATE });
  try {
    return [context, context.createMediaStreamSource(stream)];
  } catch {
    context.close();
    const native = new AudioContext();
    return [native, native.createMediaStreamSource(stream)];
  }
}

function wavOf(blocks, length, sampleRate) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * length, true); text(8, "WAVEfmt ");
  // The size of the format, and the format: PCM, mono, rate, bytes a second, bytes a frame, bits a sample.
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); view.setUint16(22, 1, true); view.setUint32(24, sampleRate, true);
  view.setUint32(28, 2 * sampleRate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * length, true);
  const name = `recording-${new Date().toTimeString().slice(0, 8).replaceAll(":", "-")}.wav`;
  return new File([view, ...blocks], name, { type: "audio/wav" });
}
