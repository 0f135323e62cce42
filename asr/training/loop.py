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
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from rich.console import Console
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from asr.config import Config, TrainConfig
from asr.data import manifest
from asr.data.loader import Batch, SpeechDataset, load_batches
from asr.data.manifest import Utterance
from asr.data.sampler import BatchSampler, split_batch
from asr.data.shards import ShardBatchSampler, Shards, durations_s
from asr.errors import Failed
from asr.model.model_file import Model
from asr.recognition.recognizer import Recognizer, pick_device
from asr.scoring.evaluate import evaluate
from asr.training import checkpoint, distributed, finetune
from asr.training.batch_size import find_batch_s
from asr.training.monitor import Monitor, StepMetrics
from asr.training.objective import Objective
from asr.training.schedule import TrainingState, learning_rate, record_validation

log = logging.getLogger("asr")

CMVN_UTTERANCES = 2000  # from which global CMVN is measured: hours of speech, more changes nothing
BAD_STEPS = 5  # steps without a finite loss, one after another, that end the run
KEPT_BATCHES = 10  # of steps without a finite loss, to listen to
BLANK_VALIDATIONS = 3  # validations with nothing but blanks before it is explained


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


def train(
    model: Model,
    train_set: Sequence[Utterance],
    dev_set: Sequence[Utterance],
    folder: Path,
    console: Console,
) -> TrainingState:
    """Train `model` on `train_set`, leaving the best weights by WER on `dev_set` in it.

    Utterances must have been checked (`asr.data.check`). Checkpoints and what `Monitor` shows go to
    `folder`; an unfinished run found there is resumed. Where several processes run this together,
    each computes its part of every step, and the first one writes. Raises `Failed` when the loss
    stays infinite.
    """
    config, c = model.config, model.config.train
    accelerator = prepare_device(c)
    device, ranks, main = accelerator.device, accelerator.num_processes, distributed.is_main()
    dataset = SpeechDataset(train_set, model.tokenizer, config)

    checkpoints = folder / "checkpoints"
    state, shown = TrainingState(), None
    if c.init_from and not checkpoint.checkpoint_files(checkpoints):
        state.inherited = finetune.initialize(model, c.init_from)
    optimizer = make_optimizer(model.acoustic, c)
    modules = dict(model.modules)
    averaged = None
    if c.ema:
        averaged = AveragedModel(model.acoustic.to(device), avg_fn=warming_average(c.ema))
        modules["ema"] = averaged
    objective, optimizer = accelerator.prepare(Objective(model), optimizer)
    validated = replace(model, acoustic=averaged.module) if averaged else model
    recognizer = Recognizer(validated, device)

    saved = checkpoint.load_newest(checkpoints, modules, optimizer)
    if saved is not None:
        scaler, shown = saved.pop("scaler"), saved.pop("monitor")
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(scaler)
        state = TrainingState(**saved)
        state.best = tuple(state.best)
    if c.batch_s != "auto":
        state.batch_s = c.batch_s
    elif not state.batch_s:
        state.batch_s = agreed_batch_s(accelerator, Objective(model), dataset, config)
    plan = plan_batches(train_set, state.batch_s, config)
    total_steps = sum(plan.steps(epoch) for epoch in range(c.epochs))
    if saved is not None:
        log.info("resuming at step %d of %d (epoch %d)", state.step, total_steps, state.epoch + 1)
    elif config.features.cmvn == "global":
        measure_cmvn(model, dataset, plan, device)
    frozen = finetune.frozen_parameters(model.acoustic, state.inherited)

    def save() -> None:
        state.train_s = time.monotonic() - started
        if main:
            scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
            path = checkpoint.checkpoint_file(checkpoints, state.step)
            besides = {"scaler": scaler, "monitor": monitor.checkpoint()}
            checkpoint.save_checkpoint(path, modules, optimizer, asdict(state) | besides)
            for old in checkpoint.checkpoint_files(checkpoints)[c.keep_checkpoints :]:
                old.unlink()

    monitor = Monitor(folder, config, total_steps, console, state.step, shown, writes=main)
    # One loader for all epochs: its workers start once, and read ahead while the model validates.
    mine = slice(distributed.rank() * c.accumulate, (distributed.rank() + 1) * c.accumulate)
    to_come = plan.following(state.epoch, state.batch, c.epochs)
    parts = (part for batch in to_come for part in split_batch(batch, ranks * c.accumulate)[mine])
    loaded = load_batches(dataset, parts, c.workers, pin=device.type == "cuda")

    bad_steps = 0
    started, last_saved = time.monotonic() - state.train_s, time.monotonic()
    try:
        with monitor, StopRequest() as stop:
            while state.epoch < c.epochs and not state.stopped:
                epoch_loss, step_started = [], time.monotonic()
                objective.train()
                for _ in range(plan.steps(state.epoch) - state.batch):
                    rate = learning_rate(state.step, total_steps, c, state.epoch) * state.rate_scale
                    for group in optimizer.param_groups:
                        group["lr"] = rate * group["scale"]
                    # loss, audio, padding, requests to stop, time over: sums over all processes
                    figures = torch.zeros(5)
                    batches, wait_s = [], 0.0
                    for number in range(c.accumulate):
                        asked = time.monotonic()
                        batch = next(loaded)
                        wait_s += time.monotonic() - asked
                        audio_s, padding_s = batch.seconds(config.features.rate_hz)
                        batch = batch.to(device)
                        batches.append(batch)
                        seed_step(config.seed, state.step, distributed.rank(), number)
                        complete = number + 1 == c.accumulate
                        with nullcontext() if complete else accelerator.no_sync(objective):
                            loss = objective(batch)
                            # Processes take the mean of their gradients; the step wants the sum.
                            accelerator.backward(loss * ranks)
                        figures[:3] += torch.tensor([loss.item(), audio_s, padding_s])
                    if state.step < c.freeze_steps:
                        for parameter in frozen:
                            parameter.grad = None
                    norm = accelerator.clip_grad_norm_(objective.parameters(), c.clip_norm)
                    figures[3] = stop.asked
                    figures[4] = time.monotonic() - started > 60 * (c.max_minutes or math.inf)
                    if ranks > 1:
                        figures = accelerator.reduce(figures.to(device), "sum").cpu()
                    (loss, audio_s, padding_s, stops, over), norm = figures.tolist(), float(norm)
                    if math.isfinite(loss) and math.isfinite(norm):
                        optimizer.step()
                        if averaged is not None:
                            averaged.update_parameters(model.acoustic)
                        bad_steps = 0
                        epoch_loss.append(loss)
                    elif math.isfinite(loss) and seeks_scale(accelerator):
                        optimizer.step()
                    else:
                        bad_steps += 1
                        where = folder / f"bad-batches/step-{state.step}-rank-{distributed.rank()}"
                        keep_batches(where, batches, config.features.rate_hz)
                        ids = [name for batch in batches for name in batch.ids]
                        log.warning(not_finite(loss, norm, state.step, ids, where))
                        if bad_steps == BAD_STEPS:
                            raise Failed(
                                f"{BAD_STEPS} steps in a row without a finite loss: lower "
                                "train.learning_rate, raise train.warmup, or use train.precision=no"
                            )
                    optimizer.zero_grad()

                    state.step += 1
                    state.batch += 1
                    step_s = time.monotonic() - step_started
                    step_started += step_s
                    told = StepMetrics(loss, norm, rate, audio_s, padding_s, wait_s, step_s)
                    monitor.step(state.step, state.epoch + 1, told)
                    if time.monotonic() - last_saved > c.checkpoint_minutes * 60:
                        save()
                        last_saved = time.monotonic()
                    if stops:
                        raise KeyboardInterrupt
                    if over:
                        state.stopped = True
                        log.info("training ends at step %d: train.max_minutes is over", state.step)
                        break

                last = state.stopped or state.epoch + 1 == c.epochs
                if last or (state.epoch + 1) % c.validate_every == 0:
                    evaluation = distributed.validate(recognizer, dev_set)
                    found = evaluation.score
                    mean_loss = sum(epoch_loss) / max(1, len(epoch_loss))
                    better = record_validation(state, found.wer, found.cer, c)
                    epoch = state.epoch + 1
                    monitor.validation(state.step, epoch, evaluation, recognizer, dev_set, better)
                    if main:
                        keep_best(checkpoints, validated, state, c)
                    console.print(
                        f"epoch {epoch}: loss {mean_loss:.3f}, dev WER {found.wer:.2%}, "
                        f"CER {found.cer:.2%}{', the best so far' if better else ''}",
                        highlight=False,
                    )
                    if any(pair.hypothesis for pair in evaluation.pairs):
                        state.blank_validations = 0
                    else:
                        state.blank_validations += 1
                        if state.blank_validations % BLANK_VALIDATIONS == 0:
                            log.warning(all_blank(epoch, mean_loss))
                state.batch = 0
                state.epoch += 1
                save()
                last_saved = time.monotonic()
    except KeyboardInterrupt:
        if stop.asked < 2:  # between steps: weights, optimizer and counters belong together
            save()
            console.print(f"stopped at step {state.step}; the same command goes on from here")
        raise
    if main:
        take_best(checkpoints, model, dev_set, state, device)
    return state


def prepare_device(config: TrainConfig) -> Accelerator:
    """Threads, precision and determinism as configured, on this process's device."""
    device = pick_device(config.device)
    # A thread of torch that has to share its core makes all the others wait, several times a frame.
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    torch.set_num_threads(config.threads or max(1, cores - config.workers))
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    return Accelerator(
        mixed_precision=config.precision,
        cpu=device.type == "cpu",
        dataloader_config=DataLoaderConfiguration(),
    )


def make_optimizer(acoustic: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    groups = finetune.parameter_groups(acoustic, config.weight_decay, config.layer_decay)
    if config.optimizer == "sgd":
        nesterov = config.momentum > 0
        return torch.optim.SGD(groups, config.learning_rate, config.momentum, nesterov=nesterov)
    return torch.optim.AdamW(groups, config.learning_rate)


def plan_batches(train_set: Sequence[Utterance], batch_s: float, config: Config) -> BatchSampler:
    speeds, added_s = config.augment.speed, 2 * config.augment.pad_silence_s
    if isinstance(train_set, Shards):
        together = config.data.shuffle_shards
        return ShardBatchSampler(train_set, together, batch_s, config.seed, speeds, added_s)
    return BatchSampler(durations_s(train_set), batch_s, config.seed, speeds, added_s)


def agreed_batch_s(
    accelerator: Accelerator, objective: Objective, dataset: SpeechDataset, config: Config
) -> float:
    """The batch size found by itself: the least of what each process found."""
    slowest = min(config.augment.speed, default=1.0)
    found_s = find_batch_s(
        objective,
        durations_s(dataset.utterances) / slowest + 2 * config.augment.pad_silence_s,
        max(len(target) for target in dataset.targets),
        config.features.rate_hz,
        accelerator.device,
        accelerator.num_processes * config.train.accumulate,
    )
    return accelerator.gather(torch.tensor([found_s], device=accelerator.device)).min().item()


def seeks_scale(accelerator: Accelerator) -> bool:
    """Whether an overflow is just fp16's scaler finding its scale."""
    return accelerator.scaler is not None and accelerator.scaler.get_scale() > 1


def warming_average(decay: float):
    """For `AveragedModel`: an exponential moving average that forgets the first steps sooner."""

    def average(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        return torch.lerp(new, old, min(decay, (1 + float(count)) / (10 + float(count))))

    return average


def seed_step(seed: int, step: int, rank: int, number: int) -> None:
    """Dropout, dither and masks of a pass: as no other step, process or pass has them."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank, number)).generate_state(1)[0]))


def best_file(checkpoints: Path, step: float) -> Path:
    return checkpoints / f"best-{int(step):08d}.safetensors"


def keep_best(checkpoints: Path, model: Model, state: TrainingState, config: TrainConfig) -> None:
    """Keep the weights just validated if they are among the best; drop those they displace."""
    wer, cer = state.validation
    ranking = sorted([*state.kept, [wer, cer, state.step]], key=lambda v: (v[0], v[1], -v[2]))
    state.kept, dropped = ranking[: config.average_best], ranking[config.average_best :]
    if [wer, cer, state.step] in state.kept:
        path = best_file(checkpoints, state.step)
        checkpoint.save_checkpoint(path, model.modules, None, asdict(state))
    for _, _, step in dropped:
        best_file(checkpoints, step).unlink(missing_ok=True)


def take_best(
    checkpoints: Path,
    model: Model,
    dev_set: Sequence[Utterance],
    state: TrainingState,
    device: torch.device,
) -> None:
    """Load the best weights into `model`, or the mean of the best where that is no worse."""
    paths = [best_file(checkpoints, step) for _, _, step in state.kept]
    if len(paths) > 1:
        checkpoint.average_checkpoints(paths, model.modules)
        found = evaluate(Recognizer(model, device), dev_set).score
        log.info("mean of the %d best: dev WER %.2f%%", len(paths), 100 * found.wer)
        if (found.wer, found.cer) <= state.best:
            state.best = (found.wer, found.cer)
            return
    checkpoint.load_checkpoint(paths[0], model.modules)


def measure_cmvn(
    model: Model, dataset: SpeechDataset, plan: BatchSampler, device: torch.device
) -> None:
    """Set the mean and deviation of global CMVN from (part of) the training data."""
    parts, count = [], 0
    for batch in plan.following(0, 0, 1):
        if count >= CMVN_UTTERANCES:
            break
        parts += split_batch(batch, 1)
        count += len(batch)
    loaded = load_batches(dataset, parts, model.config.train.workers)
    model.features.measure((b.waveforms.to(device), b.lengths.to(device)) for b in loaded)


def keep_batches(folder: Path, batches: Sequence[Batch], rate_hz: int) -> None:
    """Write what a step heard as a manifest with recordings, to listen to and for `asr check`."""
    if len(list(folder.parent.glob("*"))) >= KEPT_BATCHES:
        return
    utterances = []
    folder.mkdir(parents=True, exist_ok=True)
    for number, batch in enumerate(batches):
        rows = zip(batch.ids, batch.texts, batch.lengths.tolist(), strict=True)
        for i, (name, text, length) in enumerate(rows):
            path = folder / f"{number}-{i}.wav"
            samples = batch.waveforms[i, :length].cpu().numpy()
            soundfile.write(path, samples, rate_hz, subtype="FLOAT")
            duration_s = length / rate_hz
            utterances.append(Utterance(name, str(path), duration_s=duration_s, text=text))
    manifest.write(folder / "manifest.jsonl", utterances)


def not_finite(loss: float, norm: float, step: int, ids: Sequence[str], kept: Path) -> str:
    named = ", ".join(itertools.islice(ids, 8)) + (", ..." if len(ids) > 8 else "")
    return (
        f"step {step}: loss {loss:g}, gradient norm {norm:g}; the step is skipped. Its "
        f"{len(ids)} utterances: {named}. A loss that is not finite means numbers too large for "
        "the precision, or audio or text that CTC cannot align; listen to these if it happens "
        f"again: {kept} has the first such batches as they were heard"
    )


def all_blank(epoch: int, loss: float) -> str:
    return (
        f"after epoch {epoch} the model still writes nothing: every frame is blank (loss a token "
        f"{loss:.2f}). CTC learns blanks first and letters after; a small corpus needs more steps "
        "for that. If it stays so: look whether texts belong to their audio (`asr check`), lower "
        "train.batch_s (more steps an epoch), raise train.epochs, or halve train.learning_rate"
    )
