"""Many files -> transcripts, in batches of similar length, in the order they were asked for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from asr import audio, manifest
from asr.errors import UserError
from asr.manifest import Utterance
from asr.recognizer import Recognizer, to_transcript
from asr.transcript import Transcript

BATCH_S = 120.0  # seconds of audio a batch, padding counted
WINDOW = 64  # utterances that are sorted by length among themselves: what memory holds at a time
READERS = 2  # threads that read audio ahead


@dataclass(frozen=True)
class Failure:
    """An utterance that could not be transcribed, and why."""

    utterance: Utterance
    reason: str


Result = tuple[Utterance, Transcript | Failure]
Found = TypeVar("Found")


def sources(paths: Iterable[str | Path]) -> list[Utterance]:
    """What to transcribe: files as they are, audio files below folders, rows of manifests.

    Ids are names without their suffix, or whole paths where names are alike.
    Raises `UserError` when a folder holds no audio; a missing file is reported when its turn comes.
    """
    found: list[Utterance] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += [
                Utterance(str(file.relative_to(path).with_suffix("")), str(file))
                for file in manifest.audio_files(path)
            ]
        elif path.suffix.lower() in (".jsonl", ".tsv", ".csv"):
            found += manifest.read(path)
        else:
            found.append(Utterance(path.stem, str(path)))
    count = Counter(utterance.id for utterance in found)
    return [u if count[u.id] == 1 else replace(u, id=_whole_path(u)) for u in found]


def _whole_path(utterance: Utterance) -> str:
    path = os.path.abspath(utterance.audio)
    return f"{path}@{utterance.start_s:.3f}" if utterance.start_s else path


def transcribe_many(
    recognizer: Recognizer, utterances: Iterable[Utterance], batch_s: float = BATCH_S
) -> Iterator[Result]:
    """Transcribe utterances; one that cannot be read gives a `Failure` and stops no other.

    Results come in the order of the utterances. Memory does not grow with their number.
    """
    for utterance, duration_s, found in _in_batches(
        recognizer, utterances, recognizer.recognise, batch_s
    ):
        if not isinstance(found, Failure):
            found = to_transcript(utterance.audio, duration_s, found, utterance.start_s)
        yield utterance, found


def emissions_of_many(
    recognizer: Recognizer, utterances: Iterable[Utterance], batch_s: float = BATCH_S
) -> Iterator[tuple[Utterance, np.ndarray | Failure]]:
    """What `transcribe_many` decodes: (T, V) log-probabilities of each utterance, in order."""

    def emit(waveforms: list[np.ndarray]) -> list[np.ndarray]:
        return recognizer.emissions(waveforms).rows()

    for utterance, _, found in _in_batches(recognizer, utterances, emit, batch_s):
        yield utterance, found


def _in_batches(
    recognizer: Recognizer,
    utterances: Iterable[Utterance],
    use: Callable[[list[np.ndarray]], list[Found]],
    batch_s: float,
) -> Iterator[tuple[Utterance, float, Found | Failure]]:
    """Each utterance with its seconds and what `use` finds in a batch of waveforms."""

    def read(utterance: Utterance) -> np.ndarray | Failure:
        try:
            return audio.read(
                utterance.audio, recognizer.rate_hz, utterance.start_s, utterance.duration_s
            )
        except UserError as error:
            return Failure(utterance, str(error))

    stream = iter(utterances)
    with ThreadPoolExecutor(READERS) as pool:

        def start_window() -> list[tuple[Utterance, Future]]:
            return [(u, pool.submit(read, u)) for u in islice(stream, WINDOW)]

        window = start_window()
        while window:
            coming = start_window()  # read while this window is recognised
            loaded = [(utterance, future.result()) for utterance, future in window]
            results: dict[int, tuple[float, Found | Failure]] = {}
            readable = []
            for i, (_, samples) in enumerate(loaded):
                if isinstance(samples, Failure):
                    results[i] = 0.0, samples
                else:
                    readable.append(i)
            for batch in _batches(readable, [s for _, s in loaded], batch_s * recognizer.rate_hz):
                waveforms = [loaded[i][1] for i in batch]
                for i, samples, found in zip(batch, waveforms, use(waveforms), strict=True):
                    results[i] = len(samples) / recognizer.rate_hz, found
            yield from ((utterance, *results[i]) for i, (utterance, _) in enumerate(loaded))
            window = coming


def _batches(readable: list[int], samples: list, batch_samples: float) -> Iterator[list[int]]:
    """Indices sorted by length, cut where the padded batch would pass `batch_samples`."""
    batch: list[int] = []
    for i in sorted(readable, key=lambda i: len(samples[i])):
        if batch and len(samples[i]) * (len(batch) + 1) > batch_samples:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
