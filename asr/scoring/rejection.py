"""The threshold below which a classifier says that a recording is of no known class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from asr.data.manifest import Utterance
from asr.data.targets import labels_of
from asr.recognition.classifier import Classifier
from asr.recognition.transcribe import Failure
from asr.scoring.detection import threshold_for


@dataclass(frozen=True)
class Rejection:
    """What a threshold does to recordings of known classes, and to others."""

    right: int  # of the recordings of a known class, those with the right label
    rejected: int  # of them, those without a label
    known: int
    accepted: int  # of the other recordings, those with a label
    others: int

    def __str__(self) -> str:
        known = f"{self.right} of {self.known} right, {self.rejected} rejected"
        return f"{known}; of {self.others} others, {self.accepted} accepted"


@dataclass(frozen=True)
class RejectCalibration:
    classifier: Classifier  # with the threshold
    before: Rejection
    chosen: Rejection
    failures: list[Failure]


def calibrate_reject(
    classifier: Classifier,
    dev: Sequence[Utterance],
    outside: Sequence[Utterance],
    false_accepts: float,
) -> RejectCalibration:
    """Choose `classify.reject` so that at most a share `false_accepts` is wrongly accepted.

    The share is that of the recordings `outside`, and of those of `dev` without a known class.
    Without any such recording, it is that of the recordings of `dev` whose best class is wrong.
    Raises `UserError` if all of dev is right and there is nothing to reject.
    """
    known: list[tuple[bool, float]] = []  # whether the best class is right, and its probability
    others: list[float] = []
    failures = []
    for utterance, found in classifier.classify_many([*dev, *outside]):
        if isinstance(found, Failure):
            failures.append(found)
            continue
        labels = labels_of(utterance, classifier.config)
        if set(labels) & set(classifier.labels):
            known.append((found.best in labels, found.confidence))
        else:
            others.append(found.confidence)
    wanted = others or [confidence for right, confidence in known if not right]
    chosen = math.ceil(threshold_for(wanted, false_accepts) * 1e6) / 1e6
    tuned = classifier.with_reject(min(1.0, chosen))
    before, after = (
        _rejection(known, others, one.config.classify.reject) for one in (classifier, tuned)
    )
    return RejectCalibration(tuned, before, after, failures)


def _rejection(
    known: Sequence[tuple[bool, float]], others: Sequence[float], reject: float
) -> Rejection:
    return Rejection(
        sum(right and confidence >= reject for right, confidence in known),
        sum(confidence < reject for _, confidence in known),
        len(known),
        sum(confidence >= reject for confidence in others),
        len(others),
    )
