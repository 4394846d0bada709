// The AudioWorklet processor that sends mono samples of the microphone to the page, in blocks.

const BLOCK_SAMPLES = 2048; // a multiple of the 128 that come at a time

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(BLOCK_SAMPLES);
    this.filled = 0;
    this.ended = false;
    this.port.onmessage = () => this.end();
  }

  process([[channel]]) {
    if (this.ended) return false;
    if (channel) {
      this.block.set(channel, this.filled);
      this.filled += channel.length;
      if (this.filled === BLOCK_SAMPLES) this.send();
    }
    return true;
  }

  send() {
    this.port.postMessage(this.block.slice(0, this.filled));
    this.filled = 0;
  }

  end() {
    this.send();
    this.port.postMessage(null);
    this.ended = true;
  }
}

registerProcessor("recorder", Recorder);
