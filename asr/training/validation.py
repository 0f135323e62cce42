"""Validation at the end of an epoch: log the result, keep the best weights, warn of blanks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from asr.data.manifest import Utterance
from asr.training import distributed
from asr.training.averaging import keep_best
from asr.training.schedule import record_validation
from asr.training.trainer import Trainer

log = logging.getLogger("asr")

BLANK_VALIDATIONS = 3  # a warning follows this many validations with only empty hypotheses


def validate_epoch(run: Trainer, dev_set: Sequence[Utterance], mean_loss: float) -> None:
    """Evaluate the model on `dev_set`, log the result, keep the weights if they are among the best.

    mean_loss: the mean loss of the steps of the epoch, for the messages.
    """
    state, epoch = run.state, run.state.epoch + 1
    evaluation = distributed.in_shares(
        partial(run.task.evaluate, run.recognizer), run.task.joined, dev_set
    )
    best = record_validation(state, evaluation.rates, run.config.train)
    run.monitor.validation(state.step, epoch, evaluation, run.recognizer, dev_set, best)
    if distributed.is_main():
        keep_best(run.checkpoints.folder, run.validated, state, run.config.train)
    run.console.print(
        f"epoch {epoch}: loss {mean_loss:.3f}, dev {run.task.describe(evaluation.rates)}"
        f"{', the best so far' if best else ''}",
        highlight=False,
    )
    if not evaluation.says_nothing:
        state.blank_validations = 0
        return
    state.blank_validations += 1
    if state.blank_validations % BLANK_VALIDATIONS == 0:
        log.warning(
            "after epoch %d the model still outputs only blanks (loss per token %.2f). CTC learns "
            "blanks before letters, and letters may need more steps than a small corpus gives. If "
            "this continues: check that the texts belong to their audio, lower train.batch_s "
            "(more steps per epoch), raise train.epochs, or halve train.learning_rate",
            epoch,
            mean_loss,
        )
