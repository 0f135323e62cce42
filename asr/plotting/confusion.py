"""The confusion matrix of a classifier as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asr.plotting import figures
from asr.scoring.classes import ClassScore

INCHES_A_CLASS, NUMBERED = 0.35, 30  # cells of more classes have no numbers


def confusion_matrix(path: str | Path, title: str, score: ClassScore) -> None:
    """Draw how many recordings of each class got which label, and save it as PNG or SVG.

    Rows are references, columns labels; the shade is the share of the row. Raises `UserError` when
    matplotlib is not installed.
    """
    names = sorted({name for pair in score.confusion for name in pair})
    counts = np.array([[score.confusion.get((a, b), 0) for b in names] for a in names])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 2 + INCHES_A_CLASS * len(names)
    figure = figures.blank(size, size)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    shown = [name or "none" for name in names]
    axes.set_xticks(range(len(names)), shown, rotation=90)
    axes.set_yticks(range(len(names)), shown)
    axes.set_xlabel("label")
    axes.set_ylabel("reference")
    axes.set_title(f"{title}\naccuracy {score.accuracy:.2%}", fontsize=9)
    if len(names) <= NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if shares[row, column] > 0.5 else "black"
                place = {"ha": "center", "va": "center", "fontsize": 7}
                axes.text(column, row, str(count), color=color, **place)
    figures.save(path, figure)
