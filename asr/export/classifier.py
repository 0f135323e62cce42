"""The model of `asr.model.classifier` as nodes of a graph: features -> classes and embeddings."""

from __future__ import annotations

import numpy as np

from asr.export.acoustic import (
    add_quiet,
    bidirectional,
    frame_norm,
    frames_after,
    subsample,
    time_first,
)
from asr.export.graph import INT32, Graph
from asr.export.layers import Layers
from asr.model.classifier import (
    VARIANCE_FLOOR,
    AttentivePooling,
    ClassificationModel,
    ConvBlocks,
    MeanPooling,
)


def classifier(
    graph: Graph, model: ClassificationModel, features: str, frames: str, int8: bool
) -> tuple[str, str]:
    """(B, T, F) features, (B,) frames -> (B, C) log-probabilities, (B, E) embeddings."""
    layers, edge = Layers(graph, int8), model.config.edge
    if edge:
        features, frames = add_quiet(graph, features, frames, edge * model.config.subsampling)
    if isinstance(model.front_end, ConvBlocks):
        x, frames = _blocks(layers, model.front_end, features, frames)
    else:
        x, frames = subsample(layers, model.front_end, features, frames)  # (T', B, W)
    lengths = graph.floats(frames, INT32)
    for layer in model.layers:
        x = bidirectional(layers, layer, x, lengths)
    x = graph.op("Transpose", x, perm=[1, 0, 2])  # (B, T', W)
    pool = _attentive if isinstance(model.pool, AttentivePooling) else _mean
    embeddings = layers.norm(pool(layers, model.pool, x, frames), model.norm)  # (B, E)
    logits = layers.linear(embeddings, model.head)
    if model.multi_label:  # log sigmoid x = -softplus(-x)
        minus = graph.op("Neg", logits)
        return graph.op("Neg", graph.op("Softplus", minus)), embeddings
    return graph.op("LogSoftmax", logits, axis=-1), embeddings


def _blocks(layers: Layers, blocks: ConvBlocks, features: str, frames: str) -> tuple[str, str]:
    """(B, T, F), (B,) -> (T', B, W), (B,)"""
    graph = layers.graph
    x = graph.op("Unsqueeze", features, graph.ints(1))
    for block in blocks.blocks:
        x = layers.convolution(x, block.convolution, (1, 1, 1, 1))
        mask = graph.floats(graph.mask(frames, graph.size(x, 2)))  # (B, T)
        mask = graph.op("Unsqueeze", mask, graph.ints(1, 3))
        x = graph.op("Relu", frame_norm(graph, x, block.norm.norm, mask, (1, -1, 1, 1)))
        size = [block.stride, 2]
        x = graph.op("MaxPool", x, kernel_shape=size, strides=size, ceil_mode=1)
        frames = frames_after(graph, frames, block.stride)
    return layers.linear(time_first(graph, x), blocks.project), frames


def _mean(layers: Layers, pool: MeanPooling, x: str, frames: str) -> str:
    """(B, T, W), (B,) -> (B, W)"""
    graph = layers.graph
    mask = graph.floats(graph.mask(frames, graph.size(x, 1)))  # (B, T)
    share = graph.op("Div", mask, graph.op("Unsqueeze", graph.floats(frames), graph.ints(1)))
    return _weighted(graph, share, x)


def _attentive(layers: Layers, pool: AttentivePooling, x: str, frames: str) -> str:
    """(B, T, W), (B,) -> (B, 2 W)"""
    graph = layers.graph
    scores = layers.linear(graph.op("Tanh", layers.linear(x, pool.hidden)), pool.score)
    scores = graph.op("Squeeze", scores, graph.ints(2))  # (B, T)
    mask = graph.mask(frames, graph.size(x, 1))
    inside = graph.op("Where", mask, scores, graph.weight(-np.inf))
    share = graph.op("Softmax", inside, axis=1)
    mean = _weighted(graph, share, x)  # (B, W)
    centered = graph.op("Sub", x, graph.op("Unsqueeze", mean, graph.ints(1)))
    variance = _weighted(graph, share, graph.op("Mul", centered, centered))
    floor = graph.weight(VARIANCE_FLOOR)
    return graph.op("Concat", mean, graph.op("Sqrt", graph.op("Max", variance, floor)), axis=1)


def _weighted(graph: Graph, share: str, x: str) -> str:
    """(B, T), (B, T, W) -> (B, W): the sum over time with these weights."""
    product = graph.op("Mul", graph.op("Unsqueeze", share, graph.ints(2)), x)
    return graph.op("ReduceSum", product, graph.ints(1), keepdims=0)
