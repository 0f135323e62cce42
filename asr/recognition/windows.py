"""A classifier on the windows of a long recording, and the events that they make together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from asr import audio
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.classification import Classification
from asr.recognition.classifier import Classifier

BATCH = 32  # windows that go through the model together
BLOCK_S = 10.0  # the part of a recording that is read at once


def classify_windows(
    classifier: Classifier, utterance: Utterance, window_s: float, hop_s: float
) -> Iterator[Classification]:
    """The classification of each window of a recording of any length, in order of time.

    A window of `window_s` seconds begins every `hop_s` seconds; the last one ends with the
    recording. Memory does not grow with the length. Raises `UserError` if a duration is not above
    0, if the hop is longer than the window, or if the recording cannot be read.
    """
    if not 0 < hop_s <= window_s:
        raise UserError(f"windows of {window_s:g} s every {hop_s:g} s: give 0 < hop <= window")
    batch: list[tuple[float, np.ndarray]] = []
    for window in cut(_blocks(classifier, utterance), classifier.rate_hz, window_s, hop_s):
        batch.append(window)
        if len(batch) == BATCH:
            yield from _classified(classifier, batch, utterance.start_s)
            batch = []
    if batch:
        yield from _classified(classifier, batch, utterance.start_s)


def cut(
    blocks: Iterable[np.ndarray], rate_hz: int, window_s: float, hop_s: float
) -> Iterator[tuple[float, np.ndarray]]:
    """(start_s, samples) of the windows of a recording that comes in blocks (N,) float32."""
    window, hop = round(window_s * rate_hz), max(1, round(hop_s * rate_hz))
    kept, start, end = np.zeros(0, np.float32), 0, 0  # samples before `kept`, and of all windows
    for block in blocks:
        kept = np.concatenate([kept, block])
        while len(kept) >= window:
            yield start / rate_hz, kept[:window]
            end = start + window
            kept, start = kept[hop:], start + hop
    if len(kept) and start + len(kept) > end:
        yield start / rate_hz, kept


def _blocks(classifier: Classifier, utterance: Utterance) -> Iterator[np.ndarray]:
    return audio.blocks(
        utterance.audio, classifier.rate_hz, BLOCK_S, utterance.start_s, utterance.duration_s
    )


def _classified(
    classifier: Classifier, batch: Sequence[tuple[float, np.ndarray]], offset_s: float
) -> Iterator[Classification]:
    emissions = classifier.emissions([samples for _, samples in batch])
    for (start_s, samples), row in zip(batch, emissions.rows(), strict=True):
        end_s = start_s + len(samples) / classifier.rate_hz
        yield classifier.classification(row[0], offset_s + start_s, offset_s + end_s)


def events(windows: Iterable[Classification]) -> list[Classification]:
    """Join successive windows with the same labels; windows without a label are left out.

    The probabilities of an event are the means over its windows, and it ends with the last one.
    Where windows overlap, an event begins when the one before it ends.
    """
    found: list[Classification] = []
    counts: list[int] = []
    joins = False  # whether the window before had the labels of the last event
    for window in windows:
        if found and joins and set(found[-1].labels) == set(window.labels):
            counts[-1] += 1
            share = 1 / counts[-1]
            mean = {
                name: value + share * (window.probabilities[name] - value)
                for name, value in found[-1].probabilities.items()
            }
            ranked = dict(sorted(mean.items(), key=lambda one: -one[1]))
            found[-1] = replace(found[-1], probabilities=ranked, end_s=window.end_s)
        elif window.labels:
            start_s = max(window.start_s, found[-1].end_s if found else window.start_s)
            if start_s < window.end_s:
                found.append(replace(window, start_s=start_s))
                counts.append(1)
        joins = bool(window.labels)
    return found
