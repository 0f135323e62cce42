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
    """Set the learning rate of each group to rate * scale of the group."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def update_weights(
    accelerator: Accelerator, optimizer: torch.optim.Optimizer, loss: float, norm: float
) -> bool:
    """Step the optimizer if the loss and the gradient norm are finite; returns whether it did.

    With fp16, gradients overflow while the scaler searches for its scale. Such a step changes no
    weight and lowers the scale. It is not an error as long as the loss is finite and the scale is
    above 1 (see `overflowed`).
    """
    if math.isfinite(loss) and math.isfinite(norm):
        optimizer.step()
        return True
    if accelerator.scaler is not None:
        accelerator.scaler.update()  # otherwise the next step could not unscale its gradients
    return False


def overflowed(accelerator: Accelerator, loss: float) -> bool:
    """Whether a step was skipped only because the fp16 scaler is still searching for its scale."""
    scaler = accelerator.scaler
    return scaler is not None and math.isfinite(loss) and scaler.get_scale() > 1
