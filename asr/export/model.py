"""A trained model -> one ONNX file that has all that recognition needs."""

from __future__ import annotations

from pathlib import Path

from asr import files
from asr.export import acoustic, features
from asr.export.classifier import classifier
from asr.export.graph import FLOAT, INT64, Graph
from asr.model.classifier import ClassificationModel
from asr.model.deepspeech2 import DeepSpeech2
from asr.model.model_file import Model, self_contained
from asr.runtime.model import OnnxModel


def export(path: str | Path, model: Model, int8: bool = False) -> None:
    """Write `NAME.onnx`, with float32 or int8 weights.

    Raises `UserError` if the recurrent layers have no int8 form, or if it cannot be written.
    """
    for module in model.modules.values():
        module.eval()
    config = self_contained(model.config)
    parameters = model.acoustic.parameter_count()
    exported = OnnxModel(
        Path(path),
        config,
        model.tokenizer,
        int8,
        parameters,
        model.card,
        model.ngram,
        model.grammar,
    )
    files.write(path, graph_of(model, int8).model(exported.metadata()).SerializeToString())


def graph_of(model: Model, int8: bool) -> Graph:
    """Samples -> log-probabilities; see `asr.runtime.emitter` for its inputs and outputs."""
    causal = not model.config.model.bidirectional
    return _causal(model, int8) if causal else _whole(model, int8)


def _whole(model: Model, int8: bool) -> Graph:
    """Whole utterances: samples (B, N), lengths (B,) -> log_probs (B, T', V), frames (B,)."""
    graph, vocabulary = Graph(model.config.name), len(model.tokenizer.pieces)
    samples = graph.input("samples", FLOAT, ["B", "N"])
    lengths = graph.input("lengths", INT64, ["B"])
    heard = graph.floats(graph.mask(lengths, graph.size(samples, 1)))
    power = features.raw_features(
        graph, model.features, graph.op("Mul", samples, heard), centered=True
    )
    hops = graph.op("Div", lengths, graph.weight(model.features.hop, "int64"))
    frames = graph.op("Add", hops, graph.weight(1, "int64"))
    mask = graph.mask(frames, graph.size(power, 2))  # (B, T)
    across, along = (graph.op("Unsqueeze", mask, graph.ints(axis)) for axis in (1, 2))
    values = features.log_features(graph, model.features, power, across)
    values = features.normalize(graph, model.features, values, along)
    if isinstance(model.acoustic, ClassificationModel):
        return _classes(graph, model.acoustic, values, frames, int8)
    build = acoustic.deepspeech2 if isinstance(model.acoustic, DeepSpeech2) else acoustic.whole
    log_probs, frames = build(graph, model.acoustic, values, frames, int8)
    graph.output("log_probs", log_probs, FLOAT, ["B", "T", vocabulary])
    graph.output("frames", frames, INT64, ["B"])
    return graph


def _classes(
    graph: Graph, model: ClassificationModel, features: str, frames: str, int8: bool
) -> Graph:
    """Whole recordings: one frame of log_probs (B, 1, C) for each, and embeddings (B, E)."""
    log_probs, embeddings = classifier(graph, model, features, frames, int8)
    log_probs = graph.op("Unsqueeze", log_probs, graph.ints(1))
    graph.output("log_probs", log_probs, FLOAT, ["B", 1, model.head.out_features])
    ones = graph.op("Sub", graph.op("Add", frames, graph.weight(1, "int64")), frames)
    graph.output("frames", ones, INT64, ["B"])
    graph.output("embeddings", embeddings, FLOAT, ["B", model.head.in_features])
    return graph


def _causal(model: Model, int8: bool) -> Graph:
    """A piece: samples (B, N), frames (B,), states -> log_probs (B, T', V), states."""
    graph, vocabulary = Graph(model.config.name), len(model.tokenizer.pieces)
    samples = graph.input("samples", FLOAT, ["B", "N"])
    frames = graph.input("frames", INT64, ["B"])
    power = features.raw_features(graph, model.features, samples, centered=False)
    values = features.log_features(graph, model.features, power, None)
    values = features.normalize_causally(graph, model.features, values)
    width = model.features.size
    log_probs = acoustic.causal(graph, model.acoustic, values, width, frames, int8)
    graph.output("log_probs", log_probs, FLOAT, ["B", "T", vocabulary])
    graph.outputs.insert(0, graph.outputs.pop())  # the first output
    return graph
