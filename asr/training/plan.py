"""How long to train: `train.batch_s: auto` and `train.epochs: auto`, from the size of the corpus.

CTC first learns to write only blanks, and needs hundreds to thousands of steps before it writes
letters, however small the corpus is. A small corpus therefore gets small batches and many epochs.
"""

from __future__ import annotations

import logging
import math

from asr.config import Config

log = logging.getLogger("asr")

MIN_STEPS_PER_EPOCH = 100  # unless batches would be shorter than MIN_BATCH_S
MIN_BATCH_S = 20.0  # a step with less audio takes about as long, and its gradient is noisier
MIN_STEPS = 4000  # from random weights
MIN_STEPS_TUNING = 1000  # from the weights of another model
EPOCHS, EPOCHS_TUNING = (30, 300), (10, 100)  # at least, at most
FEW_STEPS = 500  # a plan with fewer is likely to end with a model that writes only blanks


def wanted_batch_s(total_s: float, longest_s: float, max_s: float) -> float:
    """The seconds of audio per step for a training set of `total_s` seconds.

    It is total_s / MIN_STEPS_PER_EPOCH, but at least MIN_BATCH_S and at most `max_s`, and never
    less than the longest utterance.
    """
    return max(longest_s, min(max(total_s / MIN_STEPS_PER_EPOCH, MIN_BATCH_S), max_s))


def wanted_epochs(steps_per_epoch: int, tuning: bool) -> int:
    """The number of epochs that gives at least MIN_STEPS steps, within the limits of EPOCHS.

    tuning: whether training starts from another model, which needs MIN_STEPS_TUNING steps.
    """
    steps, (least, most) = (MIN_STEPS_TUNING, EPOCHS_TUNING) if tuning else (MIN_STEPS, EPOCHS)
    return min(max(math.ceil(steps / max(1, steps_per_epoch)), least), most)


def resolve(config: Config, batch_s: float, steps_per_epoch: int) -> Config:
    """The configuration with numbers in place of `auto` in train.batch_s and train.epochs.

    If batch_s was `auto`, data.max_duration_s becomes at most what fits in a batch; the utterances
    of the training set do fit.
    """
    c, data = config.train, config.data
    epochs = wanted_epochs(steps_per_epoch, bool(c.init_from)) if c.epochs == "auto" else c.epochs
    if c.batch_s == "auto":
        longest_s = min(data.max_duration_s, batch_s * config.augment.pace[0])
        data = data.model_copy(update={"max_duration_s": longest_s})
    train = c.model_copy(update={"batch_s": batch_s, "epochs": epochs})
    return config.model_copy(update={"train": train, "data": data})


def report(config: Config, resolved: Config, total_steps: int) -> None:
    """Log the plan in one line if parts of it were `auto`, and warn if it has too few steps."""
    c = resolved.train
    chosen = [f"train.{k}" for k in ("batch_s", "epochs") if config["train." + k] == "auto"]
    if chosen:
        log.info(
            "%d steps: %d epochs with up to %.0f s of audio per step (%s: auto)",
            total_steps,
            c.epochs,
            c.batch_s,
            " and ".join(chosen),
        )
    if total_steps < FEW_STEPS and not c.init_from and config.task == "transcribe":
        log.warning(
            "%d steps are few: CTC needs hundreds to thousands before it writes more than blanks. "
            "Lower train.batch_s, raise train.epochs, or start from a trained model "
            "(train.init_from)",
            total_steps,
        )
