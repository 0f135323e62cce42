"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const PER_PAGE = 50;
const byId = (id) => document.getElementById(id);

// Data is inserted as text, never as HTML.
function make(tag, attributes, ...children) {
  const svg = ["svg", "rect", "line", "circle", "text", "title", "path"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "on") for (const [event, call] of Object.entries(value)) element.addEventListener(event, call);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
const percent = (share, digits = 2) =>
  share === null || share === undefined ? "–" : (100 * share).toFixed(digits) + "%";
const interval = (ends) => percent(ends[0]) + " to " + percent(ends[1]);

// ---- figures

const f = data.figures;
byId("headline").append("WER " + percent(f.wer) + " ",
  make("small", {}, "95% interval " + interval(f.wer_interval_95) + ", bootstrap over " + f.resampled));
for (const [name, value] of [
  ["CER", percent(f.cer)], ["MER", percent(f.mer)], ["WIL", percent(f.wil)],
  ["words", f.words.reference], ["substituted", f.words.substitutions],
  ["deleted", f.words.deletions], ["inserted", f.words.insertions],
  ["utterances", f.utterances + ", " + f.utterances_wrong + " with an error"],
  ["normalization", f.normalization],
]) if (value !== undefined) byId("figures").append(make("div", {}, make("dt", {}, name), make("dd", {}, String(value))));

const notes = (f.issues || []).map((issue) => [issue.is_error, `${issue.ids.length} ${issue.description}: `
  + issue.ids.slice(0, 5).join(", ") + (issue.ids.length > 5 ? ", …" : "")]);
if (f.against) notes.push([false, `Compared with ${f.against.sources[1]}: ${f.against.verdict}`]);
if (f.vocabulary) notes.push([false, `${percent(f.vocabulary.share)} of the reference words are out of vocabulary; `
  + `${f.vocabulary.unknown_errors} of those ${f.vocabulary.unknown} words are wrong.`]);
for (const [isError, text] of notes)
  byId("notes").append(make("li", { class: isError ? "fault" : null }, (isError ? "Attention: " : "") + text));

function bars(title, caption, bins, unit) {
  const width = 360, height = 150, left = 34, bottom = 24;
  const most = Math.max(1e-9, ...bins.map((bin) => bin.value));
  const step = (width - left) / Math.max(1, bins.length);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": title + ": " + bins.map((b) => b.label + " " + b.shown).join(", ") });
  svg.append(make("line", { class: "axis", x1: left, x2: width, y1: height - bottom, y2: height - bottom }),
    make("text", { x: left - 4, y: 12, "text-anchor": "end" }, unit(most)));
  bins.forEach((bin, i) => {
    const tall = (bin.value / most) * (height - bottom - 6);
    svg.append(make("rect", { class: "bar", x: left + i * step + 2, width: Math.max(1, step - 4),
      y: height - bottom - tall, height: tall }, make("title", {}, bin.label + ": " + bin.shown)),
      make("text", { x: left + (i + 0.5) * step, y: height - 8, "text-anchor": "middle" }, bin.label));
  });
  byId("pictures").append(make("figure", {}, make("h3", {}, title), svg, make("figcaption", {}, caption)));
}

const rates = data.utterances.filter((u) => u.wer !== null);
const edges = [0, 0.1, 0.2, 0.3, 0.5, 0.75, 1];
const counted = edges.map((_, i) => rates.filter((u) => i === 0 ? u.wer === 0
  : u.wer > edges[i - 1] && u.wer <= edges[i]).length);
counted.push(rates.filter((u) => u.wer > 1).length);
bars("Utterances by WER", "The number of utterances in each range of WER.",
  counted.map((value, i) => ({ value, shown: value + " utterances",
    label: i === 0 ? "0" : i === edges.length ? ">100" : "≤" + Math.round(100 * edges[i]) })), (n) => String(Math.round(n)));

const timed = data.utterances.filter((u) => u.duration_s !== null);
if (timed.length > 1) {
  const limits = [1, 2, 3, 5, 8, 12, 20, Infinity];
  const groups = limits.map((limit, i) => timed.filter((u) => u.duration_s <= limit && u.duration_s > (limits[i - 1] || 0)));
  bars("Utterances by duration", "The number of utterances in each range of duration, in seconds.",
    groups.map((group, i) => ({ value: group.length, shown: group.length + " utterances",
      label: limits[i] === Infinity ? ">20" : "≤" + limits[i] })), (n) => String(Math.round(n)));
  bars("WER by duration", "The WER of the utterances in each range of duration, in seconds.",
    groups.map((group, i) => {
      const words = group.reduce((n, u) => n + u.words, 0);
      const errors = group.reduce((n, u) => n + u.errors, 0);
      const value = words ? errors / words : 0;
      return { value, shown: words ? percent(value, 1) + ` of ${words} words` : "none",
        label: limits[i] === Infinity ? ">20" : "≤" + limits[i] };
    }), (share) => percent(share, 0));
}
if (data.calibration) {
  const size = 180, left = 46, bottom = 24, span = size - left - 6;
  const svg = make("svg", { viewBox: `0 0 ${2 * size} ${size}`, role: "img", "aria-label":
    "Confidence: " + data.calibration.bins.map((b) => `of words with confidence ${percent(b.confidence, 0)}, ${percent(b.right, 0)} are correct`).join("; ") });
  const x = (share) => left + share * (2 * size - left - 6), y = (share) => size - bottom - share * (span - 0);
  svg.append(make("line", { class: "axis", x1: x(0), x2: x(1), y1: y(0), y2: y(0) }),
    make("line", { class: "axis", x1: x(0), x2: x(0), y1: y(0), y2: y(1) }),
    make("line", { class: "ideal", x1: x(0), x2: x(1), y1: y(0), y2: y(1) }));
  for (const share of [0, 0.5, 1]) svg.append(
    make("text", { x: x(share), y: size - 8, "text-anchor": share === 1 ? "end" : "middle" }, percent(share, 0)),
    make("text", { x: left - 4, y: y(share) + 4, "text-anchor": "end" }, percent(share, 0)));
  const most = Math.max(...data.calibration.bins.map((bin) => bin.words));
  for (const bin of data.calibration.bins) svg.append(make("circle", { class: "bar", cx: x(bin.confidence), cy: y(bin.right),
    r: 3 + 7 * Math.sqrt(bin.words / most) }, make("title", {},
    `${bin.words} words with confidence ${percent(bin.confidence, 1)}: ${percent(bin.right, 1)} are correct`)));
  byId("pictures").append(make("figure", {}, make("h3", {}, "Confidence"), svg, make("figcaption", {},
    `Horizontal: word confidence; vertical: the fraction of those words that are correct. A perfectly calibrated model lies on the dashed line. Expected calibration error ${percent(data.calibration.expected_error, 1)}.`)));
}

function table(title, heads, rows) {
  if (!rows.length) return;
  byId("tables").append(make("div", { class: heads.length > 2 ? "box wide" : "box" }, make("h3", {}, title), make("div", { class: "scroll short",
    ...(rows[0][0] instanceof Node ? {} : { tabindex: "0", role: "region", "aria-label": title }) }, make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((head, i) => make("th", { scope: "col", class: i ? "n" : "" }, head)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell, i) => make("td", { class: i ? "n" : "" }, cell instanceof Node ? cell : String(cell))))))))));
}
// A click lists the utterances that have this error or belong to this group.
const only = (name, has) => make("button", { type: "button", class: "row only", on: { click: () => {
  chosen = { name, has };
  byId("find").value = "";
  choose();
  byId("utterances").scrollIntoView();
  focusRow(0);
} } }, name);
const errorButton = (ref, hyp) => only(errorName(ref, hyp), (u) => u.steps.some((step) => step[0] === ref && step[1] === hyp));
// Each word is isolated, so that two words of Hebrew stay on their sides of the arrow.
const isolated = (word) => `\u2068${word}\u2069`;
const errorName = (ref, hyp) => ref === null ? hyp : hyp === null ? ref : isolated(ref) + " → " + isolated(hyp);
const wrong = data.confusions;
table("Substituted", ["reference → hypothesis", "count"], wrong.substitutions.map(([a, b, n]) => [errorButton(a, b), n]));
table("Deleted", ["word", "count"], wrong.deletions.map(([a, n]) => [errorButton(a, null), n]));
table("Inserted", ["word", "count"], wrong.insertions.map(([b, n]) => [errorButton(null, b), n]));
for (const [column, groups] of Object.entries(f.by || {}))
  table("By " + column, [column, "words", "WER", "95% interval", "CER"], Object.entries(groups).map(([label, s]) =>
    [only(label, (u) => u.groups[column] === label), s.words.reference, percent(s.wer), interval(s.wer_interval_95), percent(s.cer)]));

// ---- utterances

const COLUMNS = [
  ["id", "id", (u) => u.id, ""], ["speaker", "speaker", (u) => u.speaker || "", "hide"],
  ["errors", "errors", (u) => u.errors, "n"], ["words", "words", (u) => u.words, "n"],
  ["wer", "WER", (u) => (u.wer === null ? Infinity : u.wer), "n"],
  ["duration_s", "seconds", (u) => u.duration_s || 0, "n hide"],
];
const hypothesis = (u) => u.steps.map((step) => step[1]).filter(Boolean).join(" ");
const texts = data.utterances.map((u) =>
  (u.id + " " + (u.speaker || "") + " " + u.steps.map((s) => (s[0] || "") + " " + (s[1] || "")).join(" ")).toLowerCase());
let sorted = "errors", descending = true, first = 0, shown = [], chosen = null;

function choose() {
  const needle = byId("find").value.trim().toLowerCase(), wrong = byId("wrong").checked;
  const key = COLUMNS.find((column) => column[0] === sorted)[2];
  shown = data.utterances.map((u, i) => i)
    .filter((i) => (!wrong || data.utterances[i].errors) && (!needle || texts[i].includes(needle))
      && (!chosen || chosen.has(data.utterances[i])));
  byId("chosen").replaceChildren(...(chosen ? [make("button", { type: "button", class: "chip", on: { click: () => {
    chosen = null;
    choose();
    byId("find").focus();
  } } }, `✕ only ${chosen.name}`)] : []));
  shown.sort((a, b) => {
    const x = key(data.utterances[a]), y = key(data.utterances[b]);
    return ((x > y) - (x < y)) * (descending ? -1 : 1) || a - b;
  });
  first = 0;
  draw();
}

function draw() {
  const head = document.querySelector("#list thead tr");
  head.replaceChildren(...COLUMNS.map(([name, label, , kind]) => make("th", { scope: "col", class: kind,
    "aria-sort": name === sorted ? (descending ? "descending" : "ascending") : null },
    make("button", { type: "button", "data-sort": name, on: { click: () => {
      descending = name === sorted ? !descending : !["id", "speaker"].includes(name);
      sorted = name;
      choose();
      head.querySelector(`[data-sort="${name}"]`).focus();
    } } }, label))), make("th", { scope: "col", class: "preview" }, "hypothesis"));
  document.querySelector("#list tbody").replaceChildren(...shown.slice(first, first + PER_PAGE).map((i) => line(data.utterances[i])));
  const last = Math.min(shown.length, first + PER_PAGE);
  byId("count").textContent = shown.length
    ? `${first + 1} to ${last} of ${shown.length} utterances` : "No utterance matches.";
  const go = (to) => () => { first = to; draw(); focusRow(0); };
  byId("pages").replaceChildren(
    make("button", { type: "button", disabled: first === 0 ? "" : null, on: { click: go(Math.max(0, first - PER_PAGE)) } }, "Previous"),
    make("button", { type: "button", disabled: last >= shown.length ? "" : null, on: { click: go(first + PER_PAGE) } }, "Next"));
}

function line(u) {
  const button = make("button", { type: "button", class: "row", "aria-expanded": "false" }, u.id);
  const row = make("tr", {}, make("td", {}, button), make("td", { class: "hide" }, u.speaker || ""),
    make("td", { class: "n" }, String(u.errors)), make("td", { class: "n" }, String(u.words)),
    make("td", { class: "n" }, percent(u.wer, 1)),
    make("td", { class: "n hide" }, u.duration_s === null ? "" : u.duration_s.toFixed(1)),
    make("td", { class: "preview", dir: "auto" }, hypothesis(u)));
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    row.classList.toggle("open", !open);
    if (open) row.nextElementSibling.remove();
    else row.after(make("tr", { class: "details" }, make("td", { colspan: COLUMNS.length + 1 }, ...details(u))));
  });
  return row;
}

function details(u) {
  let player = null, before = u.start_s;
  const failed = make("span", { class: "fault", role: "status" });
  if (u.source) {
    player = make("audio", { controls: "", preload: "none", src: u.source, "aria-label": "Recording of " + u.id });
    player.addEventListener("timeupdate", () => {
      const now = player.currentTime + u.source_start_s;
      steps.querySelectorAll("[data-start]").forEach((word) =>
        word.classList.toggle("now", !player.paused && now >= word.dataset.start && now < word.dataset.end));
    });
    player.addEventListener("error", () => failed.textContent = u.source.startsWith("data:")
      ? "This browser cannot play the recording." : "The recording cannot be played from " + decodeURI(u.source) + ".");
  }
  const timed = u.steps.some((step) => step[2] !== null);
  const steps = make("div", { class: "steps", dir: "auto" }, ...u.steps.map(([ref, hyp, start, end, confidence]) => {
    const kind = ref === hyp ? "ok" : ref === null ? "ins" : hyp === null ? "del" : "sub";
    const title = { ok: ref, ins: "inserted: " + hyp, del: "deleted: " + ref, sub: `reference ${ref}, hypothesis ${hyp}` }[kind];
    const sure = confidence === null ? "" : `, confidence ${percent(confidence, 0)}`;
    // A deleted word has no time; it is played from the end of the word before it.
    const from = start !== null ? start : timed ? before : null;
    before = end === null ? before : end;
    const plays = player !== null && from !== null && (u.source_end_s === null || from < u.source_end_s);
    const spoken = (text) => make("span", { class: "unseen" }, text);  // read by screen readers
    const nothing = () => make("span", { "aria-hidden": "true" }, "–");
    const inside = {
      ok: () => [make("span", {}, ref)],
      sub: () => [make("span", {}, spoken("reference "), ref, spoken(",")), make("span", {}, spoken("hypothesis "), hyp)],
      del: () => [make("span", {}, spoken("deleted: "), ref), nothing()],
      ins: () => [nothing(), make("span", {}, spoken("inserted: "), hyp)],
    }[kind]();
    const word = make(plays ? "button" : "span", { class: "step " + kind, type: plays ? "button" : null,
      title: title + sure,
      "data-start": start, "data-end": end }, ...inside,
      sure ? spoken(sure) : null, confidence === null ? null : make("i", { style: `opacity: ${0.08 + 0.92 * confidence}` }));
    if (plays) word.addEventListener("click", () => {
      player.currentTime = Math.max(0, from - u.source_start_s - 0.05);
      player.play().catch(() => {});  // the player's error event reports the failure
    });
    return word;
  }));
  return [steps, player, failed];
}

function focusRow(at) {
  const rows = [...document.querySelectorAll("#list .row")];
  if (!rows.length) byId("find").focus();
  else rows[Math.max(0, Math.min(rows.length - 1, at))].focus();
}
// The left and right arrows move between the words of an open row; Escape returns to the row.
function walkWords(event, word) {
  const words = [...word.parentElement.querySelectorAll("button.step")];
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const to = event.key === "Escape" ? word.closest("tr").previousElementSibling.querySelector(".row")
    : by && words[words.indexOf(word) + by];
  if (!to) return;
  to.focus();
  event.preventDefault();
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const word = document.activeElement.closest("button.step");
  if (word) return walkWords(event, word);
  const rows = [...document.querySelectorAll("#list .row")];
  const at = rows.indexOf(document.activeElement);
  const typing = document.activeElement === byId("find");
  if (event.key === "/" && !typing) byId("find").focus();
  else if (event.key === "Escape" && typing) focusRow(0);
  else if (event.key === "ArrowRight" && rows[at] && rows[at].getAttribute("aria-expanded") === "true")
    rows[at].closest("tr").nextElementSibling.querySelector("button.step")?.focus();
  else if (at >= 0 && (event.key === "PageDown" || event.key === "PageUp"))
    byId("pages").children[event.key === "PageDown" ? 1 : 0].click();
  else if (event.key === "ArrowDown" && (at >= 0 || document.activeElement === byId("find"))) focusRow(at + 1);
  else if (event.key === "ArrowUp" && at === 0) byId("find").focus();
  else if (event.key === "ArrowUp" && at > 0) focusRow(at - 1);
  else if (at >= 0 && (event.key === "Home" || event.key === "End")) focusRow(event.key === "Home" ? 0 : rows.length);
  else return;
  event.preventDefault();
});
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("find").addEventListener("input", choose);
byId("wrong").addEventListener("change", choose);
choose();
document.documentElement.dataset.ready = "yes";
