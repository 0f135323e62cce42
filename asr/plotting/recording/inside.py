"""Pictures of a recording inside a model: its input and the feature maps of the convolutions."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from asr.errors import UserError
from asr.model.classifier import ConvBlock, ConvBlocks
from asr.model.deepspeech2 import CLIP, DeepSpeech2, FrameNorm
from asr.model.emitter import TorchEmitter
from asr.plotting.recording import drawing
from asr.plotting.recording.batch import as_batch
from asr.plotting.recording.drawing import Picture
from asr.plotting.recording.excerpt import Excerpt
from asr.recognition.classifier import Classifier
from asr.recognition.recognizer import Recognizer

COLUMNS = 4  # number of feature maps that are drawn for each convolution


def cnn(excerpt: Excerpt, recognizer: Recognizer | Classifier) -> Picture:
    """The model's input, and the channels of each convolution that vary most in this excerpt."""
    if not isinstance(recognizer.emitter, TorchEmitter):
        raise UserError("picture cnn: an exported model hides its layers; give the model file .asr")
    maps = feature_maps(excerpt, recognizer)
    features, _ = recognizer.emitter.features.eval()(
        *(tensor.to(recognizer.emitter.device) for tensor in as_batch(excerpt.samples))
    )
    names = [[f"{layer} {i}" for i in range(COLUMNS)] for layer in range(len(maps))]
    figure, axes = drawing.mosaic([["input"] * COLUMNS, *names], [1.7] + [1.3] * len(maps))
    drawing.normalized(axes["input"], excerpt, features[0].cpu().numpy(), excerpt.hop_s)
    drawing.title(axes["input"], "the input: normalized features")
    drawing.label(axes["input"], y=drawing.bins_name(excerpt.features.kind))
    frame_s, facts = excerpt.hop_s, []
    for layer, (found, stride) in enumerate(zip(maps, _strides(recognizer), strict=True)):
        frame_s *= stride
        brightest = np.quantile(found, 0.995)
        for i, channel in enumerate(_distinct_channels(found)):
            one = axes[f"{layer} {i}"]
            drawing.image(
                one, excerpt, found[channel], frame_s, cmap="viridis", vmin=0, vmax=brightest
            )
            drawing.title(one, f"channel {channel}")
            if i == 0:
                drawing.label(one, y=f"convolution {layer + 1}\nrow")
            one.tick_params(labelleft=i == 0, labelbottom=layer == len(maps) - 1)
            if layer == len(maps) - 1:
                drawing.label(one, "seconds")
        facts.append(
            f"convolution {layer + 1} has {len(found)} channels of {found.shape[1]} frames "
            f"({1000 * frame_s:g} ms each) by {found.shape[2]} rows"
        )
    return Picture(figure, "; ".join(facts))


def _distinct_channels(maps: np.ndarray) -> list[int]:
    """Choose `COLUMNS` channels of maps (C, T, F) greedily, by std * (1 - r^2).

    r is the largest absolute correlation with a channel that was chosen before.
    """
    flat = maps.reshape(len(maps), -1)
    deviation = flat.std(axis=1)
    unit = (flat - flat.mean(axis=1, keepdims=True)) / (deviation[:, None] + 1e-9)
    correlation = np.abs(unit @ unit.T) / flat.shape[1]  # (C, C)
    chosen = [int(deviation.argmax())]
    while len(chosen) < min(COLUMNS, len(maps)):
        value = deviation * (1 - correlation[:, chosen].max(axis=1) ** 2)
        value[chosen] = -1
        chosen.append(int(value.argmax()))
    return chosen


def _strides(recognizer: Recognizer | Classifier) -> list[int]:
    """The time stride of each convolution, with that of the pooling after it."""
    modules = list(recognizer.emitter.acoustic.modules())
    blocks = [one.stride for one in modules if isinstance(one, ConvBlock)]
    return blocks or [one.stride[0] for one in modules if isinstance(one, nn.Conv2d)]


def feature_maps(excerpt: Excerpt, recognizer: Recognizer | Classifier) -> list[np.ndarray]:
    """(C, T', F') outputs of each convolution after its nonlinearity, without `model.edge`.

    In a classifier they are those of each block, after max pooling.
    """
    acoustic, maps = recognizer.emitter.acoustic, []

    def keep(layer: nn.Module, inputs: tuple, out: torch.Tensor) -> None:
        if isinstance(layer, ConvBlock):  # out: (B, C, T', F') and lengths
            out = out[0]
        if isinstance(layer, FrameNorm):  # out: (B, T', C, F'), followed by a clipped ReLU
            out = out.transpose(1, 2).clamp(max=CLIP)
        maps.append(out[0].relu().cpu().numpy())

    if isinstance(acoustic, DeepSpeech2):
        layers = acoustic.norms
    elif isinstance(acoustic.front_end, ConvBlocks):
        layers = acoustic.front_end.blocks
    else:
        layers = acoustic.front_end.convolutions
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        recognizer.emissions([excerpt.samples])
    finally:
        for hook in hooks:
            hook.remove()
    config, frame = recognizer.config.model, 1  # feature frames of a row
    for i, stride in enumerate(_strides(recognizer) if config.edge else ()):
        frame *= stride
        edge = config.edge * config.subsampling // frame
        maps[i] = maps[i][:, edge:-edge]
    return maps
