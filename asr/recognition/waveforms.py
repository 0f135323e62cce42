"""Recordings -> the waveforms that a model takes, and the emissions of a number of waveforms.

Utterances of up to `LONG_S` seconds go to the model as a whole. Longer ones are cut at pauses
(`asr.audio.chunking`), or go through a causal model in blocks (`asr.recognition.blocks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Event

import numpy as np

from asr import audio
from asr.audio.chunking import chunks
from asr.audio.vad import detector
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.blocks import BlockEmissions
from asr.recognition.protocol import RecognizerProtocol

LONG_S = 60.0  # longer recordings are cut into chunks
BLOCK_S = 10.0  # the part of a long recording that is read at once

OnProgress = Callable[[float], None]


@dataclass
class Waveform:
    """One input of the model: a whole utterance, or a chunk of a long one."""

    utterance: Utterance
    samples: np.ndarray  # (N,) float32
    start_s: float = 0.0  # from the start of the utterance
    overlap_s: float = 0.0  # how far it overlaps the previous chunk
    advance_s: float = 0.0  # from the end of the previous chunk to the end of this one
    last: bool = True  # whether it is the last chunk of its utterance
    block: bool = False  # whether it is a block of a recording for a causal model
    error: str | None = None  # why the utterance could not be read


def waveforms_of(
    recognizer: RecognizerProtocol,
    utterances: Iterable[Utterance],
    vad: str | None,
    stopped: Event,
) -> Iterator[Waveform]:
    """The inputs of the model, until `stopped`. Long utterances are cut unless `vad` is None."""
    for utterance in utterances:
        if stopped.is_set():
            return
        try:
            if vad is not None and seconds_of(utterance) > LONG_S:
                if recognizer.streams:
                    yield from _in_blocks(recognizer, utterance, stopped)
                else:
                    yield from _cut(recognizer, utterance, vad, stopped)
                continue
            samples = audio.read(
                utterance.audio, recognizer.rate_hz, utterance.start_s, utterance.duration_s
            )
            yield Waveform(utterance, samples, advance_s=len(samples) / recognizer.rate_hz)
        except UserError as error:
            yield Waveform(utterance, np.zeros(0, np.float32), error=str(error))


def seconds_of(utterance: Utterance) -> float:
    """The duration of an utterance, measured if the manifest does not state it.

    Raises `UserError` if the recording cannot be read.
    """
    if utterance.duration_s is not None:
        return utterance.duration_s
    return audio.info(utterance.audio).duration_s - utterance.start_s


def _cut(
    recognizer: RecognizerProtocol, utterance: Utterance, vad: str, stopped: Event
) -> Iterator[Waveform]:
    """The chunks of a long utterance, then an empty waveform that covers the silence at the end."""
    rate_hz, read = recognizer.rate_hz, 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        for block in _read_blocks(recognizer, utterance, stopped):
            read += len(block)
            yield block

    covered_s = 0.0
    for chunk in chunks(blocks(), detector(vad, rate_hz), rate_hz):
        end_s = chunk.start_s + len(chunk.samples) / rate_hz
        end_s = min(end_s, read / rate_hz)  # the last hop is padded with zeros
        yield Waveform(
            utterance, chunk.samples, chunk.start_s, chunk.overlap_s, end_s - covered_s, last=False
        )
        covered_s = end_s
    read_s = read / rate_hz
    yield Waveform(utterance, np.zeros(0, np.float32), read_s, advance_s=read_s - covered_s)


def _in_blocks(
    recognizer: RecognizerProtocol, utterance: Utterance, stopped: Event
) -> Iterator[Waveform]:
    """The blocks of a long utterance for a causal model, then an empty one that ends it."""
    read = 0
    for samples in _read_blocks(recognizer, utterance, stopped):
        block_s = len(samples) / recognizer.rate_hz
        start_s = read / recognizer.rate_hz
        yield Waveform(utterance, samples, start_s, advance_s=block_s, last=False, block=True)
        read += len(samples)
    yield Waveform(utterance, np.zeros(0, np.float32), read / recognizer.rate_hz, block=True)


def _read_blocks(
    recognizer: RecognizerProtocol, utterance: Utterance, stopped: Event
) -> Iterator[np.ndarray]:
    """Samples of a long utterance, until `stopped`; raises `UserError` if there are none."""
    read = False
    for block in audio.blocks(
        utterance.audio, recognizer.rate_hz, BLOCK_S, utterance.start_s, utterance.duration_s
    ):
        if stopped.is_set():
            return
        read = True
        yield block
    if not read:
        raise UserError(
            f"{utterance.audio}: no samples between {utterance.start_s:g} s and the end of the file"
        )


def emissions_of(
    recognizer: RecognizerProtocol,
    window: list[Waveform],
    batch_s: float,
    on_progress: OnProgress,
    blocks: BlockEmissions,
) -> list[np.ndarray]:
    """The (T, V) log-probabilities of each waveform, computed in batches of similar length.

    Blocks of a recording are computed one after another, with the state of the model in `blocks`.
    """
    empty = np.zeros(0, np.float32)
    rows = [np.zeros((0, len(recognizer.tokenizer.pieces)), np.float32)] * len(window)
    for i, waveform in enumerate(window):
        if waveform.block:
            rows[i] = blocks.of(waveform.samples, waveform.start_s == 0, waveform.last)
            on_progress(waveform.advance_s)
    whole = [empty if w.block else w.samples for w in window]
    for batch in batches(whole, batch_s * recognizer.rate_hz):
        emissions = recognizer.emissions([window[i].samples for i in batch])
        for i, row in zip(batch, emissions.rows(), strict=True):
            rows[i] = row
        on_progress(sum(window[i].advance_s for i in batch))
    on_progress(sum(w.advance_s for w in window if not len(w.samples)))
    return rows


def batches(samples: list[np.ndarray], batch_samples: float) -> Iterator[list[int]]:
    """Batches of indices in order of length; a batch, padded, has at most `batch_samples`.

    Empty waveforms are left out. A waveform above the limit is a batch of its own.
    """
    batch: list[int] = []
    indices = [i for i, one in enumerate(samples) if len(one)]
    for i in sorted(indices, key=lambda i: len(samples[i])):
        if batch and len(samples[i]) * (len(batch) + 1) > batch_samples:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
