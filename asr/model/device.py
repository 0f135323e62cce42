"""The device on which PyTorch computes."""

from __future__ import annotations

import torch

from asr.errors import UserError


def pick_device(name: str = "auto") -> torch.device:
    """The device of this name; auto: the first of CUDA, Apple's MPS and the CPU that is available.

    Raises `UserError` for a device that is not available.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind in available if available[kind])
    kind = name.partition(":")[0]
    if not available.get(kind, False):
        names = ", ".join(device for device in available if available[device])
        raise UserError(f"device {name!r}: not available; this machine has {names}")
    return torch.device(name)
