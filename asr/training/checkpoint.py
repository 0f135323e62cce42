"""Checkpoints of a training run, to resume from: safetensors with a JSON header, no pickle."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from asr import files
from asr.errors import UserError
from asr.model.model_file import below, load_tensors

log = logging.getLogger("asr")


def save_checkpoint(
    path: str | Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer | None,
    state: dict[str, Any],
) -> None:
    """Modules, optimizer and plain-typed `state` in one safetensors file, with a checksum."""
    tensors = {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    meta = {"state": state}
    if optimizer is not None:
        optimizer_state = optimizer.state_dict()
        for index, slots in optimizer_state["state"].items():
            for key, value in slots.items():
                tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
        meta["param_groups"] = optimizer_state["param_groups"]
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    meta["crc32"] = _checksum(contiguous)
    files.write(path, safetensors.torch.save(contiguous, {"asr": json.dumps(meta)}))


def load_checkpoint(
    path: str | Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer | None = None,
) -> dict[str, Any]:
    """Put modules and optimizer back as they were saved; returns the `state`.

    Raises `Damaged` when the file is not whole, `UserError` when it belongs to another model.
    """
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            meta = json.loads(file.metadata()["asr"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        if _checksum(tensors) != meta["crc32"]:
            raise ValueError("its checksum does not fit")
    except (safetensors.SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise Damaged(f"{path}: not a checkpoint, or damaged: {error}") from None
    for name, module in modules.items():
        load_tensors(module, below(tensors, f"{name}."), path)
    if optimizer is not None:
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in below(tensors, "optimizer.").items():
            index, _, slot = key.partition(".")
            slots.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": slots, "param_groups": meta["param_groups"]})
    return meta["state"]


class Damaged(UserError):
    """A checkpoint that is not whole."""


def checkpoint_file(folder: str | Path, step: int) -> Path:
    return Path(folder) / f"step-{step:08d}.safetensors"


def checkpoint_files(folder: str | Path) -> list[Path]:
    """Those to resume from, the newest first."""
    return sorted(Path(folder).glob("step-*.safetensors"), reverse=True)


def load_newest(
    folder: str | Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Resume from the newest whole checkpoint of a folder; returns its `state`, None without one.

    A damaged one is named, and the one before it taken. Raises `Damaged` when all are.
    """
    found = checkpoint_files(folder)
    for path in found:
        try:
            return load_checkpoint(path, modules, optimizer)
        except Damaged as error:
            log.warning("%s; trying the one before it", error)
    if found:
        raise Damaged(f"{folder}: every checkpoint is damaged; delete the folder to train afresh")
    return None


def average_checkpoints(paths: Sequence[str | Path], modules: Mapping[str, nn.Module]) -> None:
    """Load the mean of the weights of several checkpoints; what is no float is the first's."""
    sums: dict[str, dict[str, Tensor]] = {}
    for path in paths:
        load_checkpoint(path, modules)
        for name, module in modules.items():
            into = sums.setdefault(name, {})
            for key, value in module.state_dict().items():
                if key not in into:
                    into[key] = value.double() if value.is_floating_point() else value.clone()
                elif value.is_floating_point():
                    into[key] += value.double()
    for name, module in modules.items():
        module.load_state_dict(
            {k: v / len(paths) if v.is_floating_point() else v for k, v in sums[name].items()}
        )


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    found = 0
    for key in sorted(tensors):
        flat = tensors[key].reshape(-1).view(torch.uint8)
        found = zlib.crc32(flat.numpy(), zlib.crc32(key.encode(), found))
    return found
