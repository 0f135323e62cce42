"""One utterance: spoken, checked, written, and scored by a model. What the processes do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr import audio
from asr.data.manifest import Utterance
from asr.errors import Failed, UserError
from asr.files import replacing
from asr.synthesis.plan import Take
from asr.synthesis.quality import Flaw, flaw_of, letters_of, trimmed

PEAK = 0.7  # of the written samples, relative to full scale
ENGINE = "engine"  # the kind of flaw of an utterance that an engine failed to speak


@dataclass(frozen=True)
class SpeechOutcome:
    """What came of a take: audio of a duration, or a flaw."""

    id: str
    duration_s: float | None = None
    flaw: Flaw | None = None
    score: float | None = None  # of the alignment with the model, if there is one


@dataclass(frozen=True)
class Speaking:
    """Speaks takes into a folder. Sent to other processes, so it holds no model itself."""

    folder: Path
    rate_hz: int
    model: Path | None = None

    def path(self, take: Take) -> Path:
        return self.folder / "audio" / take.voice.speaker / f"{take.id}.flac"

    def __call__(self, take: Take) -> SpeechOutcome:
        """Speak the take unless its file exists, and align it if there is a model."""
        path = self.path(take)
        flaw = None if path.exists() else self._write(take, path)
        if flaw is not None:
            return SpeechOutcome(take.id, flaw=flaw)
        duration_s = soundfile.info(path).duration
        if self.model is None:
            return SpeechOutcome(take.id, duration_s)
        try:
            return SpeechOutcome(take.id, duration_s, score=_score(self.model, path, take.text))
        except UserError as error:  # more tokens than frames, or a character without a token
            return SpeechOutcome(take.id, duration_s, Flaw("not aligned", str(error)))

    def _write(self, take: Take, path: Path) -> Flaw | None:
        if not letters_of(take.text):
            return Flaw("text", "the text has neither a letter nor a digit")
        try:
            samples, rate_hz = take.voice.engine.speak(take.text, take.voice.name, take.seed)
        except Failed as failure:
            return Flaw(ENGINE, str(failure))
        flaw = flaw_of(samples, take.text, rate_hz)
        if flaw is not None:
            return flaw
        samples = audio.resample(trimmed(samples, rate_hz), rate_hz, self.rate_hz)
        samples = samples * (PEAK / np.abs(samples).max())
        with replacing(path) as beside:
            soundfile.write(beside, samples, self.rate_hz, subtype="PCM_16", format="FLAC")
        return None


@cache
def _recognizer(model: Path) -> Any:
    import torch

    from asr.recognition.recognizer import load

    torch.set_num_threads(1)  # there is a process for each core
    return load(model, "cpu")


def _score(model: Path, path: Path, text: str) -> float:
    """The score of the alignment, as `asr.recognition.alignment.segment` defines it."""
    from asr.recognition.alignment import align_recording

    _, (utterance,) = align_recording(_recognizer(model), Utterance(path.stem, str(path)), [text])
    return utterance.extra["score"]


@contextmanager
def outcomes(
    speaking: Speaking, takes: Iterable[Take], processes: int
) -> Iterator[Iterator[SpeechOutcome]]:
    """The outcomes of the takes, in their order, from this process or from several.

    What has not begun when the block ends is not spoken. Raises `Failed` if a process dies.
    """
    if processes == 1:
        yield map(speaking, takes)
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    try:
        yield pool.map(speaking, takes, chunksize=4)
    except BrokenExecutor:
        raise Failed(
            "a process that speaks ended unexpectedly, perhaps for lack of memory; the same call "
            "goes on where it stopped"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
