"""The training loop.

All random numbers are a function of (seed, step). Only weights, optimizer and counters are carried
from one step to the next, so an interrupted and resumed run gives the same weights as a run without
interruption.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from asr.data.manifest import Utterance
from asr.model.model_file import Model
from asr.training import distributed
from asr.training.averaging import take_best
from asr.training.interrupt import StopRequest
from asr.training.schedule import TrainingState
from asr.training.step import train_step
from asr.training.trainer import Trainer, start_or_resume
from asr.training.validation import validate_epoch

log = logging.getLogger("asr")


def train(
    model: Model,
    train_set: Sequence[Utterance],
    dev_set: Sequence[Utterance],
    folder: Path,
    console: Console,
) -> TrainingState:
    """Train `model` on `train_set`; at the end it has the weights with the lowest WER on `dev_set`.

    Utterances must have been checked (`asr.data.check`). Checkpoints and the logs of `Monitor` go
    to `folder`; an unfinished run found there is resumed. If several processes call this together,
    each computes its part of every step, and only the main one writes. Raises `KeyboardInterrupt`
    on Ctrl-C: before the first step at once, later between two steps, after a checkpoint. Raises
    `Failed` if the loss stays infinite.
    """
    run = start_or_resume(model, train_set, folder, console)
    c, state = run.config.train, run.state
    with run.monitor, StopRequest() as stop:
        while state.epoch < c.epochs and not state.stopped:
            mean_loss = train_epoch(run, stop)
            last = state.stopped or state.epoch + 1 == c.epochs
            if last or (state.epoch + 1) % c.validate_every == 0:
                validate_epoch(run, dev_set, mean_loss)
            state.epoch, state.batch = state.epoch + 1, 0
            if distributed.any_process(stop.requested, run.accelerator):
                interrupt(run)
            run.save()
    if distributed.is_main():
        take_best(run.checkpoints.folder, model, dev_set, state, run.accelerator.device)
    return state


def train_epoch(run: Trainer, stop: StopRequest) -> float:
    """Run the remaining steps of the epoch; returns the mean of their finite losses.

    Sets `state.stopped` when `train.max_minutes` have passed.
    """
    state, losses = run.state, []
    run.objective.train()
    run.step_started = time.monotonic()
    for _ in range(run.sampler.steps(state.epoch) - state.batch):
        result = train_step(run, stop)
        if result.metrics.finite:
            losses.append(result.metrics.loss)
        run.monitor.step(state.step, state.epoch + 1, result.metrics)
        run.save_if_due()
        if result.interrupted:
            interrupt(run)
        if result.out_of_time:
            state.stopped = True
            log.info("training ends at step %d: train.max_minutes is over", state.step)
            break
    return sum(losses) / max(1, len(losses))


def interrupt(run: Trainer) -> None:
    """Save a checkpoint between two steps and raise `KeyboardInterrupt`."""
    run.save()
    run.console.print(f"stopped at step {run.state.step}; the same run resumes from here")
    raise KeyboardInterrupt
