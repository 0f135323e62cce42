"""The training loop, top to bottom.

Randomness is a function of (seed, step): nothing is carried from one step to the next but weights,
optimizer and counters, so a run that is killed and resumed does what it would have done.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from asr.augment import SpecAugment
from asr.checkpoint import Model, load_checkpoint, save_checkpoint
from asr.config import TrainConfig
from asr.dataset import BatchPlan, SpeechDataset, load_batches
from asr.errors import Failed
from asr.evaluate import evaluate
from asr.loss import ctc_loss
from asr.manifest import Utterance
from asr.recognizer import Recognizer, pick_device

log = logging.getLogger("asr")

CMVN_UTTERANCES = 2000  # from which global CMVN is measured: hours of speech, more changes nothing
BAD_STEPS = 5  # steps without a finite loss, one after another, that end the run
SILENT_VALIDATIONS = 3  # validations with nothing but blanks before it is explained


class Objective(nn.Module):
    """Waveforms and targets -> loss: what a training step computes, in one module.

    One module so that mixed precision and data parallelism wrap this, and never the model that
    validation uses.
    """

    def __init__(self, model: Model):
        super().__init__()
        self.features = model.features
        self.spec_augment = SpecAugment(model.config.spec_augment)
        self.acoustic = model.acoustic

    def forward(
        self, waveforms: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> Tensor:
        with torch.autocast(waveforms.device.type, enabled=False):
            features, frames = self.features(waveforms, lengths)  # (B, T, F), (B,)
            features = self.spec_augment(features, frames)
        log_probs, frames = self.acoustic(features, frames)  # (B, T', V), (B,)
        return ctc_loss(log_probs, frames, targets, target_lengths)


class StopRequest:
    """Ctrl-C asks the loop to stop after the step that it is in; a second one stops at once."""

    def __enter__(self) -> StopRequest:
        self.asked = 0
        self._previous = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _ask(self, *_) -> None:
        self.asked += 1
        if self.asked > 1:
            raise KeyboardInterrupt


@dataclass
class State:
    """Where a run stands, besides weights and optimizer."""

    epoch: int = 0
    batch: int = 0  # batches of this epoch that are done
    step: int = 0  # steps of the whole run that are done
    train_s: float = 0.0  # time spent on training and validation
    best: tuple[float, float] = (math.inf, math.inf)  # WER and CER of the best validation
    best_epoch: int = 0
    rate_scale: float = 1.0  # plateau schedule: halved when validation stops improving
    epochs_without_gain: int = 0
    silent_validations: int = 0


def train(
    model: Model,
    train_set: Sequence[Utterance],
    dev_set: Sequence[Utterance],
    folder: Path,
    console: Console,
) -> State:
    """Train `model` on `train_set`, leaving the best weights by WER on `dev_set` in it.

    Utterances must have been checked (`asr.check`). Checkpoints and TensorBoard logs go to
    `folder`; an unfinished run found there is resumed. Raises `Failed` when the loss stays
    infinite.
    """
    config, c = model.config, model.config.train
    device = pick_device(c.device)
    # A thread of torch that has to share its core makes all the others wait, several times a frame.
    torch.set_num_threads(c.threads or max(1, (os.cpu_count() or 1) - c.workers))
    accelerator = Accelerator(
        mixed_precision=c.precision,
        cpu=device.type == "cpu",
        dataloader_config=DataLoaderConfiguration(),
    )
    dataset = SpeechDataset(train_set, model.tokenizer, config)
    slowest = min(config.augment.speed, default=1.0)  # makes utterances longer
    plan = BatchPlan([u.duration_s / slowest for u in train_set], c.batch_s, config.seed)
    total_steps = sum(len(plan.batches(epoch)) for epoch in range(c.epochs))

    recognizer = Recognizer(model, accelerator.device)
    optimizer = torch.optim.AdamW(parameter_groups(model.acoustic, c.weight_decay), c.learning_rate)
    objective, optimizer = accelerator.prepare(Objective(model), optimizer)

    last, best = folder / "checkpoints/last.safetensors", folder / "checkpoints/best.safetensors"
    state = State()
    if last.exists():
        state = State(**load_checkpoint(last, model.modules, optimizer))
        state.best = tuple(state.best)
        log.info("resuming at step %d of %d (epoch %d)", state.step, total_steps, state.epoch + 1)
    elif config.features.cmvn == "global":
        measure_cmvn(model, dataset, plan, accelerator.device)

    def save() -> None:
        save_checkpoint(last, model.modules, optimizer, asdict(state))

    logs = SummaryWriter(str(folder / "tensorboard"), purge_step=state.step)
    progress = Progress(
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total} steps, {task.fields[figures]}"),
        TimeRemainingColumn(compact=True),
        console=console,
    )
    task = progress.add_task(
        "", total=total_steps, completed=state.step, epoch=state.epoch + 1, figures=""
    )
    # One loader for all epochs: its workers start once, and read ahead while the model validates.
    to_come = plan.following(state.epoch, state.batch, c.epochs)
    loaded = load_batches(dataset, to_come, c.workers, pin=device.type == "cuda")

    bad_steps = 0
    started, saved = time.monotonic() - state.train_s, time.monotonic()
    try:
        with progress, StopRequest() as stop:
            while state.epoch < c.epochs:
                batches = itertools.islice(loaded, len(plan.batches(state.epoch)) - state.batch)
                epoch_loss, epoch_started, epoch_audio_s = [], time.monotonic(), 0.0
                objective.train()
                for batch in batches:
                    rate = learning_rate(state.step, total_steps, c) * state.rate_scale
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    torch.manual_seed(step_seed(config.seed, state.step))
                    batch = batch.to(accelerator.device)
                    loss = objective(
                        batch.waveforms, batch.lengths, batch.targets, batch.target_lengths
                    )
                    accelerator.backward(loss)
                    norm = accelerator.clip_grad_norm_(objective.parameters(), c.clip_norm)
                    loss, norm = loss.item(), float(norm)
                    if math.isfinite(loss) and math.isfinite(norm):
                        optimizer.step()
                        bad_steps = 0
                        epoch_loss.append(loss)
                    else:
                        bad_steps += 1
                        log.warning(not_finite(loss, norm, state.step, batch.ids))
                        if bad_steps == BAD_STEPS:
                            raise Failed(
                                f"{BAD_STEPS} steps in a row without a finite loss: lower "
                                "train.learning_rate, raise train.warmup, or use train.precision=no"
                            )
                    optimizer.zero_grad()

                    state.step += 1
                    state.batch += 1
                    epoch_audio_s += batch.lengths.sum().item() / config.features.rate_hz
                    speed = epoch_audio_s / (time.monotonic() - epoch_started)
                    logs.add_scalar("train/loss", loss, state.step)
                    logs.add_scalar("train/learning_rate", rate, state.step)
                    logs.add_scalar("train/gradient_norm", norm, state.step)
                    logs.add_scalar("train/audio_s_per_s", speed, state.step)
                    progress.update(
                        task,
                        completed=state.step,
                        epoch=f"{state.epoch + 1}/{c.epochs}",
                        figures=f"loss {loss:.3f}, rate {rate:.1e}, {speed:.0f} s of audio/s",
                    )
                    if time.monotonic() - saved > c.checkpoint_minutes * 60:
                        state.train_s = time.monotonic() - started
                        save()
                        saved = time.monotonic()
                    if stop.asked:
                        raise KeyboardInterrupt

                if (state.epoch + 1) % c.validate_every == 0 or state.epoch + 1 == c.epochs:
                    evaluation = evaluate(recognizer, dev_set)
                    found = evaluation.score
                    logs.add_scalar("dev/wer", found.wer, state.step)
                    logs.add_scalar("dev/cer", found.cer, state.step)
                    better = (found.wer, found.cer) <= state.best  # the later of equals
                    mean_loss = sum(epoch_loss) / max(1, len(epoch_loss))
                    console.print(
                        f"epoch {state.epoch + 1}: loss {mean_loss:.3f}, dev WER {found.wer:.2%}, "
                        f"CER {found.cer:.2%}{', the best so far' if better else ''}",
                        highlight=False,
                    )
                    judge(state, found.wer, found.cer, c)
                    if better:
                        save_checkpoint(best, model.modules, optimizer, asdict(state))
                    if any(pair.hypothesis for pair in evaluation.pairs):
                        state.silent_validations = 0
                    else:
                        state.silent_validations += 1
                        if state.silent_validations % SILENT_VALIDATIONS == 0:
                            log.warning(all_blank(state.epoch + 1, mean_loss))
                state.batch = 0
                state.epoch += 1
                state.train_s = time.monotonic() - started
                save()
                saved = time.monotonic()
    except KeyboardInterrupt:
        if stop.asked == 1:  # between steps: weights, optimizer and counters belong together
            state.train_s = time.monotonic() - started
            save()
            console.print(f"stopped at step {state.step}; the same command goes on from here")
        raise
    finally:
        logs.close()
    load_checkpoint(best, model.modules)
    return state


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict]:
    """Matrices decay; biases and norms, which only shift and scale, do not."""
    parameters = list(module.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """Linear warm-up, then half a cosine down to zero, or flat for the plateau schedule."""
    warmup = max(1, round(config.warmup * total))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "plateau":
        return config.learning_rate
    done = (step - warmup) / max(1, total - warmup)  # [0, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def step_seed(seed: int, step: int) -> int:
    """A seed for dropout, dither and masks that no other step of the run has."""
    return (seed << 32) + step


def judge(state: State, wer: float, cer: float, config: TrainConfig) -> None:
    """Keep the best validation; halve the rate when the plateau schedule finds no gain."""
    gained = (wer, cer) < state.best
    if (wer, cer) <= state.best:
        state.best, state.best_epoch = (wer, cer), state.epoch + 1
    state.epochs_without_gain = 0 if gained else state.epochs_without_gain + 1
    if config.schedule == "plateau" and state.epochs_without_gain >= config.patience:
        state.rate_scale /= 2
        state.epochs_without_gain = 0
        log.info("no gain for %d validations: learning rate halved", config.patience)


def measure_cmvn(
    model: Model, dataset: SpeechDataset, plan: BatchPlan, device: torch.device
) -> None:
    """Set the mean and deviation of global CMVN from (part of) the training data."""
    batches, count = [], 0
    for batch in plan.batches(0):
        if count >= CMVN_UTTERANCES:
            break
        batches.append(batch)
        count += len(batch)
    loaded = load_batches(dataset, batches, model.config.train.workers)
    model.features.measure((b.waveforms.to(device), b.lengths.to(device)) for b in loaded)


def not_finite(loss: float, norm: float, step: int, ids: Sequence[str]) -> str:
    named = ", ".join(itertools.islice(ids, 8)) + (", ..." if len(ids) > 8 else "")
    return (
        f"step {step}: loss {loss:g}, gradient norm {norm:g}; the step is skipped. Its "
        f"{len(ids)} utterances: {named}. A loss that is not finite means numbers too large for "
        "the precision, or audio or text that CTC cannot align; listen to these if it happens again"
    )


def all_blank(epoch: int, loss: float) -> str:
    return (
        f"after epoch {epoch} the model still writes nothing: every frame is blank (loss a token "
        f"{loss:.2f}). CTC learns blanks first and letters after; a small corpus needs more steps "
        "for that. If it stays so: look whether texts belong to their audio (`asr check`), lower "
        "train.batch_s (more steps an epoch), raise train.epochs, or halve train.learning_rate"
    )
