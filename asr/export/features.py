"""The features of `asr.model.features` as nodes of a graph.

The short-time Fourier transform is a convolution with the windowed cosines and sines, whose step is
the hop. A frame reads just the samples of its window.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx import helper

from asr.export.graph import DOUBLE, Graph
from asr.model import running_cmvn
from asr.model.features import LOG_FLOOR, LOUD_DB, SOFT_DB, STD_FLOOR, Features


def raw_features(graph: Graph, features: Features, samples: str, centered: bool) -> str:
    """(B, N) samples -> (B, bins, T) power spectra, then mel filters.

    centered: the frames are centered on multiples of the hop, with zeros beyond both ends;
    otherwise the first frame begins at the first sample.
    """
    before = samples_before(features)
    pads = [before, features.power.win_length - before] if centered else [0, 0]
    signal = graph.op("Unsqueeze", samples, graph.ints(1))  # (B, 1, N)
    kernel = _fourier_kernel(graph, features)
    spectra = graph.op("Conv", signal, kernel, strides=[features.hop], pads=pads)
    real, imaginary = graph.ops("Split", [spectra], 2, axis=1, num_outputs=2)
    squares = [graph.op("Mul", part, part) for part in (real, imaginary)]
    values = graph.op("Add", *squares)
    if features.config.kind != "spectrogram":
        values = graph.op("MatMul", graph.weight(features.mel.fb.numpy().T), values)
    return values


def _fourier_kernel(graph: Graph, features: Features) -> str:
    """(2 bins, 1, window): cosines and sines of each bin times the window.

    They are computed when the graph is loaded, which saves their size in the file. The phase is
    reduced while it is an integer, because large angles are inexact in float32.
    """
    power = features.power
    bins = graph.weight(np.arange(power.n_fft // 2 + 1)[:, None, None], np.int64)
    places = graph.weight(np.arange(power.win_length), np.int64)
    phases = graph.op("Mod", graph.op("Mul", bins, places), graph.weight(power.n_fft, np.int64))
    angles = graph.op("Mul", graph.floats(phases), graph.weight(2 * np.pi / power.n_fft))
    waves = graph.op("Concat", graph.op("Cos", angles), graph.op("Sin", angles), axis=0)
    return graph.op("Mul", waves, graph.weight(power.window.numpy()))


def samples_before(features: Features) -> int:
    """The samples of a frame's window before the time of the frame."""
    power = features.power
    return power.n_fft // 2 - (power.n_fft - power.win_length) // 2


def log_features(graph: Graph, features: Features, power: str, mask: str | None) -> str:
    """(B, bins, T) -> (B, T, F) features before CMVN. mask: (B, 1, T), for the peak."""
    floor_db = features.config.floor_db
    if floor_db is None:
        power = graph.op("Max", power, graph.weight(LOG_FLOOR))
    else:
        inside = graph.op("Where", mask, power, graph.weight(0.0))
        peak = graph.op("ReduceMax", inside, graph.ints(1, 2))
        peak = graph.op("Max", peak, graph.weight(LOG_FLOOR))
        floor = graph.op("Mul", peak, graph.weight(10 ** (-floor_db / 10)))
        power = graph.op("Add", power, floor)
    values = graph.op("Transpose", graph.op("Log", power), perm=[0, 2, 1])
    if features.config.kind == "mfcc":
        values = graph.op("MatMul", values, graph.weight(features.dct.numpy()))
    return values


def normalize(graph: Graph, features: Features, values: str, mask: str) -> str:
    """CMVN over whole utterances: (B, T, F) -> (B, T, F), zero past each length.

    mask: (B, T, 1) bool.
    """
    kind, real = features.config.cmvn, graph.floats(mask)
    if kind in ("utterance", "loud", "scalar", "level"):
        weights = real
        if kind in ("loud", "level"):
            weights = graph.op("Mul", real, _loudness(graph, features, values, mask))
        over = (1, 2) if kind in ("scalar", "level") else (1,)
        count = graph.op("ReduceSum", weights, graph.ints(1))
        if len(over) == 2:
            count = graph.op("Mul", count, graph.weight(float(features.size)))

        def mean(of: str) -> str:
            total = graph.op("ReduceSum", graph.op("Mul", of, weights), graph.ints(*over))
            return graph.op("Div", total, count)

        centered = graph.op("Sub", values, mean(values))
        deviation = graph.op("Sqrt", mean(graph.op("Mul", centered, centered)))
        deviation = graph.op("Max", deviation, graph.weight(STD_FLOOR))
        values = graph.op("Div", centered, deviation)
    return graph.op("Mul", normalize_causally(graph, features, values), real)


def normalize_causally(graph: Graph, features: Features, values: str) -> str:
    """CMVN that needs no later frame: with the statistics of the training set, or running."""
    if features.config.cmvn == "running":
        return normalize_running(graph, features, values)
    if features.config.cmvn != "global":
        return values
    centered = graph.op("Sub", values, graph.weight(features.mean.numpy()))
    return graph.op("Div", centered, graph.weight(features.std.numpy()))


def _level(graph: Graph, features: Features, values: str) -> str:
    """(B, T, F) -> (B, T, 1) mean log of the bins."""
    if features.config.kind == "mfcc":
        first = graph.slice(values, 0, 1, axis=2)
        return graph.op("Div", first, graph.weight(features.config.n_mels**0.5))
    return graph.op("ReduceMean", values, graph.ints(2))


def _loud_weight(graph: Graph, relative: str, kind: type = np.float32) -> str:
    """The weight of frames by their level relative to the loudest one."""
    decibels = graph.op("Mul", relative, graph.weight(10 / math.log(10) / SOFT_DB, kind))
    return graph.op("Sigmoid", graph.op("Add", decibels, graph.weight(LOUD_DB / SOFT_DB, kind)))


def _loudness(graph: Graph, features: Features, values: str, mask: str) -> str:
    level = _level(graph, features, values)
    inside = graph.op("Where", mask, level, graph.weight(-np.inf))
    peak = graph.op("ReduceMax", inside, graph.ints(1))
    return _loud_weight(graph, graph.op("Sub", level, peak))


def normalize_running(graph: Graph, features: Features, values: str) -> str:
    """CMVN of `asr.model.running_cmvn`: (B, T, F) -> (B, T, F), continued by states.

    The statistics of all frames of a piece are computed at once, in float64; the product of their
    (1 - step) vanishes after some hours only.
    """
    first, size = graph.weight(1, np.int64), features.size

    def state(name: str, initial: Any, last: int) -> tuple[str, str, str]:
        """A state that is kept relative to its initial value, so that it begins as zeros."""
        before = graph.state(f"cmvn_{name}", DOUBLE, ["B", 1, last])
        constant = graph.weight(initial, np.float64)
        return before, graph.op("Add", before, constant), constant

    def keep(before: str, values: str, constant: str) -> None:
        last = graph.slice(values, -1, None, axis=1)
        graph.next_state(before, graph.op("Sub", last, constant))

    std = features.std.double().numpy()
    loudest = features.level(features.mean).double().numpy()
    peak_state, peak, peak0 = state("peak", loudest, 1)
    count_state, count, count0 = state("count", [running_cmvn.PRIOR_FRAMES], 1)
    mean_state, mean, mean0 = state("mean", np.zeros(size), size)
    square_state, square, square0 = state("square", std**2, size)

    level = graph.floats(_level(graph, features, values), DOUBLE)  # (B, T, 1)
    peaks = _running_peak(graph, level, peak)
    weights = _loud_weight(graph, graph.op("Sub", level, peaks), np.float64)
    centered = graph.floats(graph.op("Sub", values, graph.weight(features.mean.numpy())), DOUBLE)
    counts = graph.op("Add", graph.op("CumSum", weights, first), count)
    most = graph.weight(running_cmvn.MEMORY_FRAMES, np.float64)
    steps = graph.op("Div", weights, graph.op("Min", counts, most))
    kept = graph.op("Log", graph.op("Sub", graph.weight(1.0, np.float64), steps))
    kept = graph.op("Exp", graph.op("CumSum", kept, first))  # (B, T, 1)
    share = graph.op("Div", steps, kept)

    def running(moment: str, before: str) -> str:
        parts = graph.op("CumSum", graph.op("Mul", share, moment), first)
        return graph.op("Mul", kept, graph.op("Add", before, parts))

    means = running(centered, mean)
    squares = running(graph.op("Mul", centered, centered), square)
    variance = graph.op("Sub", squares, graph.op("Mul", means, means))
    variance = graph.op("Max", variance, graph.weight(STD_FLOOR**2, np.float64))
    normalized = graph.op("Div", graph.op("Sub", centered, means), graph.op("Sqrt", variance))
    keep(peak_state, peaks, peak0)
    keep(count_state, counts, count0)
    keep(mean_state, means, mean0)
    keep(square_state, squares, square0)
    return graph.floats(normalized)


def _running_peak(graph: Graph, level: str, before: str) -> str:
    """(B, T, 1), (B, 1, 1) -> (B, T, 1): the highest level up to each frame."""
    names = ("before", "level", "highest", "kept")
    shapes = [helper.make_tensor_value_info(name, DOUBLE, ["B", 1]) for name in names]
    nodes = [
        helper.make_node("Max", ["before", "level"], ["highest"]),
        helper.make_node("Identity", ["highest"], ["kept"]),
    ]
    body = helper.make_graph(nodes, "peak", shapes[:2], shapes[2:])
    first = graph.op("Squeeze", before, graph.ints(1))  # (B, 1)
    axes = {"scan_input_axes": [1], "scan_output_axes": [1]}
    return graph.ops("Scan", [first, level], 2, body=body, num_scan_inputs=1, **axes)[1]
