"""int8 weights in a model file, which makes it about a quarter as large.

Only the file is smaller: loading restores float32 weights, so a packed model computes as any other,
in batches and streams too. (`asr.model.quantize` computes in int8.)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"  # the ending of the name of the scales of a matrix
STEPS = 127  # the largest magnitude of an int8 weight
SMALLEST = 1024  # tensors with fewer weights stay in float32


def pack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each float matrix W (N, ...) by int8 weights Q and one float32 scale s for each row.

    Q = round(W / s) and s = max |W_row| / 127, so a weight changes by at most s / 2. Vectors and
    tensors of fewer than `SMALLEST` weights stay as they are.
    """
    packed = {}
    for name, weights in tensors.items():
        if not weights.is_floating_point() or weights.dim() < 2 or weights.numel() < SMALLEST:
            packed[name] = weights
            continue
        rows = weights.flatten(1).float()
        scales = rows.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / STEPS  # (N,)
        packed[name] = (rows / scales[:, None]).round().to(torch.int8).view(weights.shape)
        packed[name + SCALE] = scales
    return packed


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float32 tensors of `pack`'s result. Raises `ValueError` if scales do not fit."""
    unpacked = {}
    for name, weights in tensors.items():
        if weights.dtype == torch.int8:
            scales = tensors.get(name + SCALE)
            if scales is None or scales.shape != weights.shape[:1]:
                raise ValueError(f"{name} has int8 weights without a scale for each row")
            shape = (-1,) + (1,) * (weights.dim() - 1)
            unpacked[name] = weights.float() * scales.view(shape)
        elif not (name.endswith(SCALE) and name.removesuffix(SCALE) in tensors):
            unpacked[name] = weights
    return unpacked
