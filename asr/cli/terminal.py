"""Draw pictures in a terminal with colored half blocks: a character shows two image points."""

from __future__ import annotations

import textwrap

import numpy as np
from rich.color import Color
from rich.style import Style
from rich.text import Text

from asr.plotting.recording import drawing
from asr.plotting.recording.excerpt import Excerpt
from asr.plotting.recording.model import Recognition, recognize, token_colors
from asr.recognition.recognizer import Recognizer
from asr.text.tokenizer import BLANK

LINES = 14  # height of a picture in lines
MARGIN = 9  # columns for the labels on the left
SHADES = " ░▒▓█"  # used if the terminal has no colors
# From quiet to loud, as in the other pictures (five colors of matplotlib's magma).
RAMP = np.array([(0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191)])


def view(
    name: str, excerpt: Excerpt, recognizer: Recognizer | None, width: int, color: bool
) -> Text:
    """A picture of `IN_TERMINAL`, `width` characters wide; in shades of gray without `color`."""
    columns = max(20, width - MARGIN)
    recognized = None
    if name == "emissions":
        recognized = recognize(excerpt, recognizer)
        tokens = [BLANK, *token_colors(recognized)]
        levels = np.repeat(np.exp(recognized.log_probs[:, tokens]).T, 2, axis=0)  # (2 lines, T)
        labels = [recognized.name(token)[: MARGIN - 1] for token in tokens]
    elif name == "waveform":
        levels = _envelope(excerpt.samples, columns)
        labels = [""] * LINES
    else:
        rows = excerpt.spectrogram if name == "spectrogram" else excerpt.log_mel  # (T, F)
        levels = (
            1 + drawing.relative_db(rows).T[::-1] / drawing.DYNAMIC_RANGE_DB
        )  # (F, T), the highest first
        levels = fit(levels.clip(0, 1), 2 * LINES, axis=0)
        low_hz, high_hz = excerpt.mel_range_hz if name == "log-mel" else (0, excerpt.rate_hz / 2)
        labels = [f"{high_hz:.0f} Hz", *[""] * (LINES - 2), f"{low_hz:.0f} Hz"]
    picture = Text()
    for number, label in enumerate(labels):
        picture.append(f"{label:>{MARGIN - 1}} ")
        _append_line(picture, fit(levels[2 * number : 2 * number + 2], columns, axis=1), color)
        picture.append("\n")
    if recognized is not None:
        for line in _words(recognized, columns):
            picture.append(" " * MARGIN + line + "\n")
    start, end = f"{excerpt.start_s:.2f} s", f"{excerpt.end_s:.2f} s"
    picture.append(" " * MARGIN + start + end.rjust(columns - len(start)))
    return picture


def fit(levels: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Resize an image to `size` points along an axis by taking maxima, or repeating points."""
    levels = np.moveaxis(levels, axis, 0)
    first = np.arange(size) * len(levels) // size
    after = np.maximum(first + 1, np.arange(1, size + 1) * len(levels) // size)
    points = [levels[a:b].max(axis=0) for a, b in zip(first, after, strict=True)]
    return np.moveaxis(np.array(points), 0, axis)


def _envelope(samples: np.ndarray, columns: int) -> np.ndarray:
    """A picture of the waveform, (2 * LINES, columns): 1 on the waveform, 0 elsewhere."""
    peak = max(np.abs(samples).max(), 1e-4)
    highest = fit(samples, columns, axis=0) / peak
    lowest = -fit(-samples, columns, axis=0) / peak
    height = np.linspace(1, -1, 2 * LINES)[:, None]
    half = 1 / (2 * LINES)
    return ((height <= highest + half) & (height >= lowest - half)).astype(float)


def _append_line(picture: Text, pair: np.ndarray, color: bool) -> None:
    """Append a line of characters for two rows of levels: pair (2, columns), in [0, 1]."""
    for upper, lower in pair.T:
        if color:
            picture.append("▀", Style(color=_ramp(upper), bgcolor=_ramp(lower)))
        else:
            picture.append(SHADES[round(max(upper, lower) * (len(SHADES) - 1))])


def _ramp(level: float) -> Color:
    at = level * (len(RAMP) - 1)
    return Color.from_rgb(*(int(np.interp(at, range(len(RAMP)), part)) for part in RAMP.T))


def _words(recognized: Recognition, columns: int) -> list[str]:
    """A line with each word at its start time, or later if the previous word is in the way.

    If the line is longer than `columns`, the text is wrapped to several lines without times.
    """
    line = ""
    for word in recognized.hypothesis.words:
        at = int(word.start_s / recognized.frame_s / len(recognized.log_probs) * columns)
        line = line.ljust(at) + (" " if line and len(line) >= at else "") + word.text
    return [line] if len(line) <= columns else textwrap.wrap(recognized.hypothesis.text, columns)
