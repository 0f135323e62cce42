const byId = (id) => document.getElementById(id);
const say = (text) => { byId("status").textContent = text; };
const fail = (text) => { byId("fault").textContent = text; };
const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map(); // id: the functions of a promise
let rate_hz = 0, recording = null, count = 0;

worker.onerror = () => fail("The model cannot be loaded. Serve the folder over HTTP; a page opened as a file may not read it.");
worker.onmessage = ({ data }) => {
  if (data.model) return ready(data.model);
  const { resolve, reject } = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.fault) reject(new Error(data.fault));
  else resolve(data);
};

function ready(model) {
  rate_hz = model.rate_hz;
  byId("model").textContent = model.name;
  byId("record").disabled = byId("file").disabled = false;
  say("Ready");
}

function compute(samples) {
  return new Promise((resolve, reject) => {
    waiting.set(++count, { resolve, reject });
    worker.postMessage({ id: count, samples }, [samples.buffer]);
  });
}

async function transcribe(name, samples) {
  const duration_s = samples.length / rate_hz;
  say(`Transcribing ${name}`);
  const { text, seconds } = await compute(samples);
  const heading = Object.assign(document.createElement("p"), { className: "hint", textContent: name });
  const words = Object.assign(document.createElement("p"), { className: "text", textContent: text || "(no words)" });
  const item = document.createElement("li");
  item.append(heading, words);
  byId("texts").append(item);
  say(`${name}: ${duration_s.toFixed(1)} s of audio in ${seconds.toFixed(2)} s`);
}

// The mean of the channels, at the rate of the model.
async function decoded(file) {
  const context = new OfflineAudioContext(1, 1, rate_hz);
  const buffer = await context.decodeAudioData(await file.arrayBuffer());
  const samples = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    buffer.getChannelData(channel).forEach((value, i) => { samples[i] += value / buffer.numberOfChannels; });
  }
  return samples;
}

async function files(list) {
  fail("");
  for (const file of list) {
    try {
      await transcribe(file.name, await decoded(file));
    } catch (error) {
      say("");
      fail(`${file.name}: ${error.name === "EncodingError" ? "this browser cannot decode it" : error.message}`);
    }
  }
}

async function start() {
  fail("");
  const media = await navigator.mediaDevices.getUserMedia({ audio: true });
  const context = new AudioContext({ sampleRate: rate_hz });
  await context.audioWorklet.addModule("capture.js");
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  recording = { media, context, packets: [] };
  capture.port.onmessage = ({ data }) => recording?.packets.push(data);
  context.createMediaStreamSource(media).connect(capture);
  byId("record").textContent = "Stop";
  byId("record").classList.add("live");
  say("Recording");
}

async function stop() {
  const { media, context, packets } = recording;
  recording = null;
  media.getTracks().forEach((track) => track.stop());
  await context.close();
  byId("record").textContent = "Record";
  byId("record").classList.remove("live");
  const samples = new Float32Array(packets.reduce((sum, packet) => sum + packet.length, 0));
  let at = 0;
  for (const packet of packets) {
    samples.set(packet, at);
    at += packet.length;
  }
  await transcribe("Microphone", samples);
}

byId("record").onclick = async () => {
  byId("record").disabled = true;
  try {
    await (recording ? stop() : start());
  } catch (error) {
    fail(`Microphone: ${error.message}`);
  }
  byId("record").disabled = false;
};
byId("file").onchange = async ({ target }) => {
  await files([...target.files]);
  target.value = "";
};
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
};
document.ondragleave = () => document.body.classList.remove("dragging");
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  if (rate_hz) files([...event.dataTransfer.files]);
};
