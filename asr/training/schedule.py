"""The learning rate over a run, and how validations change it."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import Any

from asr.config import TrainConfig

log = logging.getLogger("asr")


@dataclass
class TrainingState:
    """The counters of a run, in plain types as checkpoints store them."""

    epoch: int = 0  # number of finished epochs
    batch: int = 0  # number of finished batches of the current epoch
    step: int = 0  # number of finished steps of the whole run
    batch_s: float = 0.0  # seconds of audio per step; 0 until it is known
    train_s: float = 0.0  # time spent on training and validation
    # The rates of the best validation: WER and CER, or error rate and cross-entropy of classes
    best: tuple[float, float] = (math.inf, math.inf)
    best_epoch: int = 0
    validation: tuple[float, float] = (math.inf, math.inf)  # those of the last validation
    kept: list[list[float]] = field(default_factory=list)  # [*rates, step] of the kept weights
    rate_scale: float = 1.0  # plateau schedule: halved when validation stops improving
    epochs_without_gain: int = 0  # since the best validation, or since the rate was halved
    validations_without_gain: int = 0  # since the best validation
    blank_validations: int = 0  # consecutive validations in which every hypothesis was empty
    stopped: bool = False  # by train.early_stopping or train.max_minutes
    inherited: list[str] = field(default_factory=list)  # layers that came from train.init_from

    @classmethod
    def restore(cls, saved: dict[str, Any]) -> TrainingState:
        """The state stored in a checkpoint, whose JSON has lists instead of tuples."""
        state = cls(**saved)
        state.best, state.validation = tuple(state.best), tuple(state.validation)
        return state


def learning_rate(step: int, total: int, config: TrainConfig, epoch: int = 0) -> float:
    """The learning rate of a step: linear warm-up to `config.learning_rate` (lr), then a schedule.

    With w warm-up steps of `total` and d = (step - w) / (total - w), the schedules are
    cosine: lr * (1 + cos(pi * d)) / 2; noam: lr * sqrt(w / (step + 1)) (Vaswani et al. 2017);
    exponential: lr / anneal^epoch; plateau: lr, which `record_validation` halves.
    """
    warmup = max(1, round(config.warmup * total))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "plateau":
        return config.learning_rate
    if config.schedule == "exponential":
        return config.learning_rate / config.anneal**epoch
    if config.schedule == "noam":
        return config.learning_rate * math.sqrt(warmup / (step + 1))
    done = (step - warmup) / max(1, total - warmup)  # [0, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def record_validation(
    state: TrainingState, rates: tuple[float, float], config: TrainConfig
) -> bool:
    """Record a validation; returns whether it is the best so far (ties count as best).

    rates: the lower the better; the second one decides when the first ones are equal.
    The plateau schedule halves the rate after `patience` consecutive validations without a gain;
    training stops after `early_stopping` of them.
    """
    state.validation = rates
    gained = rates < state.best
    best = rates <= state.best
    if best:
        state.best, state.best_epoch = rates, state.epoch + 1
    state.epochs_without_gain = 0 if gained else state.epochs_without_gain + 1
    state.validations_without_gain = 0 if gained else state.validations_without_gain + 1
    if config.schedule == "plateau" and state.epochs_without_gain >= config.patience:
        state.rate_scale /= 2
        state.epochs_without_gain = 0
        log.info("no gain for %d validations: learning rate halved", config.patience)
    if (
        config.early_stopping is not None
        and state.validations_without_gain >= config.early_stopping
    ):
        state.stopped = True
        log.info("no gain for %d validations: training ends here", config.early_stopping)
    return best
