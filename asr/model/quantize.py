"""int8 weights in the linear and recurrent layers of a model, for inference on a CPU.

Activations are quantized with one scale for the whole input of a layer (PyTorch's dynamic
quantization). In a batch, the result of an utterance would depend on the others; so a quantized
model computes each utterance alone, on one core each. For the same reason, the emissions of a
quantized model depend on the whole utterance, even if the model is causal.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from asr.errors import UserError


def quantize(acoustic: nn.Module, device: torch.device) -> nn.Module:
    """A copy whose Linear and LSTM layers have int8 weights; convolutions stay float32.

    Raises `UserError` on a device other than a CPU, for recurrent layers that PyTorch does not
    quantize, and if PyTorch has no int8 kernels for this machine.
    """
    if device.type != "cpu":
        raise UserError(f"int8 weights run on a CPU, not on {device.type}: choose the device cpu")
    if any(isinstance(module, nn.GRU) for module in acoustic.modules()):
        raise UserError("int8 weights: model.rnn gru stays float32 in PyTorch; train with lstm")
    if torch.backends.quantized.engine == "none":
        raise UserError("int8 weights: this build of PyTorch has no int8 kernels for this machine")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated in favor of torchao, which has no LSTM
        return torch.ao.quantization.quantize_dynamic(
            acoustic.eval(), {nn.Linear, nn.LSTM}, dtype=torch.qint8
        )
