"""Pictures of a recording inside a model: CNN feature maps, emissions, CTC alignment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from asr.decoder.align import Alignment, align
from asr.model.ctc import ctc_loss
from asr.model.deepspeech2 import CLIP, DeepSpeech2, FrameNorm
from asr.plotting.recording import drawing
from asr.plotting.recording.drawing import MARK, QUIET, TOKENS, Picture
from asr.plotting.recording.excerpt import Excerpt, as_batch
from asr.recognition.recognizer import Recognizer
from asr.text.tokenizer import BLANK
from asr.transcript import Hypothesis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4  # number of feature maps that are drawn for each convolution
MIN_PEAK = 0.1  # a token has a curve if its probability exceeds this in at least one frame
FAINT = 1e-5  # probabilities below this are drawn as 0
MAX_LABELS = 41  # CTC states are labeled if there are at most this many


@dataclass(frozen=True)
class Recognition:
    """The emissions and the best hypothesis of an excerpt, with the CTC path of its text."""

    log_probs: np.ndarray  # (T, V)
    hypothesis: Hypothesis
    alignment: Alignment
    frame_s: float
    pieces: list[str]

    @property
    def total(self) -> float:
        """The probability of the text, P = exp(-CTC loss), which sums over all its paths."""
        tokens = np.array(self.hypothesis.tokens, np.int64)
        return math.exp(-ctc_loss(*as_batch(self.log_probs), *as_batch(tokens)).item())

    def spans(self) -> list[tuple[int, int, int]]:
        """(first frame, frame after the last, token) for each token of the text."""
        found = self.alignment
        return list(
            zip(found.starts.tolist(), found.ends.tolist(), found.tokens.tolist(), strict=True)
        )

    def name(self, token: int) -> str:
        return "blank" if token == BLANK else self.pieces[token]


def recognize(excerpt: Excerpt, recognizer: Recognizer) -> Recognition:
    (log_probs,) = recognizer.emissions([excerpt.samples]).rows()
    hypothesis = recognizer.decode(log_probs)[0]
    alignment = align(log_probs, hypothesis.tokens)
    pieces = recognizer.tokenizer.pieces
    return Recognition(log_probs, hypothesis, alignment, recognizer.frame_s, pieces)


def cnn(excerpt: Excerpt, recognizer: Recognizer) -> Picture:
    """The model's input, and the channels of each convolution that vary most in this excerpt."""
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
    convolutions = [m for m in recognizer.emitter.acoustic.modules() if isinstance(m, nn.Conv2d)]
    for layer, (found, convolution) in enumerate(zip(maps, convolutions, strict=True)):
        frame_s *= convolution.stride[0]
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


def feature_maps(excerpt: Excerpt, recognizer: Recognizer) -> list[np.ndarray]:
    """(C, T', F') outputs of each convolution, after its nonlinearity, without `model.edge`."""
    acoustic, maps = recognizer.emitter.acoustic, []

    def keep(layer: nn.Module, inputs: tuple, out: torch.Tensor) -> None:
        if isinstance(layer, FrameNorm):  # out: (B, T', C, F'), followed by a clipped ReLU
            out = out.transpose(1, 2).clamp(max=CLIP)
        maps.append(out[0].relu().cpu().numpy())

    other = isinstance(acoustic, DeepSpeech2)
    layers = acoustic.norms if other else acoustic.front_end.convolutions
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        recognizer.emissions([excerpt.samples])
    finally:
        for hook in hooks:
            hook.remove()
    config, frame = recognizer.config.model, 1  # feature frames of a row
    for i, layer in enumerate(layers if config.edge else ()):
        frame *= layer.stride[0]
        edge = config.edge * config.subsampling // frame
        maps[i] = maps[i][:, edge:-edge]
    return maps


def emissions(excerpt: Excerpt, recognizer: Recognizer) -> Picture:
    """The probability of each token in each frame, and the recognized words."""
    recognized = recognize(excerpt, recognizer)
    figure, (sound, lines, words) = drawing.stacked([1.3, 2.2, 0.65])
    _sound_above(sound, excerpt)
    probs = np.exp(recognized.log_probs)  # (T, V)
    edges_s = excerpt.start_s + recognized.frame_s * np.arange(len(probs) + 1)
    for token, color in {BLANK: QUIET, **token_colors(recognized)}.items():
        shade = 0.15 if token == BLANK else 0.45
        drawing.steps(lines, probs[:, token], edges_s, color, shade, recognized.name(token))
    for start, end, token in recognized.spans():
        at = start + int(probs[start:end, token].argmax())
        lines.annotate(
            *(recognized.name(token), (edges_s[at : at + 2].mean(), probs[at, token]), (0, 4)),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=token_colors(recognized)[token],
        )
    lines.set_ylim(0, 1.15)
    lines.set_yticks([0, 0.5, 1])
    drawing.title(
        lines, f"token probabilities every {1000 * recognized.frame_s:g} ms (gray: blank)"
    )
    drawing.label(lines, y="probability")
    word_row(words, excerpt, recognized)
    text = recognized.hypothesis.text
    return Picture(
        figure,
        f"{len(probs)} frames of {1000 * recognized.frame_s:g} ms, {probs.shape[1]} tokens; "
        f"blank is likeliest in {np.count_nonzero(probs.argmax(axis=1) == BLANK)} frames; "
        f"text: {text!r}",
    )


def alignment(excerpt: Excerpt, recognizer: Recognizer) -> Picture:
    """The CTC states of the recognized text, and the likeliest path through them."""
    recognized = recognize(excerpt, recognizer)
    tokens = recognized.alignment.tokens
    states = np.full(2 * len(tokens) + 1, BLANK)  # a blank before and after each token
    states[1::2] = tokens
    path = np.zeros(len(recognized.log_probs), int)  # (T,) the state of each frame
    for number, (start, end, _) in enumerate(recognized.spans()):
        path[start:end] = 2 * number + 1
        path[end:] = 2 * number + 2
    figure, (sound, trellis, words) = drawing.stacked(
        [1.2, min(4.0, 1.0 + 0.2 * len(states)), 0.65]
    )
    _sound_above(sound, excerpt)
    drawn = drawing.image(
        trellis,
        excerpt,
        np.exp(recognized.log_probs[:, states[::-1]]),
        recognized.frame_s,
        centered=False,
        cmap="Blues",
        norm="log",
        clim=(FAINT, 1),
    )
    drawing.color_bar(trellis, drawn, "probability")
    times_s = excerpt.start_s + recognized.frame_s * (np.arange(len(path)) + 0.5)
    rows = len(states) - 1 - path  # the first token is at the top
    trellis.plot(times_s, rows, ".-", color=MARK, linewidth=1.4, markersize=5)
    if len(states) <= MAX_LABELS:
        names = ["·" if state == BLANK else recognized.name(state) for state in states[::-1]]
        trellis.set_yticks(range(len(states)), names)
    else:
        trellis.set_yticks([])
    trellis.set_ylim(-0.5, len(states) - 0.5)
    drawing.title(trellis, "the likeliest path through the tokens and the blanks (·) around them")
    word_row(words, excerpt, recognized)
    in_tokens = int(np.count_nonzero(path % 2))
    return Picture(
        figure,
        f"{len(path)} frames: {in_tokens} in {len(tokens)} tokens, {len(path) - in_tokens} are "
        f"blank; probability of this path {math.exp(recognized.alignment.score):.3f}, of all paths "
        f"of the text {recognized.total:.3f}",
    )


def _sound_above(axes: Axes, excerpt: Excerpt) -> None:
    drawing.decibels(axes, excerpt, excerpt.log_mel, scale=False)
    drawing.mel_axis(axes, excerpt, drawing.FEW_HZ)
    drawing.label(axes, y="hertz")
    drawing.title(axes, f"{excerpt.name}, log-mel")


def token_colors(recognized: Recognition) -> dict[int, str]:
    """A color for each token that is recognized or likely in some frame, in order of its peak."""
    probs = np.exp(recognized.log_probs)
    likely = np.flatnonzero(probs.max(axis=0, initial=0) > MIN_PEAK)
    tokens = {int(token) for token in (*likely, *recognized.alignment.tokens)} - {BLANK}
    order = sorted(tokens, key=lambda token: probs[:, token].argmax())
    return {token: TOKENS[number % len(TOKENS)] for number, token in enumerate(order)}


def word_row(axes: Axes, excerpt: Excerpt, recognized: Recognition) -> None:
    """Draw the words and their confidences, each word below the frames of its tokens."""
    for word in recognized.hypothesis.words:
        start_s, length_s = excerpt.start_s + word.start_s, word.end_s - word.start_s
        axes.broken_barh([(start_s, length_s)], (0.8, 0.2), color=MARK)
        axes.text(
            *(start_s + length_s / 2, 0.68, f"{word.text}\n{word.confidence:.2f}"),
            ha="center",
            va="top",
            fontsize=8.5,
            linespacing=1.3,
        )
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    drawing.label(axes, "seconds")
