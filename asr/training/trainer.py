"""The state of a training run in memory, started from the beginning or from a checkpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import nn
from torch.optim.swa_utils import AveragedModel

from asr import files
from asr.config import Config, to_yaml
from asr.data.loader import Batch, SpeechDataset
from asr.data.manifest import Utterance
from asr.data.sampler import BatchSampler
from asr.model.features import MEASURED
from asr.model.model_file import Model
from asr.training import distributed, finetune, plan
from asr.training.averaging import warming_average
from asr.training.bad_batches import BadBatches
from asr.training.batch_size import agree_on_batch_s
from asr.training.batches import make_sampler, measure_cmvn, remaining_batches
from asr.training.checkpoint import Checkpoints
from asr.training.device import prepare_device
from asr.training.monitor import Monitor
from asr.training.optimizer import make_optimizer
from asr.training.schedule import TrainingState
from asr.training.task import Task, task_of

log = logging.getLogger("asr")


@dataclass
class Trainer:
    """The objects that the steps and the validations of a run share."""

    model: Model  # the model whose weights the optimizer changes
    validated: Model  # the same model, or the one with the moving average of its weights
    accelerator: Accelerator
    objective: nn.Module  # wrapped for mixed precision and data parallelism
    optimizer: torch.optim.Optimizer
    averaged: AveragedModel | None
    frozen: list[nn.Parameter]  # parameters that do not change before `train.freeze_steps`
    checkpoints: Checkpoints
    state: TrainingState
    sampler: BatchSampler
    batches: Iterator[Batch]  # this process's share; `train.accumulate` of them make a step
    total_steps: int
    bad_batches: BadBatches
    monitor: Monitor
    console: Console
    started: float = 0.0  # monotonic time of the start, minus the seconds trained before it
    step_started: float = 0.0  # monotonic time
    saved: float = field(default_factory=time.monotonic)  # when the last checkpoint was written

    def __post_init__(self):
        self.config: Config = self.model.config
        self.task: Task = task_of(self.config)
        self.recognizer = self.task.recognizer(self.validated, self.accelerator.device)
        self.started = time.monotonic() - self.state.train_s

    @property
    def train_s(self) -> float:
        """Seconds of training and validation, including those before an interruption."""
        return time.monotonic() - self.started

    def save(self) -> None:
        """Write a checkpoint, in the main process only."""
        self.state.train_s = self.train_s
        if distributed.is_main():
            rest = {"monitor": self.monitor.checkpoint()}
            self.checkpoints.save(self.state.step, asdict(self.state) | rest)
        self.saved = time.monotonic()

    def save_if_due(self) -> None:
        """Write a checkpoint if `train.checkpoint_minutes` have passed since the last one."""
        if time.monotonic() - self.saved > self.config.train.checkpoint_minutes * 60:
            self.save()


def start_or_resume(
    model: Model, train_set: Sequence[Utterance], folder: Path, console: Console
) -> Trainer:
    """Set up the training of `model`, from the newest checkpoint in `folder` if there is one.

    The model gets a configuration with numbers in place of `auto` in train.batch_s and
    train.epochs. Nothing is written except that configuration and the logs of `Monitor`.
    """
    config, c = model.config, model.config.train
    accelerator = prepare_device(c)
    dataset = SpeechDataset(train_set, model.tokenizer, config)
    state = TrainingState()
    if c.init_from and not Checkpoints.exist(folder / "checkpoints"):
        state.inherited = finetune.initialize(model, c.init_from)
    optimizer = make_optimizer(model.acoustic, c)
    modules, averaged, validated = dict(model.modules), None, model
    if c.ema:
        moved = model.acoustic.to(accelerator.device)
        averaged = AveragedModel(moved, avg_fn=warming_average(c.ema))
        modules["ema"] = averaged
        validated = replace(model, acoustic=averaged.module)
    make_objective = partial(task_of(config).objective, model, dataset)
    objective, optimizer = accelerator.prepare(make_objective(), optimizer)

    checkpoints = Checkpoints(
        folder / "checkpoints", modules, optimizer, accelerator.scaler, c.keep_checkpoints
    )
    saved = checkpoints.load()
    logged = saved.pop("monitor") if saved is not None else None
    if saved is not None:
        state = TrainingState.restore(saved)
    if c.batch_s != "auto":
        state.batch_s = c.batch_s
    elif not state.batch_s:
        state.batch_s = agree_on_batch_s(accelerator, make_objective(), dataset, config)
    sampler = make_sampler(train_set, state.batch_s, config)
    given, config = config, plan.resolve(config, state.batch_s, sampler.steps(0))
    model.config = validated.config = config
    total_steps = sum(sampler.steps(epoch) for epoch in range(config.train.epochs))
    if saved is not None:
        log.info("resuming at step %d of %d (epoch %d)", state.step, total_steps, state.epoch + 1)
    elif config.features.cmvn in MEASURED:
        measure_cmvn(model, dataset, sampler, accelerator.device)
    if saved is None:
        plan.report(given, config, total_steps)

    writes = distributed.is_main()
    if writes:
        files.write(folder / "config.yaml", to_yaml(config))
    return Trainer(
        model=model,
        validated=validated,
        accelerator=accelerator,
        objective=objective,
        optimizer=optimizer,
        averaged=averaged,
        frozen=finetune.frozen_parameters(model.acoustic, state.inherited),
        checkpoints=checkpoints,
        state=state,
        sampler=sampler,
        batches=remaining_batches(dataset, sampler, state, config, accelerator),
        total_steps=total_steps,
        bad_batches=BadBatches(folder / "bad-batches", config.features.rate_hz),
        monitor=Monitor(folder, config, total_steps, console, state.step, logged, writes=writes),
        console=console,
    )
