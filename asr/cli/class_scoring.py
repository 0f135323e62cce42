"""`asr score` and `asr tune` for a model that classifies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asr.cli.console import list_failures, note, out, progress_bars, result
from asr.errors import UserError

if TYPE_CHECKING:
    from asr.scoring.classes import ClassRow, ClassScore

TABLE_WIDTH, MATRIX = 140, 12  # a larger confusion matrix is a list of its most frequent errors
FALSE_ACCEPTS = 0.01


@dataclass(frozen=True)
class ClassAnalysis:
    """Analyses of a model that classifies."""

    target: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="Of a classifier: the equal error rate of a class."),
    ] = None
    verify: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Of a classifier: verify speakers; the column has their names."
        ),
    ] = None
    enrol: Annotated[
        int, typer.Option(metavar="N", help="With --verify: recordings to enrol a speaker.", min=1)
    ] = 3

    @property
    def given(self) -> bool:
        return self.target is not None or self.verify is not None


NO_ANALYSIS = ClassAnalysis()


def score_classifier(
    model: Path, reference: Path, output: Path | None, analysis: ClassAnalysis, device: str
) -> None:
    """Print the score of a classifier; with an output folder, write it with its report."""
    from asr.data import manifest
    from asr.recognition.classifier import Classifier
    from asr.scoring.classify import evaluate_classes
    from asr.scoring.verification import verification_trials

    classifier = Classifier.load(model, device)
    utterances = manifest.read(reference)
    if analysis.target is not None and analysis.target not in classifier.labels:
        named = ", ".join(classifier.labels[:10])
        raise UserError(f"--target {analysis.target}: not one of the classes: {named}")
    with progress_bars() as bars:
        task = bars.add_task("recordings", total=len(utterances))
        if analysis.verify is not None:
            trials = verification_trials(
                classifier, utterances, analysis.enrol, analysis.verify, lambda: bars.advance(task)
            )
            bars.stop()
            return result(f"verification by {analysis.verify}: {trials.equal_error_rate()}")
        found = evaluate_classes(classifier, utterances, lambda: bars.advance(task))
    result(str(found.score))
    _print(_classes(found.score))
    _print(_confusions(found.score))
    if analysis.target is not None:
        result(f"{analysis.target}: {_target_rate(found.rows, analysis.target)}")
    if output is not None:
        by_id = {u.id: u for u in utterances}
        title = f"{model} on {reference}"
        found.save(output, title, classifier.config, by_id)
        _draw(output / "confusion.png", title, found.score)
    list_failures(found.failures)


def _draw(path: Path, title: str, score: ClassScore) -> None:
    from asr.plotting.confusion import confusion_matrix

    try:
        confusion_matrix(path, title, score)
    except UserError as error:  # the results are complete without the picture
        note(f"no picture: {error}")


def _target_rate(rows: list[ClassRow], target: str):
    import numpy as np

    from asr.scoring.detection import equal_error_rate
    from asr.scoring.intervals import resampling_groups

    known = [row for row in rows if row.probabilities]
    groups, _ = resampling_groups([r.id for r in known], [r.speaker for r in known])
    return equal_error_rate(
        np.array([row.probabilities[target] for row in known]),
        np.array([target in row.reference for row in known]),
        [np.unique(groups, return_inverse=True)[1]],
    )


def _print(table: Table) -> None:
    Console(width=max(out.width, TABLE_WIDTH)).print(table)


def _classes(score: ClassScore) -> Table:
    table = Table(box=None)
    table.add_column("class")
    for name in ("recordings", "precision", "recall", "F1"):
        table.add_column(name, justify="right")
    for name, one in score.classes.items():
        shares = ["" if share is None else f"{share:.1%}" for share in (one.precision, one.recall)]
        table.add_row(Text(name), str(one.recordings), *shares, f"{one.f1:.1%}")
    return table


def _confusions(score: ClassScore) -> Table:
    """The confusion matrix of few classes; of many, the most frequent confusions."""
    names = sorted({name for pair in score.confusion for name in pair})
    table = Table(box=None)
    if len(names) > MATRIX:
        table.add_column("reference → label")
        table.add_column("recordings", justify="right")
        wrong = [(count, pair) for pair, count in score.confusion.items() if pair[0] != pair[1]]
        for count, (reference, given) in sorted(wrong, reverse=True)[:MATRIX]:
            table.add_row(Text(f"{reference or 'none'} → {given or 'none'}"), str(count))
        return table
    table.add_column("reference \\ label")
    for name in names:
        table.add_column(name or "none", justify="right")
    for name in names:
        counts = [score.confusion.get((name, other), 0) for other in names]
        table.add_row(Text(name or "none"), *(str(count) if count else "." for count in counts))
    return table


def tune_reject(
    model: Path,
    dev: Path,
    output: Path,
    outside: list[str],
    false_accepts: float | None,
    device: str,
) -> None:
    """Choose `classify.reject`: the probability below which a recording is of no known class."""
    from asr.data import manifest
    from asr.data.sources import sources
    from asr.recognition.classifier import Classifier
    from asr.scoring.rejection import calibrate_reject

    classifier = Classifier.load(model, device)
    allowed = FALSE_ACCEPTS if false_accepts is None else false_accepts
    others = sources(outside) if outside else []
    found = calibrate_reject(classifier, manifest.read(dev), others, allowed)
    result(f"before: {found.before}")
    result(f"chosen: {found.chosen}")
    found.classifier.save(output)
    result(f"{output}: classify.reject {found.classifier.config.classify.reject:.4f}")
    list_failures(found.failures)


def refuse_text_options(options: Mapping[str, object]) -> None:
    """Raise `UserError` for an option that only a model that transcribes has."""
    for name, given in options.items():
        if given:
            raise UserError(f"{name}: the model classifies recordings and writes no text")
