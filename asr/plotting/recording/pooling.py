"""The picture of a classifier: which frames of a recording its pooling weights, and the result."""

from __future__ import annotations

import numpy as np
import torch

from asr.errors import UserError
from asr.model.classifier import ClassificationModel
from asr.model.streaming import evaluation
from asr.plotting.recording import drawing
from asr.plotting.recording.batch import as_batch
from asr.plotting.recording.drawing import MARK, QUIET, WAVE, Picture
from asr.plotting.recording.excerpt import Excerpt
from asr.recognition.classifier import Classifier

SHOWN = 6  # the likeliest classes


def pooling(excerpt: Excerpt, classifier: Classifier) -> Picture:
    """The features, the weight of each model frame, and the likeliest classes."""
    model = classifier.emitter.acoustic
    if not isinstance(model, ClassificationModel):
        raise UserError("picture pooling: int8 weights hide the layers; load float32 weights")
    features, weights = pooling_weights(excerpt, classifier)
    found = classifier.classify(excerpt.samples)
    figure, axes = drawing.mosaic([["input"], ["weights"], ["classes"]], [1.9, 1.1, 1.5])
    drawing.normalized(axes["input"], excerpt, features, excerpt.hop_s)
    drawing.title(axes["input"], "the input: normalized features")
    drawing.label(axes["input"], y=drawing.bins_name(excerpt.features.kind))
    frame_s = excerpt.hop_s * classifier.config.model.subsampling
    edges = excerpt.start_s + frame_s * np.arange(len(weights) + 1)
    axes["weights"].stairs(100 * weights, edges, fill=True, color=WAVE)
    equal = 100 / len(weights)
    axes["weights"].axhline(equal, color=QUIET, linestyle="--", linewidth=0.8)
    axes["weights"].set_xlim(axes["input"].get_xlim())
    drawing.title(axes["weights"], "the share of each frame in the pooled vector; dashed: equal")
    drawing.label(axes["weights"], "seconds", "%")
    names = list(found.probabilities)[:SHOWN][::-1]
    values = [100 * found.probabilities[name] for name in names]
    colors = [MARK if name in found.labels else QUIET for name in names]
    axes["classes"].barh(names, values, color=colors)
    axes["classes"].set_xlim(0, 100)
    drawing.title(axes["classes"], "the likeliest classes")
    drawing.label(axes["classes"], "probability, %")
    heaviest = int(weights.argmax())
    return Picture(
        figure,
        f"{len(weights)} frames of {1000 * frame_s:g} ms; the heaviest, at "
        f"{edges[heaviest]:.2f} s, has {weights[heaviest]:.1%} of the weight; "
        f"{found.best} {found.confidence:.1%}",
    )


@torch.inference_mode()
def pooling_weights(excerpt: Excerpt, classifier: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """The normalized features (T, F) of an excerpt, and the weight of each model frame (T',)."""
    emitter = classifier.emitter
    with evaluation(emitter.features, emitter.acoustic):
        features, frames = emitter.features(
            *(tensor.to(emitter.device) for tensor in as_batch(excerpt.samples))
        )
        weights = emitter.acoustic.pool.weights(*emitter.acoustic.encode(features, frames))
    edge = classifier.config.model.edge  # frames of quiet before and after the recording
    inside = weights[0, edge:-edge] if edge else weights[0]
    return features[0].cpu().numpy(), inside.cpu().numpy()
