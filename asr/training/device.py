"""The device of a training process: threads, precision, determinism."""

from __future__ import annotations

import logging
import os

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration

from asr.config import TrainConfig
from asr.errors import UserError
from asr.model.device import pick_device

log = logging.getLogger("asr")


def has_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16, without which it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return device.type == "cpu" and bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def prepare_device(c: TrainConfig) -> Accelerator:
    """Set up this process's device as configured.

    Raises `UserError` if the device does not exist or cannot compute in `train.precision`.
    """
    device = pick_device(c.device)
    precision = c.precision
    if precision == "auto":
        precision = "bf16" if has_bf16(device) else "no"
        log.info("train.precision: auto is %s on this %s", precision, device.type)
    if c.precision == "fp16" and device.type == "cpu":  # accelerate would compute in float32
        raise UserError("train.precision=fp16: needs a GPU; on a CPU, use bf16 or no")
    # Torch's threads synchronize several times per frame, so each needs a core of its own.
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    torch.set_num_threads(c.threads or max(1, cores - c.workers))
    if c.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        return Accelerator(
            mixed_precision=precision,
            cpu=device.type == "cpu",
            dataloader_config=DataLoaderConfiguration(),
        )
    except ValueError as error:
        raise UserError(
            f"train.precision={c.precision}: not possible on {device.type}: {error}; use no"
        ) from None
