"""One step of training: the gradients of all parts of a batch are summed, then weights are updated.

The host waits for the device only once per step, after all parts are queued: it reads the loss and
the gradient norm in one transfer, because they decide whether the weights may be updated.
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
    interrupted: bool  # whether any process was asked to stop
    out_of_time: bool  # whether `train.max_minutes` have passed


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
    """Run the forward and backward passes of the `train.accumulate` parts of this process."""
    accelerator, accumulate = run.accelerator, run.config.train.accumulate
    done = Accumulated([], torch.zeros((), device=accelerator.device))
    for number in range(accumulate):
        started = time.monotonic()
        batch = next(run.batches)
        done.wait_s += time.monotonic() - started
        audio_s, padding_s = batch.seconds(run.config.features.rate_hz)
        done.audio_s += audio_s
        done.padding_s += padding_s
        batch = batch.to(accelerator.device)
        done.batches.append(batch)
        seed_part(run.config.seed, run.state.step, distributed.rank(), number)
        complete = number + 1 == accumulate
        with nullcontext() if complete else accelerator.no_sync(run.objective):
            loss = run.objective(batch)
            # Gradients are averaged over the processes, but the step needs their sum.
            accelerator.backward(loss * accelerator.num_processes)
        done.loss += loss.detach()
    return done


def read_figures(
    run: Trainer, loss: Tensor, norm: Tensor, host: list[float]
) -> tuple[float, float, list[float]]:
    """Read the loss and the gradient norm from the device in one transfer.

    Returns loss, norm and `host` (numbers of this process); loss and `host` are summed over all
    processes, and the norm is the same in all of them.
    """
    if run.accelerator.num_processes == 1:
        loss, norm = torch.stack([loss, norm]).tolist()
        return loss, norm, host
    device = run.accelerator.device
    own = torch.cat([loss[None], torch.tensor(host, device=device)])
    sums = run.accelerator.reduce(own, "sum")
    loss, *host, norm = torch.cat([sums, norm[None]]).tolist()
    return loss, norm, host


def seed_part(seed: int, step: int, rank: int, number: int) -> None:
    """Seed dropout, dither and masks of a part; each step, process and part has its own seed."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank, number)).generate_state(1)[0]))
