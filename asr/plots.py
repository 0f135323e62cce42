"""Pictures, drawn by matplotlib, which is an extra: `pip install 'asr[plots]'`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr import files
from asr.errors import UserError


def tuning(
    path: str | Path,
    points: Sequence[tuple[float, float, float]],
    chosen: tuple[float, float] | None,
    greedy: float,
) -> None:
    """Dev WER over lm_weight and word_bonus, as a PNG.

    points: (lm_weight, word_bonus, WER) of each trial at one beam; chosen: where the choice lies,
    None for greedy; greedy: its WER. Raises `UserError` where matplotlib is not installed.
    """
    figure = _figure(8, 5)
    axes = figure.subplots()
    weights, bonuses, wers = np.array(points, float).T
    wers = 100 * wers
    axes.set_xlabel("word_bonus")
    axes.set_title(f"greedy {100 * greedy:.2f}%, lowest {wers.min():.2f}%")
    if np.ptp(weights) == 0:  # without a language model there is but the bonus
        order = np.argsort(bonuses)
        axes.plot(bonuses[order], wers[order], "o-")
        axes.axhline(100 * greedy, color="grey", linestyle="--", label="greedy")
        axes.set_ylabel("dev WER, %")
        if chosen is not None:
            axes.axvline(chosen[1], color="red", label="chosen")
        axes.legend()
    else:
        # Far from the best all is bad: the colours are for what is near it.
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
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight")
    files.write(path, buffer.getvalue())


def _figure(width_inches: float, height_inches: float):
    try:
        from matplotlib.figure import Figure  # without pyplot: no display, no global state
    except ModuleNotFoundError:
        raise UserError("pictures need matplotlib: pip install 'asr[plots]'") from None
    return Figure(figsize=(width_inches, height_inches))
