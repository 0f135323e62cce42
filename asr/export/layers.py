"""Layers of PyTorch as nodes of a graph, with float32 or int8 weights.

Recurrent layers work on (T, B, W), as ONNX has them. With the lengths of the utterances, the
backward recurrence begins at each utterance's own last frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from asr.errors import UserError
from asr.export.graph import FLOAT, MICROSOFT, Graph

# The order of the gates: PyTorch's, and ONNX's by the positions in it.
GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}  # ifgo -> iofg; rzn -> zrn
# Weights of 7 bits: on processors without VNNI, two products of 8 bits may overflow 16 bits.
MOST = 63


@dataclass
class Layers:
    """Adds layers to a graph."""

    graph: Graph
    int8: bool

    def norm(self, x: str, layer: nn.LayerNorm) -> str:
        scale, shift = (self.graph.weight(_array(p)) for p in (layer.weight, layer.bias))
        return self.graph.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=layer.eps)

    def linear(self, x: str, layer: nn.Linear) -> str:
        """(..., W) -> (..., H)"""
        weight = _array(layer.weight).T  # (W, H)
        bias = self.graph.weight(_array(layer.bias)) if layer.bias is not None else ""
        if self.int8:
            values, scale = quantized(weight)
            zero = self.graph.weight(np.zeros(len(scale)), np.int8)
            inputs = [self.graph.weight(values, np.int8), self.graph.weight(scale), zero, bias]
            return self.graph.op("DynamicQuantizeMatMul", x, *inputs, domain=MICROSOFT)
        y = self.graph.op("MatMul", x, self.graph.weight(weight))
        return self.graph.op("Add", y, bias) if bias else y

    def convolution(self, x: str, layer: nn.Conv2d, pads: Sequence[int]) -> str:
        """pads: before and after, (time, frequency, time, frequency)."""
        parameters = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
        weights = [self.graph.weight(_array(p)) for p in parameters]
        return self.graph.op("Conv", x, *weights, strides=list(layer.stride), pads=list(pads))

    def recurrence(self, x: str, directions: Sequence[nn.RNNBase], lengths: str) -> str:
        """(T, B, W), (B,) int32 -> (T, directions, B, H)"""
        return self._recur(x, directions, [lengths])[0]

    def stateful_recurrence(self, x: str, layer: nn.RNNBase, name: str) -> str:
        """(T, B, W) -> (T, B, H), continued by states of the graph."""
        graph = self.graph
        kinds = ("h", "c") if layer.mode == "LSTM" else ("h",)
        states = [
            graph.state(f"{name}_{kind}", FLOAT, ["B", 1, layer.hidden_size]) for kind in kinds
        ]
        initial = [graph.op("Transpose", state, perm=[1, 0, 2]) for state in states]
        y, *after = self._recur(x, [layer], ["", *initial])
        for state, value in zip(states, after, strict=True):
            graph.next_state(state, graph.op("Transpose", value, perm=[1, 0, 2]))
        return graph.op("Squeeze", y, graph.ints(1))

    def _recur(self, x: str, directions: Sequence[nn.RNNBase], more: list[str]) -> list[str]:
        """The outputs of a recurrent node. more: lengths and initial states."""
        kind, hidden = directions[0].mode, directions[0].hidden_size
        inputs, recurrent, biases = (
            np.stack([_by_gate(kind, one, prefix) for one in directions])
            for prefix in ("weight_ih", "weight_hh", "bias")
        )  # (D, G H, W), (D, G H, H), (D, 2 G H)
        names = {1: "forward", 2: "bidirectional"}
        options = {"hidden_size": hidden, "direction": names[len(directions)]}
        outputs = 3 if kind == "LSTM" else 2
        graph = self.graph
        if self.int8:
            if kind == "GRU":
                raise UserError("int8 weights: model.rnn gru has no int8 form; train with lstm")
            pairs = [quantized(w.swapaxes(1, 2)) for w in (inputs, recurrent)]  # (D, W, G H)
            weights = [graph.weight(values, np.int8) for values, _ in pairs]
            scales: list[str] = []
            for _, scale in pairs:  # (D, G H)
                scales += [graph.weight(scale), graph.weight(np.zeros(scale.shape), np.int8)]
            given = [x, *weights, graph.weight(biases), *more]
            given += [""] * (8 - len(given)) + scales
            return graph.ops("DynamicQuantizeLSTM", given, outputs, MICROSOFT, **options)
        if kind == "GRU":
            options["linear_before_reset"] = 1
        weights = [graph.weight(one) for one in (inputs, recurrent, biases)]
        return graph.ops(kind, [x, *weights, *more], outputs, **options)


def quantized(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., W, H) -> int8 values of the same shape, and the scale (..., H) of each column."""
    scale = np.abs(weight).max(-2) / MOST
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    return np.rint(weight / scale[..., None, :]).astype(np.int8), scale


def _by_gate(kind: str, layer: nn.RNNBase, prefix: str) -> np.ndarray:
    """Weights of a recurrent layer with their gates in the order of ONNX."""
    if prefix == "bias":
        both = (_by_gate(kind, layer, "bias_ih"), _by_gate(kind, layer, "bias_hh"))
        return np.concatenate(both)
    gates = np.split(_array(getattr(layer, f"{prefix}_l0")), len(GATES[kind]))
    return np.concatenate([gates[place] for place in GATES[kind]])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
