"""The device of a training process: threads, precision, determinism."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration

from asr.config import TrainConfig
from asr.errors import UserError
from asr.recognition.recognizer import pick_device


def prepare_device(c: TrainConfig) -> Accelerator:
    """Set up this process's device as configured.

    Raises `UserError` if the device does not exist or cannot compute in `train.precision`.
    """
    device = pick_device(c.device)
    if c.precision == "fp16" and device.type == "cpu":  # accelerate would compute in float32
        raise UserError("train.precision=fp16: needs a GPU; on a CPU, use bf16 or no")
    # If a thread of torch shares its core, all others wait for it several times a frame.
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    torch.set_num_threads(c.threads or max(1, cores - c.workers))
    if c.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        return Accelerator(
            mixed_precision=c.precision,
            cpu=device.type == "cpu",
            dataloader_config=DataLoaderConfiguration(),
        )
    except ValueError as error:
        raise UserError(
            f"train.precision={c.precision}: not possible on {device.type}: {error}; use no"
        ) from None
