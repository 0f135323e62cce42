"use strict";
// This file is the script of the page, and also the module of the audio worklet that it starts.
const PACKET_S = 0.1; // of audio, sent at a time
const UNSURE = 0.5; // words with a lower confidence are marked
const MOST_WAITING = 1 << 20; // bytes that wait for the network before the recording is stopped

if (typeof AudioWorkletProcessor !== "undefined") {
  // Packets of 16-bit samples from the first channel of the microphone.
  registerProcessor("capture", class extends AudioWorkletProcessor {
    constructor() {
      super();
      this.packet = new Int16Array(Math.round(PACKET_S * sampleRate));
      this.filled = 0;
      this.port.onmessage = () => this.flush("end");
    }
    flush(kind) {
      this.port.postMessage({ kind, samples: this.packet.slice(0, this.filled) });
      this.filled = 0;
    }
    process([input]) {
      for (const value of input[0] || []) {
        this.packet[this.filled++] = Math.max(-1, Math.min(1, value)) * 32767;
        if (this.filled === this.packet.length) this.flush("packet");
      }
      return true;
    }
  });
} else {
  start();
}

function start() {
  const byId = (id) => document.getElementById(id);
  const segments = []; // {start_s, end_s, words: [{text, was, start_s, end_s, confidence}], right}
  let models = [], token = null, recording = null, upload = null;
  let recorded = null; // {name, blob, duration_s}: what the transcript was made of
  let chosen = null; // the word that was played or focused last
  let stopAt = null; // seconds: where the player pauses

  // Data is inserted as text, never as HTML.
  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }
  const say = (text) => { byId("status").textContent = text; };
  const fail = (text) => { byId("fault").textContent = text; };
  const clock = (seconds) => Math.floor(seconds / 60) + ":" + String(Math.floor(seconds % 60)).padStart(2, "0");
  const counted = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
  const model = () => models.find((one) => one.name === byId("model").value);
  const grammar = () => byId("grammar").value.trim();
  const keywords = () => byId("keywords").value.split(",").map((word) => word.trim()).filter(Boolean);

  // ---- requests

  async function request(path, options = {}) {
    const headers = { ...options.headers, ...(token ? { Authorization: "Bearer " + token } : {}) };
    let answer;
    try {
      answer = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer.");
    }
    if (answer.status === 401) askForToken(token ? "The server refused this token." : "");
    if (!answer.ok) {
      const body = await answer.json().catch(() => null);
      throw new Error(body?.error?.message || `The server answered ${answer.status} ${answer.statusText}.`);
    }
    return answer;
  }

  function askForToken(refusal) {
    token = null;
    sessionStorage.removeItem("token");
    byId("sign-in").hidden = false;
    byId("refused").textContent = refusal;
    byId("token").focus();
  }

  byId("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    token = byId("token").value;
    load();
  });

  async function load() {
    try {
      const settings = await (await request("page/settings")).json();
      models = settings.models;
      byId("model").replaceChildren(...models.map((one) =>
        make("option", { value: one.name }, one.name + (one.language ? ` (${one.language})` : ""))));
      byId("training").hidden = !settings.corrections;
      if (token) sessionStorage.setItem("token", token);
      byId("sign-in").hidden = true;
      fail("");
      describeModel();
      byId("record").disabled = !(window.isSecureContext && navigator.mediaDevices);
    } catch (error) {
      if (byId("sign-in").hidden) fail(error.message);
    }
  }

  function describeModel() {
    const hints = [];
    if (!(window.isSecureContext && navigator.mediaDevices))
      hints.push("Browsers allow the microphone only on localhost or over HTTPS. Open this page as http://localhost "
        + "on the server itself, or start the server with a certificate.");
    if (model() && !model().streaming)
      hints.push("This model reads whole utterances, so live text appears at each pause.");
    byId("microphone").textContent = hints.join(" ");
    byId("microphone").hidden = !hints.length;
  }
  byId("model").addEventListener("change", describeModel);

  // ---- recording

  byId("record").addEventListener("click", () => recording ? stopRecording() : record());

  async function record() {
    clear();
    byId("record").disabled = true;
    say("Waiting for the microphone…");
    const started = { samples: [], count: 0, stopping: false, ended: false, finished: false };
    try {
      started.media = await navigator.mediaDevices.getUserMedia(
        { audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false } });
      started.context = new AudioContext();
      await started.context.audioWorklet.addModule("page.js");
      started.socket = await connect(started.context.sampleRate);
    } catch (error) {
      release(started);
      byId("record").disabled = false;
      say("");
      fail(error.name === "NotAllowedError" ? "The browser does not allow this page to use the microphone."
        : error.name === "NotFoundError" ? "There is no microphone." : error.message);
      return;
    }
    recording = started;
    const capture = started.capture = new AudioWorkletNode(started.context, "capture", { numberOfOutputs: 0 });
    capture.port.onmessage = ({ data }) => hear(started, data);
    started.context.createMediaStreamSource(started.media).connect(capture);
    started.socket.onmessage = ({ data }) => answered(started, JSON.parse(data));
    started.socket.onclose = (event) =>
      finishRecording(started, event.reason || `The server closed the connection (${event.code}).`);
    setRecording(true);
    say("Recording.");
  }

  // A WebSocket that is ready for samples.
  function connect(rate_hz) {
    const address = new URL("live", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    return new Promise((resolve, reject) => {
      const refuse = (text) => reject(new Error(text || "The server refused the connection."));
      socket.onopen = () => socket.send(JSON.stringify(
        { type: "start", model: byId("model").value, rate_hz, keywords: keywords(), grammar: grammar(), token }));
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === "ready") resolve(socket);
        else refuse(message.message);
      };
      socket.onclose = (event) => refuse(event.reason);
    });
  }

  function hear(one, { kind, samples }) {
    if (one.finished || one.ended) return;
    one.ended = kind === "end";
    one.samples.push(samples);
    one.count += samples.length;
    if (one.socket.readyState === WebSocket.OPEN) {
      one.socket.send(samples.buffer);
      if (one.ended) one.socket.send(JSON.stringify({ type: "end" }));
      else if (one.socket.bufferedAmount > MOST_WAITING) {
        fail("The network is too slow for this recording; it was stopped.");
        stopRecording();
      }
    }
    if (!one.stopping) say("Recording, " + clock(one.count / one.context.sampleRate) + ".");
  }

  function answered(one, message) {
    if (message.type === "partial") {
      byId("stable").textContent = message.stable;
      byId("unstable").textContent = message.unstable;
    } else if (message.type === "utterance") {
      if (message.words.length) addSegment(message);
      else if (message.command) addRefusal(message);
    } else if (message.type === "done") finishRecording(one, "");
    else if (message.type === "error") finishRecording(one, message.message);
  }

  function stopRecording() {
    const one = recording;
    if (!one || one.stopping) return;
    one.stopping = true;
    for (const track of one.media.getTracks()) track.stop();
    byId("record").disabled = true;
    say("Finishing…");
    one.capture.port.postMessage("end");
  }

  function finishRecording(one, fault) {
    if (one.finished) return;
    one.finished = true;
    if (fault) fail(fault);
    const rate = one.context.sampleRate;
    release(one);
    recording = null;
    setRecording(false);
    for (const id of ["stable", "unstable"]) byId(id).textContent = "";
    if (one.count) setAudio("recording.wav", wav(one.samples, rate), one.count / rate);
    summarize();
  }

  function release(one) {
    if (one.socket) one.socket.onclose = null;
    one.socket?.close();
    for (const track of one.media?.getTracks() || []) track.stop();
    one.context?.close();
  }

  function setRecording(on) {
    byId("record").textContent = on ? "Stop" : "Record";
    byId("record").classList.toggle("live", on);
    byId("record").disabled = false;
    for (const id of ["model", "keywords", "grammar", "file"]) byId(id).disabled = on;
  }

  // A WAV file of mono 16-bit samples.
  function wav(packets, rate) {
    const count = packets.reduce((sum, packet) => sum + packet.length, 0);
    const header = new DataView(new ArrayBuffer(44));
    const text = (at, letters) => [...letters].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
    text(0, "RIFF"); header.setUint32(4, 36 + 2 * count, true); text(8, "WAVEfmt ");
    header.setUint32(16, 16, true); header.setUint16(20, 1, true); header.setUint16(22, 1, true);
    header.setUint32(24, rate, true); header.setUint32(28, 2 * rate, true);
    header.setUint16(32, 2, true); header.setUint16(34, 16, true);
    text(36, "data"); header.setUint32(40, 2 * count, true);
    return new Blob([header, ...packets], { type: "audio/wav" });
  }

  // ---- files

  byId("file").addEventListener("change", (event) => {
    if (event.target.files.length) transcribe(event.target.files[0]);
    event.target.value = "";
  });
  let depth = 0; // dragenter and dragleave come for each element below the page
  document.addEventListener("dragenter", () => { depth++; document.body.classList.add("dragging"); });
  document.addEventListener("dragleave", () => { if (!--depth) document.body.classList.remove("dragging"); });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    document.body.classList.remove("dragging");
    if (event.dataTransfer.files.length && !recording) transcribe(event.dataTransfer.files[0]);
  });
  byId("cancel").addEventListener("click", () => upload?.abort());

  async function transcribe(file) {
    clear();
    upload?.abort();
    const mine = upload = new AbortController();
    const body = new FormData();
    body.append("model", byId("model").value);
    body.append("response_format", "verbose_json");
    for (const kind of ["word", "segment"]) body.append("timestamp_granularities[]", kind);
    for (const word of keywords()) body.append("keywords[]", word);
    if (grammar()) body.append("grammar", grammar());
    body.append("file", file, file.name);
    byId("cancel").hidden = false;
    byId("record").disabled = true;
    say(`Transcribing ${file.name}…`);
    try {
      const found = await (await request("v1/audio/transcriptions",
        { method: "POST", body, signal: mine.signal })).json();
      setAudio(file.name, file, found.duration);
      addAll(found);
      summarize();
    } catch (error) {
      if (upload === mine) say(error.name === "AbortError" ? "Canceled." : "");
      if (error.name !== "AbortError") fail(`${file.name}: ${error.message}`);
    } finally {
      if (upload === mine) {
        upload = null;
        byId("cancel").hidden = true;
        byId("record").disabled = !(window.isSecureContext && navigator.mediaDevices);
      }
    }
  }

  // The words of an answer come in one list; each segment takes the words of its text.
  function addAll(found) {
    let at = 0;
    for (const segment of found.segments) {
      const count = segment.text.split(/\s+/).filter(Boolean).length;
      const words = found.words.slice(at, at += count).map((word) =>
        ({ text: word.word, start_s: word.start, end_s: word.end, confidence: word.confidence ?? 1 }));
      const { start: start_s, end: end_s, command } = segment;
      if (words.length) addSegment({ start_s, end_s, words, command });
      else if (command) addRefusal({ start_s, command });
    }
  }

  // ---- the transcript

  function clear() {
    segments.length = 0;
    chosen = recorded = null;
    for (const id of ["segments", "heard", "stable", "unstable", "fault"]) byId(id).replaceChildren();
    byId("tools").hidden = byId("keys").hidden = true;
    URL.revokeObjectURL(byId("player").src);
    byId("player").removeAttribute("src");
    choose(null);
    countRight();
  }

  function setAudio(name, blob, duration_s) {
    recorded = { name, blob, duration_s };
    byId("player").src = URL.createObjectURL(blob);
  }

  function summarize() {
    const words = segments.reduce((sum, segment) => sum + segment.words.length, 0);
    say(words ? `${counted(words, "word")} in ${counted(segments.length, "utterance")}.` : "No speech was recognized.");
    byId("tools").hidden = !recorded;
    byId("keys").hidden = !words;
  }

  // What the grammar refused has no words.
  function addRefusal({ start_s, command }) {
    const text = `Refused; it sounds most like “${command.text}”.`;
    byId("segments").append(make("li", {}, make("span", { className: "at" }, clock(start_s)),
      make("span", { className: "hint" }, text)));
    byId("heard").append(make("p", {}, text));
  }

  // The intent and the slots of a command, such as: Light, room: kitchen
  function meaning({ intent, slots }) {
    const values = Object.entries(slots).map(([name, value]) => `${name}: ${value}`);
    return [intent, ...values].filter(Boolean).join(", ");
  }

  function addSegment({ start_s, end_s, words, command }) {
    const segment = { start_s, end_s, right: false, words: words.map((word) => ({ ...word, was: word.text })) };
    segments.push(segment);
    const right = make("input", { type: "checkbox", onchange: () => { segment.right = right.checked; countRight(); } });
    segment.box = right;
    const list = make("div", { className: "words" });
    for (const word of segment.words) {
      word.segment = segment;
      word.button = make("button", { type: "button", className: "word", tabIndex: -1 });
      word.button.addEventListener("click", () => { choose(word); play(word); });
      word.button.addEventListener("focus", () => choose(word));
      word.button.addEventListener("keydown", (event) => keyOn(word, event));
      list.append(word.button);
      describe(word);
    }
    const text = words.map((word) => word.text).join(" ");
    if (command && meaning(command)) list.append(make("span", { className: "hint" }, " " + meaning(command)));
    byId("segments").append(make("li", {}, make("span", { className: "at" }, clock(start_s)), list,
      make("label", { className: "right" }, right, "right", make("span", { className: "unseen" }, ": " + text))));
    byId("segments").lastChild.lastChild.hidden = byId("training").hidden;
    byId("heard").append(make("p", {}, text));
    if (segments.length === 1) segment.words[0].button.tabIndex = 0;
  }

  function describe(word) {
    const fixed = word.text !== word.was;
    word.button.className = "word" + (fixed ? " fixed" : word.confidence < UNSURE ? " unsure" : "")
      + (word.text ? "" : " removed") + (word === chosen ? " chosen" : "");
    const more = !word.text ? ", removed" : fixed ? `, corrected from ${word.was}`
      : word.confidence < UNSURE ? `, confidence ${Math.round(100 * word.confidence)}%` : "";
    word.button.replaceChildren(word.text || word.was, make("span", { className: "unseen" }, more));
  }

  function choose(word) {
    if (chosen) {
      chosen.button.classList.remove("chosen");
      if (word) chosen.button.tabIndex = -1;
    }
    chosen = word;
    if (word) {
      word.button.classList.add("chosen");
      word.button.tabIndex = 0;
    }
    byId("selected").textContent = !word ? "No word is selected."
      : `“${word.text || word.was}”, ${word.start_s.toFixed(2)} s, ` + (!word.text ? "removed"
        : word.text !== word.was ? `corrected from “${word.was}”` : `confidence ${Math.round(100 * word.confidence)}%`);
    byId("hear").disabled = byId("correct").disabled = !word;
  }

  function keyOn(word, event) {
    const words = segments.flatMap((segment) => segment.words);
    const lines = segments.indexOf(word.segment);
    const line = (n) => segments[Math.max(0, Math.min(segments.length - 1, n))].words[0];
    const at = words.indexOf(word);
    const target = { ArrowRight: words[at + 1], ArrowLeft: words[at - 1], ArrowDown: line(lines + 1),
      ArrowUp: line(lines - 1), Home: words[0], End: words.at(-1) }[event.key];
    if (event.key === "F2") edit(word);
    else if (target && !event.ctrlKey && !event.metaKey && !event.altKey) target.button.focus();
    else return;
    event.preventDefault();
  }

  function edit(word) {
    const field = make("input", { className: "word-field", value: word.text, size: Math.max(4, word.text.length),
      autocomplete: "off" });
    field.setAttribute("aria-label", `Correct “${word.was}”`);
    let open = true;
    const close = (keep) => {
      if (!open) return;
      open = false;
      if (keep) change(word, field.value.split(/\s+/).filter(Boolean).join(" "));
      const focused = document.activeElement === field;
      field.replaceWith(word.button);
      if (focused) word.button.focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "Escape") {
        event.preventDefault();
        close(event.key === "Enter");
      }
    });
    field.addEventListener("blur", () => close(true));
    word.button.replaceWith(field);
    field.focus();
    field.select();
  }

  function change(word, text) {
    if (text === word.text) return;
    word.text = text;
    word.segment.right = word.segment.box.checked = true;
    describe(word);
    choose(word);
    countRight();
    say(text ? `“${word.was}” was corrected to “${text}”.` : `“${word.was}” was removed.`);
  }

  byId("hear").addEventListener("click", () => play(chosen));
  byId("correct").addEventListener("click", () => edit(chosen));

  // ---- playing

  const player = byId("player");
  function play(word) {
    if (!player.src) {
      say("Words can be heard once the recording has stopped.");
      return;
    }
    stopAt = Math.max(word.end_s + 0.05, word.start_s + 0.25);
    player.currentTime = Math.max(0, word.start_s - 0.05);
    player.play().catch((error) => { if (error.name !== "AbortError") fail("The browser cannot play this recording."); });
    requestAnimationFrame(follow);
  }
  function follow() {
    const now = player.currentTime;
    if (stopAt !== null && now >= stopAt) {
      player.pause();
      stopAt = null;
    }
    for (const segment of segments)
      for (const word of segment.words)
        word.button.classList.toggle("now", !player.paused && word.start_s <= now && now < word.end_s);
    if (!player.paused) requestAnimationFrame(follow);
  }
  player.addEventListener("play", () => requestAnimationFrame(follow));
  player.addEventListener("pause", follow);
  player.addEventListener("error", () => {
    if (player.getAttribute("src")) fail("The browser cannot play this recording; the transcript is not affected.");
  });

  // ---- downloads and training data

  const texts = () => segments.map((segment) => ({ start_s: segment.start_s, end_s: segment.end_s,
    words: segment.words.filter((word) => word.text).map(({ text, start_s, end_s, confidence, was }) =>
      ({ text, start_s, end_s, confidence: text === was ? confidence : 1 })) }));

  for (const button of document.querySelectorAll("[data-format]"))
    button.addEventListener("click", () => download(button.dataset.format));

  async function download(format) {
    try {
      const body = JSON.stringify({ audio: recorded.name, duration_s: recorded.duration_s, segments: texts() });
      const answer = await request("page/export?format=" + format,
        { method: "POST", body, headers: { "Content-Type": "application/json" } });
      const link = make("a", { href: URL.createObjectURL(await answer.blob()),
        download: recorded.name.replace(/\.[^.]*$/, "") + "." + format });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      say(`${link.download} was downloaded.`);
    } catch (error) {
      fail(error.message);
    }
  }

  function countRight() {
    const right = segments.filter((segment) => segment.right).length;
    byId("save").textContent = "Save " + counted(right, "utterance");
    byId("save").disabled = !right;
  }

  byId("save").addEventListener("click", async () => {
    const rows = segments.filter((segment) => segment.right).map((segment) => ({
      start_s: segment.start_s, end_s: segment.end_s,
      text: segment.words.map((word) => word.text).filter(Boolean).join(" "),
    }));
    const body = new FormData();
    body.append("utterances", JSON.stringify(rows));
    body.append("model", byId("model").value);
    body.append("speaker", byId("speaker").value.trim());
    body.append("file", recorded.blob, recorded.name);
    byId("save").disabled = true;
    try {
      const { saved, manifest } = await (await request("page/corrections", { method: "POST", body })).json();
      say(`${counted(saved, "utterance")} saved in ${manifest} on the server.`);
      fail("");
    } catch (error) {
      fail(error.message);
    }
    countRight();
  });

  token = sessionStorage.getItem("token");
  load();
}
