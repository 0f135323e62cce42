"""What a classifier says about a recording, or about a part of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from asr.config import Config

MULTI_LABEL_THRESHOLD = 0.5  # the probability from which an utterance has a label


@dataclass(frozen=True)
class Classification:
    """The probabilities of the classes, likeliest first, and the label that follows from them."""

    probabilities: dict[str, float]  # of all classes, in falling order
    labels: tuple[str, ...]  # the best class, or several with multi_label; () if it is rejected
    start_s: float = 0.0
    end_s: float = 0.0

    @property
    def label(self) -> str | None:
        """The likeliest of `labels`; None if the recording is of no known class."""
        return self.labels[0] if self.labels else None

    @property
    def best(self) -> str:
        """The likeliest class, even if its probability is below `classify.reject`."""
        return next(iter(self.probabilities))

    @property
    def confidence(self) -> float:
        """The probability of the likeliest class."""
        return next(iter(self.probabilities.values()))

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """label, labels, start_s, end_s, and the `top` likeliest classes, by default all."""
        shown = list(self.probabilities.items())[:top]
        return {
            "label": self.label,
            "labels": list(self.labels),
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "probabilities": {name: round(value, 6) for name, value in shown},
        }


def classification(
    log_probs: np.ndarray, names: list[str], config: Config, start_s: float, end_s: float
) -> Classification:
    """The classification of (C,) natural logs of the probabilities of the classes `names`."""
    probabilities = np.exp(log_probs.astype(np.float64))
    order = np.argsort(-probabilities, kind="stable").tolist()
    ranked = {names[i]: float(probabilities[i]) for i in order}
    least = config.classify.reject
    if config.classify.multi_label:
        least = max(least, MULTI_LABEL_THRESHOLD)
        labels = tuple(name for name, value in ranked.items() if value >= least)
    else:
        labels = tuple(name for name, value in list(ranked.items())[:1] if value >= least)
    return Classification(ranked, labels, start_s, end_s)
