"""The monitor of a run: it turns steps and validations into rows for the writers.

It transfers nothing from the device; it uses the numbers that the loop has read already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from asr.config import Config
from asr.data.manifest import Utterance
from asr.training.metrics import StepMeans, StepMetrics
from asr.training.task import DevEvaluation
from asr.training.tensorboard import TensorBoard
from asr.training.wandb import WeightsAndBiases
from asr.training.writers import Curves, MetricsFile, ProgressLine, Row, Validation, Writer


class Monitor:
    """Writes the figures of a run to its folder and to the console:

    - `metrics.jsonl`: a row for the first step, for each `train.log_every`-th and for the last one,
      with means over the steps since the previous row; and a row for each validation
    - `tensorboard/`: the same figures, and texts, audio and features of the dev set
    - `curves.png`
    - a progress line
    - Weights & Biases, if `train.wandb` names a project

    resumed_at: the number of steps that a resumed run has done; resumed: the value that
    `checkpoint` returned after these steps. Rows that were written after that checkpoint are
    dropped, so that a killed and resumed run leaves the same rows as a run without interruption.
    writes: False in all processes but the main one; they write nothing. Raises `UserError` if
    Weights & Biases is configured and cannot start.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        total_steps: int,
        console: Console,
        resumed_at: int = 0,
        resumed: dict[str, Any] | None = None,
        *,
        writes: bool = True,
    ):
        self.total_steps, self.log_every = total_steps, config.train.log_every
        self._recent = StepMeans(**resumed["window"]) if resumed else StepMeans()
        self._writers: list[Writer] = []
        if not writes:
            return
        wandb: list[Writer] = []
        if config.train.wandb is not None:  # first, because an error here must leave no other file
            wandb.append(WeightsAndBiases(folder, config, resuming=resumed is not None))
        self._metrics = MetricsFile(folder / "metrics.jsonl", resumed["rows"] if resumed else 0)
        self._writers = [
            ProgressLine(console, total_steps, config.train.epochs, resumed_at),
            self._metrics,
            TensorBoard(folder / "tensorboard", resumed_at if resumed else None),
            Curves(folder / "curves.png", self._metrics.path, config.name),
            *wandb,
        ]

    def __enter__(self) -> Monitor:
        for writer in self._writers:
            writer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        for writer in self._writers:
            writer.close(failed=kind is not None)

    def step(self, step: int, epoch: int, metrics: StepMetrics) -> None:
        """Record a finished step. step, epoch: their numbers in the run, counted from 1."""
        if not self._writers:
            return
        self._recent.add(metrics)
        for writer in self._writers:
            writer.step(step, epoch, metrics, self._recent)
        if step == 1 or step % self.log_every == 0 or step == self.total_steps:
            rate = {"train/learning_rate": metrics.learning_rate}
            self._write(step, epoch, self._recent.figures() | rate)
            self._recent = StepMeans()

    def validation(
        self,
        step: int,
        epoch: int,
        evaluation: DevEvaluation,
        recognizer: Any,
        utterances: Sequence[Utterance],
        best: bool,
    ) -> None:
        """Record a validation on `utterances` after `step`; best: whether it is the best so far."""
        if not self._writers:
            return
        figures = evaluation.figures().items()
        self._write(step, epoch, {f"dev/{name}": rate for name, rate in figures})
        validation = Validation(step, epoch, evaluation, recognizer, utterances, best)
        for writer in self._writers:
            writer.validation(validation)

    def checkpoint(self) -> dict[str, Any]:
        """The state that the `Monitor` of a resumed run needs, in plain types for the checkpoint.

        All rows written so far are on the disk when this returns.
        """
        for writer in self._writers:
            writer.flush()
        rows = self._metrics.rows if self._writers else 0
        return {"rows": rows, "window": asdict(self._recent)}

    def _write(self, step: int, epoch: int, row: Row) -> None:
        for writer in self._writers:
            writer.row(step, epoch, row)
