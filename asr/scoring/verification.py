"""Verification: whether two recordings are of the same speaker, known in training or not."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from asr import audio
from asr.data.manifest import Utterance
from asr.data.records import Rows, utterances_of
from asr.errors import UserError
from asr.recognition.classifier import Classifier
from asr.scoring.detection import EqualErrorRate, equal_error_rate


@dataclass(frozen=True)
class Trials:
    """Each test recording against each enrolled speaker."""

    scores: np.ndarray  # (N,) cosines
    is_target: np.ndarray  # (N,) whether the recording is of the enrolled speaker
    enrolled: np.ndarray  # (N,) the number of the enrolled speaker
    spoken_by: np.ndarray  # (N,) the number of the speaker of the recording

    def equal_error_rate(self) -> EqualErrorRate:
        """With its interval, by the bootstrap over speakers."""
        return equal_error_rate(self.scores, self.is_target, [self.enrolled, self.spoken_by])


def verification_trials(
    classifier: Classifier,
    rows: Rows,
    enrol: int = 3,
    column: str = "speaker",
    on_progress: Callable[[], None] = lambda: None,
) -> Trials:
    """Enrol each speaker with `enrol` recordings, and compare the others with all speakers.

    rows: as in `asr.evaluate`; column: the column with the names of the speakers. The recordings
    for enrolment are chosen by a hash of their ids. Raises `UserError` if fewer than two speakers
    have more than `enrol` recordings, or if a recording cannot be read.
    """
    by_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for u in utterances_of(rows, "rows"):
        name = u.extra.get(column, getattr(u, column, None))
        if name is not None:
            by_speaker[str(name)].append(u)
    usable = {name: us for name, us in sorted(by_speaker.items()) if len(us) > enrol}
    if len(usable) < 2:
        raise UserError(
            f"verification: {len(usable)} speakers have more than {enrol} recordings in the column "
            f"{column!r}; it needs two"
        )
    voices, tests, speakers = [], [], []
    for number, utterances in enumerate(usable.values()):
        ordered = sorted(utterances, key=lambda u: hashlib.sha256(u.id.encode()).digest())
        found = embeddings(classifier, ordered, on_progress)  # (n, E)
        mean = found[:enrol].mean(0)
        voices.append(mean / max(float(np.linalg.norm(mean)), 1e-9))
        tests.append(found[enrol:])
        speakers += [number] * len(found[enrol:])
    scores = np.concatenate(tests) @ np.stack(voices).T  # (tests, speakers)
    spoken_by = np.array(speakers)[:, None].repeat(len(voices), 1)
    enrolled = np.arange(len(voices))[None].repeat(len(spoken_by), 0)
    return Trials(
        scores.ravel(), (spoken_by == enrolled).ravel(), enrolled.ravel(), spoken_by.ravel()
    )


def embeddings(
    classifier: Classifier,
    utterances: Sequence[Utterance],
    on_progress: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """(N, E) float32, each of length 1."""
    found = []
    for u in utterances:
        samples = audio.read(u.audio, classifier.rate_hz, u.start_s, u.duration_s)
        found.append(classifier.embedding(samples))
        on_progress()
    return np.stack(found)
