"""The checkpoints from which training resumes: safetensors with a JSON header, no pickle."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping
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
    """Write modules, optimizer and `state` (plain types) to a safetensors file with a CRC."""
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
    """Restore modules and optimizer from a checkpoint; returns its `state`.

    Raises `Damaged` if the file is damaged, `UserError` if it belongs to another model.
    """
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            meta = json.loads(file.metadata()["asr"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        if _checksum(tensors) != meta["crc32"]:
            raise ValueError("its checksum does not match")
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
    """The checkpoint is truncated, or its content has changed."""


def checkpoint_file(folder: str | Path, step: int) -> Path:
    """The checkpoint that is written after `step` steps."""
    return Path(folder) / f"step-{step:08d}.safetensors"


def checkpoint_files(folder: str | Path) -> list[Path]:
    """The checkpoints that a run can resume from, the newest first."""
    return sorted(Path(folder).glob("step-*.safetensors"), reverse=True)


def load_newest(
    folder: str | Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Restore the newest undamaged checkpoint of a folder; returns its `state`.

    Returns None if the folder has no checkpoint. A warning names each damaged checkpoint, and the
    previous one is tried next. Raises `Damaged` if all of them are damaged.
    """
    found = checkpoint_files(folder)
    for path in found:
        try:
            return load_checkpoint(path, modules, optimizer)
        except Damaged as error:
            log.warning("%s; trying the previous checkpoint", error)
    if found:
        raise Damaged(f"{folder}: every checkpoint is damaged; delete the folder to start again")
    return None


class Checkpoints:
    """The checkpoints of one run: its weights, optimizer, fp16 scaler and counters.

    keep: the number of newest checkpoints that are kept.
    """

    def __init__(
        self,
        folder: Path,
        modules: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None,
        keep: int,
    ):
        self.folder, self.modules, self.optimizer = folder, modules, optimizer
        self.scaler, self.keep = scaler, keep

    @staticmethod
    def exist(folder: Path) -> bool:
        """Whether there is a run to resume."""
        return bool(checkpoint_files(folder))

    def load(self) -> dict[str, Any] | None:
        """Restore the newest undamaged checkpoint; returns its `state`, or None without one."""
        state = load_newest(self.folder, self.modules, self.optimizer)
        if state is None:
            return None
        scaler = state.pop("scaler")
        if self.scaler is not None and scaler is not None:
            self.scaler.load_state_dict(scaler)
        return state

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the checkpoint of a step, then delete all but the newest `keep` checkpoints."""
        scaler = self.scaler.state_dict() if self.scaler is not None else None
        path = checkpoint_file(self.folder, step)
        save_checkpoint(path, self.modules, self.optimizer, state | {"scaler": scaler})
        for old in checkpoint_files(self.folder)[self.keep :]:
            old.unlink()


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 over names and values."""
    found = 0
    for key in sorted(tensors):
        flat = tensors[key].reshape(-1).view(torch.uint8)
        found = zlib.crc32(flat.numpy(), zlib.crc32(key.encode(), found))
    return found
