"""The figures of a training step, and their means over several steps.

Each figure has one name everywhere: `train/loss` is a column of `metrics.jsonl`, a scalar of
TensorBoard and one of Weights & Biases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class StepMetrics:
    """The figures of one training step; seconds of audio are summed over all processes."""

    loss: float  # finite or not
    gradient_norm: float  # before clipping, finite or not
    learning_rate: float
    audio_s: float  # audio of the batch, without padding
    padding_s: float
    wait_s: float  # the part of step_s that was spent waiting for the loader
    step_s: float  # since the end of the previous step

    @property
    def finite(self) -> bool:
        """Whether the weights could be updated."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


@dataclass
class StepMeans:
    """Sums over several training steps, and the means that follow from them."""

    steps: int = 0
    skipped: int = 0  # steps whose loss or gradient was not finite
    loss: float = 0.0  # of the steps that were not skipped
    gradient_norm: float = 0.0  # likewise
    audio_s: float = 0.0
    padding_s: float = 0.0
    wait_s: float = 0.0
    step_s: float = 0.0

    def add(self, step: StepMetrics) -> None:
        self.steps += 1
        if step.finite:
            self.loss += step.loss
            self.gradient_norm += step.gradient_norm
        else:
            self.skipped += 1
        self.audio_s += step.audio_s
        self.padding_s += step.padding_s
        self.wait_s += step.wait_s
        self.step_s += step.step_s

    @property
    def audio_s_per_s(self) -> float:
        return _ratio(self.audio_s, self.step_s)

    @property
    def padding_share(self) -> float:
        return _ratio(self.padding_s, self.audio_s + self.padding_s)

    @property
    def data_wait_share(self) -> float:
        return _ratio(self.wait_s, self.step_s)

    def figures(self) -> dict[str, float | None]:
        done = self.steps - self.skipped
        return {
            "train/loss": self.loss / done if done else None,
            "train/gradient_norm": self.gradient_norm / done if done else None,
            "train/skipped_steps": self.skipped,
            "train/padding_share": self.padding_share,
            "train/audio_s_per_s": self.audio_s_per_s,
            "train/data_wait_share": self.data_wait_share,
        }

    def __str__(self) -> str:
        return (
            f"{self.audio_s / 3600:.2f} hours of audio in {self.steps} steps: "
            f"{self.audio_s_per_s:.0f} s of audio per second, {self.padding_share:.1%} padding, "
            f"{self.data_wait_share:.1%} of the time spent waiting for data"
        )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
