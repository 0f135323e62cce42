"""Pictures of what a model makes of a recording: CNN feature maps, emissions, CTC alignment."""

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

COLUMNS = 4  # feature maps of each convolution
SEEN = 0.1  # a token that is likelier than this in some frame has a line of its own
FAINT = 1e-5  # probabilities below this are drawn as 0
MOST_LABELS = 41  # states of CTC that can be named beside a picture


@dataclass(frozen=True)
class Heard:
    """What the recognizer heard in an excerpt, with the CTC path of its text."""

    log_probs: np.ndarray  # (T, V)
    hypothesis: Hypothesis
    alignment: Alignment
    frame_s: float
    pieces: list[str]

    @property
    def total(self) -> float:
        """The probability of the text: of all its paths together, as the CTC loss has it."""
        tokens = np.array(self.hypothesis.tokens, np.int64)
        return math.exp(-ctc_loss(*as_batch(self.log_probs), *as_batch(tokens)).item())

    def spans(self) -> list[tuple[int, int, int]]:
        """First frame, frame after the last, and token, of each token of the text."""
        found = self.alignment
        return list(
            zip(found.starts.tolist(), found.ends.tolist(), found.tokens.tolist(), strict=True)
        )

    def name(self, token: int) -> str:
        return "blank" if token == BLANK else self.pieces[token]


def hear(excerpt: Excerpt, recognizer: Recognizer) -> Heard:
    (log_probs,) = recognizer.emissions([excerpt.samples]).rows()
    hypothesis = recognizer.decode(log_probs)[0]
    alignment = align(log_probs, hypothesis.tokens)
    pieces = recognizer.tokenizer.pieces
    return Heard(log_probs, hypothesis, alignment, recognizer.frame_s, pieces)


def cnn(excerpt: Excerpt, recognizer: Recognizer) -> Picture:
    """The model's input, and of each convolution the channels that vary most in this excerpt."""
    maps = feature_maps(excerpt, recognizer)
    features, _ = recognizer.features.eval()(
        *(tensor.to(recognizer.device) for tensor in as_batch(excerpt.samples))
    )
    names = [[f"{layer} {i}" for i in range(COLUMNS)] for layer in range(len(maps))]
    figure, axes = drawing.mosaic([["input"] * COLUMNS, *names], [1.7] + [1.3] * len(maps))
    drawing.deviations(axes["input"], excerpt, features[0].cpu().numpy(), excerpt.hop_s)
    drawing.title(axes["input"], "the input: normalized features")
    drawing.label(axes["input"], y=drawing.bins_name(excerpt.features.kind))
    frame_s, facts = excerpt.hop_s, []
    convolutions = [m for m in recognizer.acoustic.modules() if isinstance(m, nn.Conv2d)]
    for layer, (found, convolution) in enumerate(zip(maps, convolutions, strict=True)):
        frame_s *= convolution.stride[0]
        brightest = np.quantile(found, 0.995)
        for i, channel in enumerate(_telling(found)):
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


def _telling(maps: np.ndarray) -> list[int]:
    """`COLUMNS` channels of (C, T, F) that vary much, each unlike those before it."""
    flat = maps.reshape(len(maps), -1)
    spread = flat.std(axis=1)
    unit = (flat - flat.mean(axis=1, keepdims=True)) / (spread[:, None] + 1e-9)
    alike = np.abs(unit @ unit.T) / flat.shape[1]  # (C, C) correlations
    chosen = [int(spread.argmax())]
    while len(chosen) < min(COLUMNS, len(maps)):
        worth = spread * (1 - alike[:, chosen].max(axis=1) ** 2)
        worth[chosen] = -1
        chosen.append(int(worth.argmax()))
    return chosen


def feature_maps(excerpt: Excerpt, recognizer: Recognizer) -> list[np.ndarray]:
    """(C, T', F') of each convolution, as the next layer gets it."""
    acoustic, maps = recognizer.acoustic, []

    def keep(layer: nn.Module, inputs: tuple, out: torch.Tensor) -> None:
        if isinstance(layer, FrameNorm):  # (B, T', C, F'), and clipped from above too
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
    return maps


def emissions(excerpt: Excerpt, recognizer: Recognizer) -> Picture:
    """The probability of each token in each frame, and the words that come of it."""
    heard = hear(excerpt, recognizer)
    figure, (sound, lines, words) = drawing.stacked([1.3, 2.2, 0.65])
    _sound_above(sound, excerpt)
    probs = np.exp(heard.log_probs)  # (T, V)
    edges_s = excerpt.start_s + heard.frame_s * np.arange(len(probs) + 1)
    for token, color in {BLANK: QUIET, **colors(heard)}.items():
        shade = 0.15 if token == BLANK else 0.45
        drawing.steps(lines, probs[:, token], edges_s, color, shade, heard.name(token))
    for start, end, token in heard.spans():
        at = start + int(probs[start:end, token].argmax())
        lines.annotate(
            *(heard.name(token), (edges_s[at : at + 2].mean(), probs[at, token]), (0, 4)),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=colors(heard)[token],
        )
    lines.set_ylim(0, 1.15)
    lines.set_yticks([0, 0.5, 1])
    drawing.title(lines, f"what the model says every {1000 * heard.frame_s:g} ms (grey: blank)")
    drawing.label(lines, y="probability")
    word_row(words, excerpt, heard)
    text = heard.hypothesis.text
    return Picture(
        figure,
        f"{len(probs)} frames of {1000 * heard.frame_s:g} ms, {probs.shape[1]} tokens; blank is "
        f"likeliest in {np.count_nonzero(probs.argmax(axis=1) == BLANK)} frames; heard: {text!r}",
    )


def alignment(excerpt: Excerpt, recognizer: Recognizer) -> Picture:
    """The states of CTC for the text that was heard, and the likeliest path through them."""
    heard = hear(excerpt, recognizer)
    tokens = heard.alignment.tokens
    states = np.full(2 * len(tokens) + 1, BLANK)  # a gap before and after each token
    states[1::2] = tokens
    path = np.zeros(len(heard.log_probs), int)  # (T,) the state of each frame
    for number, (start, end, _) in enumerate(heard.spans()):
        path[start:end] = 2 * number + 1
        path[end:] = 2 * number + 2
    figure, (sound, trellis, words) = drawing.stacked(
        [1.2, min(4.0, 1.0 + 0.2 * len(states)), 0.65]
    )
    _sound_above(sound, excerpt)
    shown = drawing.image(
        trellis,
        excerpt,
        np.exp(heard.log_probs[:, states[::-1]]),
        heard.frame_s,
        centered=False,
        cmap="Blues",
        norm="log",
        clim=(FAINT, 1),
    )
    drawing.colour_bar(trellis, shown, "probability")
    times_s = excerpt.start_s + heard.frame_s * (np.arange(len(path)) + 0.5)
    rows = len(states) - 1 - path  # read from the top to the bottom
    trellis.plot(times_s, rows, ".-", color=MARK, linewidth=1.4, markersize=5)
    if len(states) <= MOST_LABELS:
        names = ["·" if state == BLANK else heard.name(state) for state in states[::-1]]
        trellis.set_yticks(range(len(states)), names)
    else:
        trellis.set_yticks([])
    trellis.set_ylim(-0.5, len(states) - 0.5)
    drawing.title(trellis, "the likeliest path through the tokens and the blanks (·) around them")
    word_row(words, excerpt, heard)
    spelt = int(np.count_nonzero(path % 2))
    return Picture(
        figure,
        f"{len(path)} frames: {spelt} spell {len(tokens)} tokens, {len(path) - spelt} are blank; "
        f"probability of this path {math.exp(heard.alignment.score):.3f}, of all that spell the "
        f"text {heard.total:.3f}",
    )


def _sound_above(axes: Axes, excerpt: Excerpt) -> None:
    drawing.decibels(axes, excerpt, excerpt.log_mel, scale=False)
    drawing.mel_axis(axes, excerpt, drawing.FEW_HZ)
    drawing.label(axes, y="hertz")
    drawing.title(axes, f"{excerpt.name}, log-mel")


def colors(heard: Heard) -> dict[int, str]:
    """A color for each token that is heard, or likely in some frame, in order of appearance."""
    probs = np.exp(heard.log_probs)
    likely = np.flatnonzero(probs.max(axis=0, initial=0) > SEEN)
    tokens = {int(token) for token in (*likely, *heard.alignment.tokens)} - {BLANK}
    order = sorted(tokens, key=lambda token: probs[:, token].argmax())
    return {token: TOKENS[number % len(TOKENS)] for number, token in enumerate(order)}


def word_row(axes: Axes, excerpt: Excerpt, heard: Heard) -> None:
    """Words with their confidences, each under the frames that spell it."""
    for word in heard.hypothesis.words:
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
