"""A score as one HTML page that needs nothing else, and the same as JSON.

The page is `page.html` with style, script and data put in. Audio of the utterances with most errors
lies inside it as Ogg Opus; that of the others is linked where the file is.
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

EMBEDDED = 40  # utterances whose audio is inside the page, those with most errors
EMBEDDED_S = 30.0  # of each at most
RATE_HZ = 16000  # Opus knows 8, 12, 16, 24 and 48 kHz
BINS = 10  # of confidence
CONFUSIONS = 20  # of each kind, the commonest
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

    figures: what score.json holds; utterances: where the audio of each pair is, by id; words: those
    of each hypothesis with their times in the file and confidences, by id; groups: of each column
    that figures["by"] has, the places of the pairs that have a value.
    """
    utterances, words = utterances or {}, words or {}
    rows = [_row(pair, utterances.get(pair.id), words.get(pair.id)) for pair in pairs]
    for column, places_of in (groups or {}).items():
        for label, places in places_of.items():
            for place in places:
                rows[place]["groups"][column] = label
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
            row["source"] = _link(utterances[row["id"]], folder)
    worst = sorted((r for r in rows if r["errors"]), key=lambda r: -r["errors"])[:EMBEDDED]
    for row in worst:
        if row["id"] in utterances and (sound := _embed(utterances[row["id"]])) is not None:
            row["source"], row["source_start_s"] = sound, row["start_s"]
            row["source_end_s"] = row["start_s"] + EMBEDDED_S
    files.write(folder / HTML, page(title, data))
    return folder / HTML


def page(title: str, data: Mapping[str, Any]) -> str:
    """The page with its data inside; nothing in the data is read as HTML."""
    parts = resources.files(__package__)
    # In a script element only "</" and "<!--" could end or change what is read.
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
    """steps: (said, heard, start_s, end_s, confidence), None for what there is not."""
    counts = word_counts(pair.reference, pair.hypothesis)
    heard = pair.hypothesis.split()
    timed = words is not None and [word.text for word in words] == heard
    place = iter(words if timed else ())
    steps = []
    for said, found in aligned(pair.reference, pair.hypothesis):
        word = next(place) if timed and found is not None else None
        times = [round(word.start_s, 3), round(word.end_s, 3)] if word else [None, None]
        steps.append([said, found, *times, round(word.confidence, 4) if word else None])
    rate = counts.error_rate
    return {
        "id": pair.id,
        "speaker": pair.speaker,
        "wer": rate if math.isfinite(rate) else None,
        "errors": counts.errors,
        "words": counts.reference,
        "duration_s": None if utterance is None else utterance.duration_s,
        "start_s": 0.0 if utterance is None else utterance.start_s,
        "source_start_s": 0.0,  # of the file's times, where the sound of the page begins
        "source_end_s": None,  # and where it ends at the latest; None: with the file
        "groups": {},  # its value in each column of figures["by"]
        "steps": steps,
    }


def calibration(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How often words of a confidence are right, in `BINS` bins, and the expected calibration error
    (Naeini et al. 2015); None without confidences."""
    found = [
        (step[4], step[0] == step[1])
        for row in rows
        for step in row["steps"]
        if step[4] is not None
    ]
    if not found:
        return None
    confidence, right = np.array([c for c, _ in found]), np.array([r for _, r in found])
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins, ece = [], 0.0
    for i in range(BINS):
        here = place == i
        if not here.any():
            continue
        said, was = float(confidence[here].mean()), float(right[here].mean())
        ece += abs(said - was) * here.mean()
        bins.append({"words": int(here.sum()), "confidence": said, "right": was})
    return {"bins": bins, "expected_error": float(ece), "words": len(found)}


def _link(utterance: Utterance, folder: Path) -> str | None:
    """The file from where the page is; None where it is gone or lies inside an archive."""
    if not isinstance(utterance.audio, str) or not os.path.exists(utterance.audio):
        return None
    path = os.path.relpath(os.path.abspath(utterance.audio), os.path.abspath(folder))
    place = f"#t={utterance.start_s:g}" if utterance.start_s else ""  # where the player begins
    return quote(path.replace(os.sep, "/"), errors="surrogateescape") + place


def _embed(utterance: Utterance) -> str | None:
    """Its audio as a data URI; None where it cannot be read: that is listed elsewhere."""
    duration_s = min(utterance.duration_s or EMBEDDED_S, EMBEDDED_S)
    try:
        samples = audio.read(utterance.audio, RATE_HZ, utterance.start_s, duration_s)
    except UserError:
        return None
    sound = io.BytesIO()
    soundfile.write(sound, samples, RATE_HZ, format="OGG", subtype="OPUS")
    return "data:audio/ogg;base64," + base64.b64encode(sound.getvalue()).decode()
