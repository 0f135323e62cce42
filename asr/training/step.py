"""One step of training: gradients of a batch, added up over its parts, then an update.

Nothing waits for the device until all parts of the step are queued; then the loss and the gradient
norm are read in one transfer, because they decide whether the weights may be updated.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr.data.loader import Batch
from asr.training import distributed
from asr.training.interrupt import StopRequest
from asr.training.metrics import StepMetrics
from asr.training.optimizer import overflowed, set_learning_rate, update_weights
from asr.training.schedule import learning_rate
from asr.training.trainer import Trainer


@dataclass(frozen=True)
class StepResult:
    metrics: StepMetrics
    interrupted: bool  # a process was asked to stop
    out_of_time: bool  # `train.max_minutes` are over


@dataclass
class Accumulated:
    """The parts of a step that this process has computed."""

    batches: list[Batch]
    loss: Tensor  # () on the device: the sum over the parts
    audio_s: float = 0.0
    padding_s: float = 0.0
    wait_s: float = 0.0  # spent waiting for the loader


def train_step(run: Trainer, stop: StopRequest) -> StepResult:
    """Train on the next batch; every process calls this at the same time."""
    c, state = run.config.train, run.state
    rate = learning_rate(state.step, run.total_steps, c, state.epoch) * state.rate_scale
    set_learning_rate(run.optimizer, rate)
    done = accumulate_gradients(run)
    if state.step < c.freeze_steps:
        for parameter in run.frozen:
            parameter.grad = None
    norm = run.accelerator.clip_grad_norm_(run.objective.parameters(), c.clip_norm)
    out_of_time = c.max_minutes is not None and run.train_s > 60 * c.max_minutes
    host = [done.audio_s, done.padding_s, float(stop.requested), float(out_of_time)]
    loss, norm, (audio_s, padding_s, stops, overtime) = read_figures(run, done.loss, norm, host)

    if update_weights(run.accelerator, run.optimizer, loss, norm):
        run.bad_batches.good_step()
        if run.averaged is not None:
            run.averaged.update_parameters(run.model.acoustic)
    elif not overflowed(run.accelerator, loss):
        run.bad_batches.bad_step(state.step, distributed.rank(), done.batches, loss, norm)
    run.optimizer.zero_grad()
    state.step += 1
    state.batch += 1
    now = time.monotonic()
    step_s, run.step_started = now - run.step_started, now
    metrics = StepMetrics(loss, norm, rate, audio_s, padding_s, done.wait_s, step_s)
    return StepResult(metrics, bool(stops), bool(overtime))


def accumulate_gradients(run: Trainer) -> Accumulated:
    """Forward and backward pass of the `train.accumulate` parts of this process's share."""
    accelerator, accumulate = run.accelerator, run.config.train.accumulate
    done = Accumulated([], torch.zeros((), device=accelerator.device))
    for number in range(accumulate):
        asked = time.monotonic()
        batch = next(run.batches)
        done.wait_s += time.monotonic() - asked
        audio_s, padding_s = batch.seconds(run.config.features.rate_hz)
        done.audio_s += audio_s
        done.padding_s += padding_s
        batch = batch.to(accelerator.device)
        done.batches.append(batch)
        seed_part(run.config.seed, run.state.step, distributed.rank(), number)
        complete = number + 1 == accumulate
        with nullcontext() if complete else accelerator.no_sync(run.objective):
            loss = run.objective(batch)
            # Processes average their gradients, and the step needs the sum.
            accelerator.backward(loss * accelerator.num_processes)
        done.loss += loss.detach()
    return done


def read_figures(
    run: Trainer, loss: Tensor, norm: Tensor, host: list[float]
) -> tuple[float, float, list[float]]:
    """Loss, gradient norm and `host`, in one transfer from the device.

    loss and host are summed over all processes; the norm is the same in all of them.
    """
    if run.accelerator.num_processes == 1:
        loss, norm = torch.stack([loss, norm]).tolist()
        return loss, norm, host
    device = run.accelerator.device
    mine = torch.cat([loss[None], torch.tensor(host, device=device)])
    sums = run.accelerator.reduce(mine, "sum")
    loss, *host, norm = torch.cat([sums, norm[None]]).tolist()
    return loss, norm, host


def seed_part(seed: int, step: int, rank: int, number: int) -> None:
    """Seed dropout, dither and masks of a part: different for each step, process and part."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank, number)).generate_state(1)[0]))
