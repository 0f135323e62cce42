// The audio worklet of page.js: it passes on the samples of the microphone.
registerProcessor("capture", class extends AudioWorkletProcessor {
  process([input]) {
    if (input.length) this.port.postMessage(input[0].slice());
    return true;
  }
});
