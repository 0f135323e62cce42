"""The optimizer, its learning rates, and the update of the weights."""

from __future__ import annotations

import math

import torch
from accelerate import Accelerator
from torch import nn

from asr.config import TrainConfig
from asr.training import finetune


def make_optimizer(acoustic: nn.Module, c: TrainConfig) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov's momentum, over the groups of `finetune.parameter_groups`."""
    groups = finetune.parameter_groups(acoustic, c.weight_decay, c.layer_decay)
    if c.optimizer == "sgd":
        nesterov = c.momentum > 0
        return torch.optim.SGD(groups, c.learning_rate, c.momentum, nesterov=nesterov)
    return torch.optim.AdamW(groups, c.learning_rate)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group the rate times the group's scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def update_weights(
    accelerator: Accelerator, optimizer: torch.optim.Optimizer, loss: float, norm: float
) -> bool:
    """Step the optimizer unless the loss or the gradient norm is not finite; whether it did.

    With fp16, gradients overflow while the scaler looks for its scale. Such a step changes no
    weight, lowers the scale, and is not an error as long as the loss is finite and the scale above
    1; `overflowed` tells such a step from a bad one.
    """
    if math.isfinite(loss) and math.isfinite(norm):
        optimizer.step()
        return True
    if accelerator.scaler is not None:
        accelerator.scaler.update()  # otherwise the next step could not unscale its gradients
    return False


def overflowed(accelerator: Accelerator, loss: float) -> bool:
    """Whether a step that was skipped is only part of the search of fp16's scaler for a scale."""
    scaler = accelerator.scaler
    return scaler is not None and math.isfinite(loss) and scaler.get_scale() > 1
