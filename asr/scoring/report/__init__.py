"""A score as one self-contained HTML page, and as JSON.

The page is `page.html` with its style, script and data inserted. The audio of the utterances with
the most errors is embedded as Ogg Opus; the page links to the audio files of the others.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import soundfile

from asr import audio, files
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.scoring.error_analysis import confusions
from asr.scoring.wer import Pair, aligned, word_counts
from asr.transcript import Word

EMBEDDED = 40  # number of utterances, those with the most errors, whose audio is embedded
EMBEDDED_S = 30.0  # at most this much audio is embedded for an utterance
RATE_HZ = 16000  # Opus supports 8, 12, 16, 24 and 48 kHz
BINS = 10  # number of bins of the calibration
CONFUSIONS = 20  # number of errors of each kind that are listed
HTML, JSON = "report.html", "report.json"


def write_report(
    folder: Path,
    title: str,
    pairs: Sequence[Pair],
    figures: Mapping[str, Any],
    utterances: Mapping[str, Utterance] | None = None,
    words: Mapping[str, Sequence[Word]] | None = None,
    groups: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
) -> Path:
    """Write report.html and report.json into `folder`; returns the page's path.

    figures: the content of score.json; utterances: the recording of each pair, by id; words: the
    words of each hypothesis with their times in the file and confidences, by id; groups: {column of
    figures["by"]: {value: indices of the pairs that have it}}.
    """
    utterances, words = utterances or {}, words or {}
    rows = [_row(pair, utterances.get(pair.id), words.get(pair.id)) for pair in pairs]
    for column, indices_of in (groups or {}).items():
        for label, indices in indices_of.items():
            for index in indices:
                rows[index]["groups"][column] = label
    data = {
        "title": title,
        "figures": dict(figures),
        "calibration": calibration(rows),
        "confusions": confusions(pairs, CONFUSIONS).to_dict(),
        "utterances": rows,
    }
    files.write(folder / JSON, json.dumps(data, ensure_ascii=False, indent=1) + "\n")
    for row in rows:
        if row["id"] in utterances:
            row["source"] = link_to(utterances[row["id"]], folder)
    worst = sorted((r for r in rows if r["errors"]), key=lambda r: -r["errors"])[:EMBEDDED]
    for row in worst:
        if row["id"] in utterances and (sound := embedded_sound(utterances[row["id"]])) is not None:
            row["source"], row["source_start_s"] = sound, row["start_s"]
            row["source_end_s"] = row["start_s"] + EMBEDDED_S
    files.write(folder / HTML, page(title, data))
    return folder / HTML


def page(title: str, data: Mapping[str, Any]) -> str:
    """The page with its data inserted; the data cannot inject HTML."""
    parts = resources.files(__package__)
    # In a script element only "</" and "<!--" are special, so it is enough to escape "<".
    safe = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    text = (parts / "page.html").read_text(encoding="utf-8")
    for name, value in (
        ("TITLE", html.escape(title)),
        ("STYLE", (parts / "page.css").read_text(encoding="utf-8")),
        ("SCRIPT", (parts / "page.js").read_text(encoding="utf-8")),
        ("DATA", safe),
    ):
        text = text.replace(f"<!--{name}-->", value)
    return text


def _row(pair: Pair, utterance: Utterance | None, words: Sequence[Word] | None) -> dict[str, Any]:
    """The data of one utterance.

    steps: [reference, hypothesis, start_s, end_s, confidence] of each aligned word, with None for
    what is missing or unknown.
    """
    counts = word_counts(pair.reference, pair.hypothesis)
    timed = words is not None and [word.text for word in words] == pair.hypothesis.split()
    remaining = iter(words if timed else ())
    steps = []
    for reference, hypothesis in aligned(pair.reference, pair.hypothesis):
        word = next(remaining) if timed and hypothesis is not None else None
        times = [round(word.start_s, 3), round(word.end_s, 3)] if word else [None, None]
        confidence = round(word.confidence, 4) if word else None
        steps.append([reference, hypothesis, *times, confidence])
    rate = counts.error_rate
    return {
        "id": pair.id,
        "speaker": pair.speaker,
        "wer": rate if math.isfinite(rate) else None,
        "errors": counts.errors,
        "words": counts.reference,
        "duration_s": None if utterance is None else utterance.duration_s,
        "start_s": 0.0 if utterance is None else utterance.start_s,
        "source_start_s": 0.0,  # time in the file at which the audio source begins
        "source_end_s": None,  # time in the file at which it ends; None: at the end of the file
        "groups": {},  # the utterance's value in each column of figures["by"]
        "steps": steps,
    }


def calibration(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Accuracy by confidence in `BINS` bins, and the expected calibration error (ECE).

    Returns None if no word has a confidence.

    ECE = sum over bins b of n_b / n * |mean confidence_b - accuracy_b| (Naeini et al. 2015).
    """
    words = [
        (step[4], step[0] == step[1])
        for row in rows
        for step in row["steps"]
        if step[4] is not None
    ]
    if not words:
        return None
    confidence, correct = np.array([c for c, _ in words]), np.array([r for _, r in words])
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins, ece = [], 0.0
    for i in range(BINS):
        inside = bin_of == i
        if not inside.any():
            continue
        mean, accuracy = float(confidence[inside].mean()), float(correct[inside].mean())
        ece += abs(mean - accuracy) * inside.mean()
        bins.append({"words": int(inside.sum()), "confidence": mean, "right": accuracy})
    return {"bins": bins, "expected_error": float(ece), "words": len(words)}


def link_to(utterance: Utterance, folder: Path) -> str | None:
    """The URL of the audio relative to the page; None if it is missing or in an archive."""
    if not isinstance(utterance.audio, str) or not os.path.exists(utterance.audio):
        return None
    path = os.path.relpath(os.path.abspath(utterance.audio), os.path.abspath(folder))
    fragment = f"#t={utterance.start_s:g}" if utterance.start_s else ""  # the player begins there
    return quote(path.replace(os.sep, "/"), errors="surrogateescape") + fragment


def embedded_sound(utterance: Utterance) -> str | None:
    """The audio as a data URI; None if it cannot be read, which the caller reports."""
    duration_s = min(utterance.duration_s or EMBEDDED_S, EMBEDDED_S)
    try:
        samples = audio.read(utterance.audio, RATE_HZ, utterance.start_s, duration_s)
    except UserError:
        return None
    sound = io.BytesIO()
    soundfile.write(sound, samples, RATE_HZ, format="OGG", subtype="OPUS")
    return "data:audio/ogg;base64," + base64.b64encode(sound.getvalue()).decode()
