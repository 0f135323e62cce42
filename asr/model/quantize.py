"""int8 weights in the linear and recurrent layers of a model, for inference on a CPU.

Activations are quantized as they come, by one scale for all that a layer is given at a time
(PyTorch's dynamic quantization). In a batch that scale would be the batch's, and a text would
depend on its neighbors; so a quantized model hears each utterance alone, a core each.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from asr.errors import UserError


def quantize(acoustic: nn.Module, device: torch.device) -> nn.Module:
    """A copy with int8 in place of its Linear and LSTM layers; convolutions stay float32.

    Raises `UserError` on another device than a CPU, for recurrent layers that PyTorch does not
    quantize, and where it has no kernels for this machine.
    """
    if device.type != "cpu":
        raise UserError(f"int8 weights run on a CPU, not on {device.type}: choose the device cpu")
    if any(isinstance(module, nn.GRU) for module in acoustic.modules()):
        raise UserError("int8 weights: model.rnn gru stays float32 in PyTorch; train with lstm")
    if torch.backends.quantized.engine == "none":
        raise UserError("int8 weights: this build of PyTorch has no int8 kernels for this machine")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is to move to torchao, which has no LSTM yet
        return torch.ao.quantization.quantize_dynamic(
            acoustic.eval(), {nn.Linear, nn.LSTM}, dtype=torch.qint8
        )
