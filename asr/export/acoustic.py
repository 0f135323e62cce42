"""The acoustic models as nodes of a graph: (B, T, F) features -> (B, T', V) log-probabilities."""

from __future__ import annotations

import numpy as np
from torch import nn

from asr.export.graph import FLOAT, INT32, Graph
from asr.export.layers import Layers
from asr.model.acoustic import AcousticModel, ConvSubsampling, LookAhead, RecurrentLayer
from asr.model.deepspeech2 import CLIP, DeepSpeech2


def frames_after(graph: Graph, frames: str, stride: int) -> str:
    """ceil(frames / stride)"""
    if stride == 1:
        return frames
    more = graph.op("Add", frames, graph.weight(stride - 1, np.int64))
    return graph.op("Div", more, graph.weight(stride, np.int64))


def add_quiet(graph: Graph, features: str, frames: str, count: int) -> tuple[str, str]:
    """`asr.model.acoustic.add_quiet`: (B, T, F), (B,) -> (B, count + T + count, F), (B,)."""
    mask = graph.op("Unsqueeze", graph.mask(frames, graph.size(features, 1)), graph.ints(2))
    inside = graph.op("Where", mask, features, graph.weight(np.inf))
    quiet = graph.op("ReduceMin", inside, graph.ints(1, 2))  # (B, 1, 1)
    shifted = graph.op("Sub", graph.op("Where", mask, features, quiet), quiet)
    pads = graph.ints(0, count, 0, 0, count, 0)
    wide = graph.op("Add", graph.op("Pad", shifted, pads, graph.weight(0.0)), quiet)
    frames = graph.op("Add", frames, graph.weight(2 * count, np.int64))
    real = graph.floats(graph.mask(frames, graph.size(wide, 1)))
    return graph.op("Mul", wide, graph.op("Unsqueeze", real, graph.ints(2))), frames


def whole(graph: Graph, model: AcousticModel, features: str, frames: str, int8: bool) -> tuple:
    """The bidirectional model on whole utterances: log-probabilities and frames (B,)."""
    layers, edge = Layers(graph, int8), model.config.edge
    if edge:
        features, frames = add_quiet(graph, features, frames, edge * model.config.subsampling)
    x, frames = subsample(layers, model.front_end, features, frames)
    lengths = graph.floats(frames, INT32)
    for number, layer in enumerate(model.layers, 1):
        x = _conditioned(layers, model, bidirectional(layers, layer, x, lengths), number)
    log_probs = graph.op("Transpose", _read(layers, model, x), perm=[1, 0, 2])
    if edge:
        log_probs = graph.slice(log_probs, edge, -edge, axis=1)
        frames = graph.op("Sub", frames, graph.weight(2 * edge, np.int64))
    return log_probs, frames


def subsample(
    layers: Layers, front_end: ConvSubsampling, features: str, frames: str
) -> tuple[str, str]:
    """`ConvSubsampling`: (B, T, F) features, (B,) -> (T', B, W), (B,) frames."""
    graph = layers.graph
    x = graph.op("Unsqueeze", features, graph.ints(1))  # (B, 1, T, F)
    for convolution, (stride, _) in zip(front_end.convolutions, front_end.strides, strict=True):
        x = graph.op("Relu", layers.convolution(x, convolution, (1, 1, 1, 1)))
        frames = frames_after(graph, frames, stride)
        mask = graph.floats(graph.mask(frames, graph.size(x, 2)))
        x = graph.op("Mul", x, graph.op("Unsqueeze", mask, graph.ints(1, 3)))
    return layers.linear(time_first(graph, x), front_end.project), frames


def bidirectional(layers: Layers, layer: RecurrentLayer, x: str, lengths: str) -> str:
    """`RecurrentLayer` with both directions: (T, B, W), (B,) int32 -> (T, B, W)."""
    graph, directions = layers.graph, [layer.forward_rnn, layer.backward_rnn]
    y = layers.recurrence(layers.norm(x, layer.norm), directions, lengths)
    y = graph.op("Transpose", y, perm=[0, 2, 1, 3])  # (T, B, 2, H)
    return graph.op("Add", x, graph.op("Reshape", y, graph.ints(0, 0, -1)))


def causal(
    graph: Graph, model: AcousticModel, features: str, width: int, frames: str, int8: bool
) -> str:
    """The causal model on a piece, continued by states: (B, T, F) -> (B, T', V).

    width: F; frames: (B,) how many model frames of the piece are real. T must be a multiple of the
    subsampling. The output lags behind by the frames of the look-ahead.
    """
    layers = Layers(graph, int8)
    x = graph.op("Unsqueeze", features, graph.ints(1))  # (B, 1, T, F)
    front_end = model.front_end
    for number, convolution in enumerate(front_end.convolutions):
        past = convolution.kernel_size[0] - 1
        shape = ["B", convolution.in_channels, past, width]
        width = -(-width // convolution.stride[1])
        state = graph.state(f"convolution_{number}", FLOAT, shape)
        x = graph.op("Concat", state, x, axis=2)
        graph.next_state(state, graph.slice(x, -past, None, axis=2))
        x = graph.op("Relu", layers.convolution(x, convolution, (0, 1, 0, 1)))
    x = layers.linear(time_first(graph, x), front_end.project)  # (T', B, W)
    for number, layer in enumerate(model.layers, 1):
        inputs = layers.norm(x, layer.norm)
        y = layers.stateful_recurrence(inputs, layer.forward_rnn, f"layer_{number}")
        x = graph.op("Add", x, y)
        x = _conditioned(layers, model, x, number)
    if model.look_ahead is not None:
        x = _look_ahead(layers, model.look_ahead, x, frames)
    return graph.op("Transpose", _read(layers, model, x), perm=[1, 0, 2])


def _look_ahead(layers: Layers, layer: LookAhead, x: str, frames: str) -> str:
    """(T', B, W) -> (T', B, W) of the frames from `layer.frames` earlier on."""
    graph, width = layers.graph, layer.norm.normalized_shape[0]
    state = graph.state("look_ahead", FLOAT, ["B", layer.frames, width])
    waiting = graph.op("Transpose", state, perm=[1, 0, 2])
    mask = graph.floats(graph.mask(frames, graph.size(x, 0)))  # (B, T')
    mask = graph.op("Unsqueeze", graph.op("Transpose", mask, perm=[1, 0]), graph.ints(2))
    new = graph.op("Mul", layers.norm(x, layer.norm), mask)
    inputs = graph.op("Concat", layers.norm(waiting, layer.norm), new, axis=0)
    every = graph.op("Concat", waiting, x, axis=0)  # (frames + T', B, W)
    last = graph.slice(every, -layer.frames, None, axis=0)
    graph.next_state(state, graph.op("Transpose", last, perm=[1, 0, 2]))
    kernel = graph.weight(layer.convolution.weight.detach().cpu().numpy())  # (W, 1, frames + 1)
    y = graph.op("Transpose", inputs, perm=[1, 2, 0])  # (B, W, frames + T')
    y = graph.op("Transpose", graph.op("Conv", y, kernel, group=width), perm=[2, 0, 1])
    return graph.op("Add", graph.slice(every, 0, -layer.frames, axis=0), y)


def deepspeech2(graph: Graph, model: DeepSpeech2, features: str, frames: str, int8: bool) -> tuple:
    """DeepSpeech2 on whole utterances: log-probabilities and frames (B,)."""
    layers = Layers(graph, int8)
    frames = frames_after(graph, frames, 2)
    x = graph.op("Unsqueeze", features, graph.ints(1))
    mask = ""
    for convolution, norm in zip(model.convolutions, model.norms, strict=True):
        x = layers.convolution(x, convolution, (*convolution.padding, *convolution.padding))
        mask = mask or graph.floats(graph.mask(frames, graph.size(x, 2)))  # (B, T')
        around = graph.op("Unsqueeze", mask, graph.ints(1, 3))
        x = frame_norm(graph, x, norm.norm, around, (1, -1, 1, 1))
        x = graph.op("Clip", x, graph.weight(0.0), graph.weight(CLIP))
    x, lengths = time_first(graph, x), graph.floats(frames, INT32)
    mask = graph.op("Unsqueeze", graph.op("Transpose", mask, perm=[1, 0]), graph.ints(2))
    for layer in model.layers:
        if layer.norm is not None:
            x = frame_norm(graph, x, layer.norm.norm, mask, (1, 1, -1))
        y = layers.recurrence(x, [layer.forward_rnn, layer.backward_rnn], lengths)
        x = graph.op("ReduceSum", y, graph.ints(1), keepdims=0)
    x = layers.linear(frame_norm(graph, x, model.norm.norm, mask, (1, 1, -1)), model.head)
    log_probs = graph.op("LogSoftmax", x, axis=-1)
    return graph.op("Transpose", log_probs, perm=[1, 0, 2]), frames


def frame_norm(graph: Graph, x: str, norm: nn.BatchNorm1d, mask: str, shape: tuple) -> str:
    """Batch normalization with the statistics of training; zero outside the mask."""
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().cpu().numpy()
    shift = norm.bias.detach().cpu().numpy() - norm.running_mean.cpu().numpy() * scale
    x = graph.op("Mul", x, graph.weight(scale.reshape(shape)))
    return graph.op("Mul", graph.op("Add", x, graph.weight(shift.reshape(shape))), mask)


def time_first(graph: Graph, x: str) -> str:
    """(B, C, T, F) -> (T, B, C * F)"""
    x = graph.op("Transpose", x, perm=[2, 0, 1, 3])
    return graph.op("Reshape", x, graph.ints(0, 0, -1))


def _conditioned(layers: Layers, model: AcousticModel, x: str, number: int) -> str:
    """The input of the layer after `number`: with self-conditioning, the head's output is added."""
    if model.condition is None or number not in model.config.inter_ctc:
        return x
    probabilities = layers.graph.op("Exp", _read(layers, model, x))
    return layers.graph.op("Add", x, layers.linear(probabilities, model.condition))


def _read(layers: Layers, model: AcousticModel, x: str) -> str:
    """(T, B, W) -> (T, B, V) log-probabilities of the head."""
    logits = layers.linear(layers.norm(x, model.norm), model.head)
    return layers.graph.op("LogSoftmax", logits, axis=-1)
