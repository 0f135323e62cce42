"""Functions that all pictures of a recording use: colors, axes and time scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr.audio.spectrogram import hz_to_mel
from asr.plotting import figures
from asr.plotting.recording.excerpt import Excerpt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

WIDTH = 8.0  # inches
DYNAMIC_RANGE_DB = 70.0  # levels more than 70 dB below the loudest have the color of silence
IMAGE = "magma"  # color map of power: dark is quiet, bright is loud
MARKED_HZ = (100, 250, 500, 1000, 2000, 4000, 8000, 16000)  # ticks of an axis of mel bands
FEW_HZ = (250, 1000, 2000, 4000)  # ticks of a short axis
WAVE, MARK, SECOND, QUIET = "#1f5a8c", "#d55e00", "#009e73", "#8a8a8a"
# Okabe and Ito's palette, which is safe for the color-blind; for tokens, in order of appearance.
TOKENS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195")


@dataclass(frozen=True)
class Picture:
    """A figure, and a caption of one line with its main numbers."""

    figure: Figure
    caption: str


def stacked(heights: list[float], columns: int = 1, share_x: bool = True) -> tuple[Figure, list]:
    """A figure of axes, one above the other, and a list of the axes.

    heights: the height of each row in inches. With several columns, the list has a list of axes for
    each row.
    """
    figure = figures.blank(WIDTH, sum(heights))
    figure.set_layout_engine("constrained")
    sharex = "col" if share_x else False
    axes = figure.subplots(
        len(heights), columns, sharex=sharex, squeeze=False, height_ratios=heights
    )
    for one in axes.flat:
        _plain(one)
    return figure, axes[:, 0].tolist() if columns == 1 else axes.tolist()


def mosaic(names: list[list[str]], heights: list[float]) -> tuple[Figure, dict[str, Axes]]:
    """Like `stacked`, with axes by name; a name that is repeated in a row spans those columns."""
    figure = figures.blank(WIDTH, sum(heights))
    figure.set_layout_engine("constrained")
    axes = figure.subplot_mosaic(names, height_ratios=heights)
    for one in axes.values():
        _plain(one)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, color=QUIET)


def title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=9.5)


def label(axes: Axes, x: str | None = None, y: str | None = None) -> None:
    if x is not None:
        axes.set_xlabel(x, fontsize=8.5)
    if y is not None:
        axes.set_ylabel(y, fontsize=8.5)


def wave(axes: Axes, excerpt: Excerpt) -> None:
    axes.axhline(0, color=QUIET, linewidth=0.5)
    axes.plot(excerpt.times_s, excerpt.samples, color=WAVE, linewidth=0.6)
    axes.set_xlim(excerpt.start_s, excerpt.end_s)
    label(axes, y="amplitude")


def image(
    axes: Axes,
    excerpt: Excerpt,
    rows: np.ndarray,
    frame_s: float,
    edges: tuple[float, float] | None = None,
    centered: bool = True,
    **options,
) -> AxesImage:
    """Draw rows (T, F) as an image, with time to the right and low bins at the bottom.

    edges: the values at the bottom and the top of the vertical axis, by default bin numbers;
    centered: the first frame is centered on the start, as feature frames are, rather than
    beginning there.
    """
    bottom, top = edges or (-0.5, rows.shape[1] - 0.5)
    left = excerpt.start_s - frame_s / 2 * centered
    drawn = axes.imshow(
        rows.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(left, left + len(rows) * frame_s, bottom, top),
        **{"cmap": IMAGE} | options,
    )
    axes.set_xlim(excerpt.start_s, excerpt.end_s)
    return drawn


def relative_db(rows: np.ndarray, loudest: float | None = None) -> np.ndarray:
    """Decibels relative to the loudest point; a constant input (digital silence) is all dark."""
    if loudest is None:
        loudest = rows.max() if np.ptp(rows) > 0 else rows.max() + DYNAMIC_RANGE_DB
    return rows - loudest


def decibels(
    axes: Axes,
    excerpt: Excerpt,
    rows: np.ndarray,
    edges: tuple[float, float] | None = None,
    loudest: float | None = None,
    scale: bool = True,
) -> None:
    """`image` of power in dB relative to `loudest`, by default the loudest point of `rows`."""
    levels = relative_db(rows, loudest)
    drawn = image(axes, excerpt, levels, excerpt.hop_s, edges, vmin=-DYNAMIC_RANGE_DB, vmax=0)
    if scale:
        color_bar(axes, drawn, "power, dB")


def normalized(axes: Axes, excerpt: Excerpt, rows: np.ndarray, frame_s: float) -> None:
    """`image` of features with mean 0 and standard deviation 1; the mean is white."""
    drawn = image(axes, excerpt, rows, frame_s, cmap="RdBu_r", vmin=-3, vmax=3)
    color_bar(axes, drawn, "standard deviations")


def color_bar(axes: Axes, drawn: AxesImage, name: str, **options) -> None:
    bar = axes.figure.colorbar(drawn, ax=axes, pad=0.01, fraction=0.05, aspect=15, **options)
    bar.set_label(name, fontsize=8.5)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)


def steps(
    axes: Axes, values: np.ndarray, edges: np.ndarray, color: str, shade: float, name: str
) -> None:
    """A step curve of one value per frame, filled down to 0: values (T,), edges (T + 1,)."""
    axes.stairs(values, edges, color=color, linewidth=1.2, label=name)
    axes.stairs(values, edges, fill=True, color=color, alpha=shade, linewidth=0)


def bins_name(kind: str) -> str:
    return {"spectrogram": "frequency bin", "log_mel": "mel band", "mfcc": "coefficient"}[kind]


def band_of(excerpt: Excerpt, hertz: np.ndarray) -> np.ndarray:
    """Frequencies -> fractional indices of mel bands; 0.0 is the center of the first band."""
    low, high = hz_to_mel(excerpt.mel_range_hz)
    return (hz_to_mel(hertz) - low) / (high - low) * (excerpt.features.n_mels + 1) - 1


def mel_axis(axes: Axes, excerpt: Excerpt, marked_hz: tuple[int, ...] = MARKED_HZ) -> None:
    """Label the vertical axis of an image of mel bands in hertz."""
    low_hz, high_hz = excerpt.mel_range_hz
    marked = [hertz for hertz in marked_hz if low_hz <= hertz <= high_hz]
    axes.set_yticks(band_of(excerpt, np.array(marked, float)), [f"{hertz:g}" for hertz in marked])
    axes.set_ylim(-0.5, excerpt.features.n_mels - 0.5)
