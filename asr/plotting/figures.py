"""Plots of tuning and of training runs, and functions that all plots use.

They need matplotlib, an optional dependency: `pip install 'asr[plots]'`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr import files
from asr.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("png", "svg")
DPI = 130
COLORS = 128  # number of colors in the palette of a PNG


def tuning(
    path: str | Path,
    points: Sequence[tuple[float, float, float]],
    chosen: tuple[float, float] | None,
    greedy: float,
) -> None:
    """Plot the dev WER over lm_weight and word_bonus, and save it as PNG or SVG.

    points: (lm_weight, word_bonus, WER) of the trials; chosen: the chosen (lm_weight, word_bonus),
    None for greedy decoding; greedy: the WER of greedy decoding. Raises `UserError` when
    matplotlib is not installed.
    """
    figure = blank(8, 5)
    axes = figure.subplots()
    weights, bonuses, wers = np.array(points, float).T
    wers = 100 * wers
    axes.set_xlabel("word_bonus")
    axes.set_title(f"greedy {100 * greedy:.2f}%, lowest {wers.min():.2f}%")
    if np.ptp(weights) == 0:  # without a language model only the bonus varies
        order = np.argsort(bonuses)
        axes.plot(bonuses[order], wers[order], "o-")
        axes.axhline(100 * greedy, color="grey", linestyle="--", label="greedy")
        axes.set_ylabel("dev WER, %")
        if chosen is not None:
            axes.axvline(chosen[1], color="red", label="chosen")
        axes.legend()
    else:
        # The color scale is limited to the better trials, so that they can be told apart.
        worst = max(np.quantile(wers, 0.75), wers.min() + 0.1)
        shades = {"vmin": wers.min(), "vmax": worst, "cmap": "viridis_r"}
        levels = np.linspace(wers.min(), worst, 21)
        axes.tricontourf(bonuses, weights, wers, levels, extend="max", **shades)
        dots = axes.scatter(bonuses, weights, c=wers, edgecolors="white", zorder=3, **shades)
        for weight, bonus, wer in zip(weights, bonuses, wers, strict=True):
            axes.annotate(
                f"{wer:.2f}",
                (bonus, weight),
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=6,
                bbox={"boxstyle": "square,pad=0.1", "color": "white", "alpha": 0.6},
            )
        figure.colorbar(dots, label="dev WER, %", extend="max")
        axes.set_ylabel("lm_weight")
        if chosen is not None:
            star = {"markersize": 16, "color": "red", "markeredgecolor": "white", "zorder": 4}
            axes.plot(chosen[1], chosen[0], "*", **star)
        axes.use_sticky_edges = False
        axes.margins(0.1)
    save(path, figure)


def curves(path: str | Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Plot loss, error rates, learning rate and gradient norm of a training run, as PNG or SVG.

    rows: the rows of metrics.jsonl. Raises `UserError` when matplotlib is not installed.
    """
    figure = blank(11, 7)
    from matplotlib.ticker import MaxNLocator

    figure.set_layout_engine("constrained")
    (loss, errors), (rate, norm) = figure.subplots(2, 2, sharex=True)
    for axes, column, title in (
        (loss, "train/loss", "training loss, nats per token"),
        (norm, "train/gradient_norm", "gradient norm, before clipping"),
    ):
        steps, values = _column(rows, column)
        pale = {"color": "tab:blue", "alpha": 0.35, "linewidth": 1, "marker": _marker(values)}
        axes.plot(steps, values, **pale, label="as logged")
        axes.plot(steps, _smooth(values), color="tab:blue", label="smoothed")
        if (values > 0).all():  # with entropy regularization the loss may be negative
            axes.set_yscale("log")
            _plain_numbers(axes.yaxis)
        axes.set_title(title)
    loss.legend()

    steps, values = _column(rows, "train/learning_rate")
    rate.plot(steps, values, color="tab:green", marker=_marker(values))
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", scilimits=(0, 0), useMathText=True)
    rate.set_title("learning rate")

    _draw_errors(errors, rows)
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=(1, 2, 5, 10)))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    for axes in (rate, norm):
        axes.set_xlabel("step")
    figure.suptitle(name)
    save(path, figure)


def _draw_errors(axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Plot WER and CER of the validations; of a model that classifies, its error rate."""
    classes = any(row.get("dev/error") is not None for row in rows)
    first, second = ("dev/error", "dev/cross_entropy") if classes else ("dev/wer", "dev/cer")
    name = "error rate" if classes else "WER"
    shown = [(first, "tab:red", name)] + ([] if classes else [(second, "tab:orange", "CER")])
    for column, color, label in shown:
        steps, values = _column(rows, column)
        axes.plot(steps, 100 * values, color=color, marker=_marker(values), label=label)
    (steps, low), (_, high) = _column(rows, f"{first}_low"), _column(rows, f"{first}_high")
    shade = {"color": "tab:red", "alpha": 0.15, "linewidth": 0}
    axes.fill_between(steps, 100 * low, 100 * high, **shade, label=f"{name}, 95% interval")
    axes.set_ylim(bottom=0)
    axes.set_title("errors on the dev set, %")
    validations = [row for row in rows if row.get(first) is not None]
    if validations:
        # The same choice as in training: the lowest first rate, then the second, then the latest.
        best = min(reversed(validations), key=lambda row: (row[first], row[second]))
        axes.axvline(best["step"], color="grey", linestyle="--", linewidth=1, zorder=0)
        axes.set_title(
            f"errors on the dev set, % (best {name} {best[first]:.2%}, epoch {best['epoch']})"
        )
        axes.legend()


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which a metric was logged, and its values, both (N,)."""
    known = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    steps, values = np.array(known, float).reshape(-1, 2).T
    return steps, values


def _marker(values: np.ndarray) -> str:
    """The marker of a curve: a dot per value when there are fewer than 50 values."""
    return "." if len(values) < 50 else ""


def _smooth(values: np.ndarray) -> np.ndarray:
    """(N,) centered moving average over 1/25 of the values; the window is truncated at the ends."""
    at, half = np.arange(len(values)), len(values) // 50
    first, last = np.maximum(at - half, 0), np.minimum(at + half, len(values) - 1)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[last + 1] - sums[first]) / (last + 1 - first)


def _plain_numbers(axis) -> None:
    """Label a logarithmic axis with plain numbers at 1, 2, 3 and 5 times the powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def blank(width_inches: float, height_inches: float) -> Figure:
    """An empty figure. Raises `UserError` when matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # without pyplot: no display, no global state
    except ModuleNotFoundError:
        raise UserError("plots need matplotlib: pip install 'asr[plots]'") from None
    return Figure(figsize=(width_inches, height_inches))


def save(path: str | Path, figure: Figure) -> None:
    """Write a figure as PNG or SVG, by the suffix of `path`; equal figures give equal bytes."""
    from matplotlib import rc_context
    from PIL import Image  # a dependency of matplotlib

    kind = kind_of(path)
    drawn, written = io.BytesIO(), io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    with rc_context({"svg.hashsalt": "asr"}):
        figure.savefig(drawn, format=kind, dpi=DPI, bbox_inches="tight", metadata=metadata)
    if kind == "svg":
        written = drawn
    else:  # a palette reduces the size to a third, with no visible difference
        Image.open(drawn).convert("RGB").quantize(COLORS, kmeans=1).save(
            written, "png", optimize=True
        )
    files.write(path, written.getvalue())


def kind_of(path: str | Path) -> str:
    """The format of a plot, png or svg, by the suffix; raises `UserError` for any other suffix."""
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise UserError(f"{path}: unknown format of a plot; give it the suffix .png or .svg")
    return kind
