"""Writers of the figures of a run: `metrics.jsonl`, `curves.png` and a progress line.

The writers for TensorBoard and Weights & Biases have files of their own.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from asr import files
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.plotting import figures
from asr.training.metrics import StepMeans, StepMetrics
from asr.training.task import DevEvaluation

log = logging.getLogger("asr")

Row = dict[str, float | None]  # figures by name; None if unknown because every step was skipped

DRAWING_SHARE = 0.02  # at most this share of the time is spent on drawing curves.png


@dataclass(frozen=True)
class Validation:
    """One validation of the dev set."""

    step: int
    epoch: int
    evaluation: DevEvaluation
    recognizer: Any
    utterances: Sequence[Utterance]
    best: bool  # whether no earlier validation was better


class Writer:
    """A destination for the figures of a run. Each writer overrides what it needs."""

    def start(self) -> None:
        """Called when training begins."""

    def step(self, step: int, epoch: int, metrics: StepMetrics, recent: StepMeans) -> None:
        """Called after each step; recent: the means since the last row."""

    def row(self, step: int, epoch: int, row: Row) -> None:
        """Write figures: the means over several steps, or the error rates of a validation."""

    def validation(self, validation: Validation) -> None:
        """Called after each validation, when its row has been written."""

    def flush(self) -> None:
        """Write everything that is buffered to the disk."""

    def close(self, failed: bool) -> None:
        """Called when training ends; failed: whether an exception ended it."""


class MetricsFile(Writer):
    """`metrics.jsonl`, with a JSON object per row.

    rows: the number of existing rows to keep, which the checkpoint that training resumes from
    states; later rows are dropped.
    """

    def __init__(self, path: Path, rows: int):
        kept = path.read_bytes().splitlines(True)[:rows] if path.exists() else []
        files.write(path, b"".join(kept))
        self.path, self.rows = path, len(kept)
        self._file = path.open("a", encoding="utf-8")

    def row(self, step: int, epoch: int, row: Row) -> None:
        self._file.write(json.dumps({"step": step, "epoch": epoch} | row) + "\n")
        self._file.flush()  # data that has reached the operating system survives a kill
        self.rows += 1

    def close(self, failed: bool) -> None:
        self._file.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, in the order of the run."""
    with Path(path).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class Curves(Writer):
    """`curves.png`: loss, error rates, learning rate and gradient norm, drawn from `metrics.jsonl`.

    It is drawn at the end, and after a validation if all drawing takes less than `DRAWING_SHARE` of
    the time.
    """

    def __init__(self, path: Path, metrics: Path, title: str):
        self.path, self.metrics, self.title = path, metrics, title
        self._enabled = True
        self._drawn, self._drawing_s = time.monotonic(), 0.0

    def validation(self, validation: Validation) -> None:
        if time.monotonic() - self._drawn >= self._drawing_s / DRAWING_SHARE:
            self._draw()

    def close(self, failed: bool) -> None:
        self._draw()

    def _draw(self) -> None:
        if not self._enabled:
            return
        started = time.monotonic()
        try:
            figures.curves(self.path, self.title, read_metrics(self.metrics))
        except UserError as error:
            log.warning("no %s: %s", self.path.name, error)
            self._enabled = False
        self._drawn = time.monotonic()
        self._drawing_s = self._drawn - started


class ProgressLine(Writer):
    """A progress bar on the console, and a summary at the end."""

    def __init__(self, console: Console, total_steps: int, epochs: int, resumed_at: int):
        self.console, self.epochs = console, epochs
        self._since_start = StepMeans()
        self._progress = Progress(
            TextColumn("{task.fields[epoch]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed}/{task.total} steps{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        self._task = self._progress.add_task(
            "", total=total_steps, completed=resumed_at, epoch="", figures=""
        )

    def start(self) -> None:
        self._progress.start()

    def step(self, step: int, epoch: int, metrics: StepMetrics, recent: StepMeans) -> None:
        self._since_start.add(metrics)
        self._progress.update(
            self._task,
            completed=step,
            epoch=f"epoch {epoch}/{self.epochs}",
            figures=f", loss {metrics.loss:.3f}, rate {metrics.learning_rate:.1e}, "
            f"{recent.audio_s_per_s:.0f} s of audio/s",
        )

    def close(self, failed: bool) -> None:
        self._progress.stop()
        if not failed and self._since_start.steps:
            self.console.print(f"trained on {self._since_start}", highlight=False)
