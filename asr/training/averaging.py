"""Averages of weights: a moving average over steps (EMA), and the mean of the best validations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from asr.config import TrainConfig
from asr.data.manifest import Utterance
from asr.model.model_file import Model
from asr.training.checkpoint import load_checkpoint, save_checkpoint
from asr.training.schedule import TrainingState
from asr.training.task import task_of

log = logging.getLogger("asr")


def warming_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """The `avg_fn` of an `AveragedModel`: an exponential moving average with warm-up.

    The decay after n steps is min(decay, (1 + n) / (10 + n)), so that the weights of the first
    steps soon have little influence.
    """

    def average(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        return torch.lerp(new, old, min(decay, (1 + float(count)) / (10 + float(count))))

    return average


def best_file(checkpoints: Path, step: float) -> Path:
    """The file with the weights that were validated after `step`."""
    return checkpoints / f"best-{int(step):08d}.safetensors"


def keep_best(checkpoints: Path, model: Model, state: TrainingState, c: TrainConfig) -> None:
    """Save the weights that were just validated if they are among the `average_best` best ones.

    The file of the weights that they replace is deleted.
    """
    validated = [*state.validation, state.step]
    ranking = sorted([*state.kept, validated], key=lambda v: (v[0], v[1], -v[2]))
    state.kept, dropped = ranking[: c.average_best], ranking[c.average_best :]
    if validated in state.kept:
        save_checkpoint(best_file(checkpoints, state.step), model.modules, None, asdict(state))
    for _, _, step in dropped:
        best_file(checkpoints, step).unlink(missing_ok=True)


def take_best(
    checkpoints: Path,
    model: Model,
    dev_set: Sequence[Utterance],
    state: TrainingState,
    device: torch.device,
) -> None:
    """Load into `model` the mean of the kept weights, or the best ones if the mean is worse."""
    paths = [best_file(checkpoints, step) for _, _, step in state.kept]
    if len(paths) > 1:
        average_checkpoints(paths, model.modules)
        task = task_of(model.config)
        rates = task.evaluate(task.recognizer(model, device), dev_set).rates
        log.info("mean of the %d best: dev %s", len(paths), task.describe(rates))
        if rates <= state.best:
            state.best = rates
            return
    load_checkpoint(paths[0], model.modules)


def average_checkpoints(paths: Sequence[str | Path], modules: Mapping[str, nn.Module]) -> None:
    """Load the mean of the weights of several checkpoints; integers come from the first one."""
    sums: dict[str, dict[str, Tensor]] = {name: {} for name in modules}
    for path in paths:
        load_checkpoint(path, modules)
        for name, module in modules.items():
            _add(sums[name], module.state_dict())
    for name, module in modules.items():
        module.load_state_dict(
            {k: v / len(paths) if v.is_floating_point() else v for k, v in sums[name].items()}
        )


def _add(sums: dict[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    for key, value in tensors.items():
        if key not in sums:
            sums[key] = value.double() if value.is_floating_point() else value.clone()
        elif value.is_floating_point():
            sums[key] += value.double()
