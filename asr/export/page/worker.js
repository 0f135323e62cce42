// Samples -> text, in a worker, so that the page stays responsive.
import * as ort from "./ort.wasm.bundle.min.mjs";

const BLANK = 0;
const LONGEST_S = 60; // a longer recording is cut, at its quietest place in the last third
const QUIET_S = 0.1; // the stretch whose energy is compared

// Threads need headers that a plain host of files does not send.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: new URL("ort-wasm-simd-threaded.wasm", import.meta.url).href };

const model = await (await fetch("model.json")).json();
const session = await ort.InferenceSession.create("model.onnx", { executionProviders: ["wasm"] });
postMessage({ model });

onmessage = async ({ data: { id, samples } }) => {
  try {
    const started = performance.now(), texts = [];
    for (const piece of pieces(samples)) texts.push(await text(piece));
    const seconds = (performance.now() - started) / 1000;
    postMessage({ id, text: texts.filter(Boolean).join(" "), seconds });
  } catch (error) {
    postMessage({ id, fault: String(error.message || error) });
  }
};

function* pieces(samples) {
  const most = Math.round(LONGEST_S * model.rate_hz), step = Math.round(QUIET_S * model.rate_hz);
  while (samples.length > most) {
    let cut = most, least = Infinity;
    for (let at = Math.round(most * 2 / 3); at + step <= most; at += step) {
      let energy = 0;
      for (let i = at; i < at + step; i++) energy += samples[i] * samples[i];
      if (energy < least) [least, cut] = [energy, at + (step >> 1)];
    }
    yield samples.subarray(0, cut);
    samples = samples.subarray(cut);
  }
  if (samples.length) yield samples;
}

const int64 = (value) => new ort.Tensor("int64", BigInt64Array.of(BigInt(value)), [1]);

// The inputs of the graph; see asr/runtime/emitter.py.
function inputs(samples) {
  const waveform = new ort.Tensor("float32", samples, [1, samples.length]);
  return { samples: waveform, lengths: int64(samples.length) };
}

async function text(samples) {
  const { log_probs } = await session.run(inputs(samples), ["log_probs"]);
  const [, frames, vocabulary] = log_probs.dims, values = log_probs.data;
  let spoken = "", last = BLANK;
  for (let t = 0; t < frames; t++) {
    let best = 0;
    for (let k = 1; k < vocabulary; k++) {
      if (values[t * vocabulary + k] > values[t * vocabulary + best]) best = k;
    }
    if (best !== last && best !== BLANK) spoken += model.pieces[best];
    last = best;
  }
  return spoken.replaceAll(model.word_start, " ").split(/\s+/).filter(Boolean).join(" ");
}
