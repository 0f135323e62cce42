"""Pictures of what a model computes from a recording: emissions, CTC alignment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr.decoder.align import Alignment, align
from asr.decoder.total import log_probability
from asr.plotting.recording import drawing
from asr.plotting.recording.drawing import MARK, QUIET, TOKENS, Picture
from asr.plotting.recording.excerpt import Excerpt
from asr.recognition.recognizer import Recognizer
from asr.text.tokenizer import BLANK
from asr.transcript import Hypothesis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        return math.exp(log_probability(self.log_probs, self.hypothesis.tokens))

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
