"""`asr score` and `asr tune` for a model that classifies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asr.cli.console import list_failures, note, out, progress_bars, result
from asr.errors import UserError

if TYPE_CHECKING:
    from asr.data.manifest import Utterance
    from asr.recognition.classifier import Classifier
    from asr.recognition.detector import Detection
    from asr.scoring.classes import ClassRow, ClassScore
    from asr.scoring.keywords import KeywordScore

TABLE_WIDTH, MATRIX = 140, 12  # a larger confusion matrix is a list of its most frequent errors
FALSE_ACCEPTS = 0.01
PER_HOUR = 0.5  # false accepts of a detector
SHOWN = 10  # false accepts and near misses


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
    outside: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Of a classifier: detect the words of the manifest in a stream; these recordings "
            "are speech without them. Repeatable.",
        ),
    ] = None
    per_hour: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="With --outside: at most N false accepts an hour (0.5).", min=0
        ),
    ] = None
    window: Annotated[
        float | None,
        typer.Option(metavar="S", help="With --outside: the length of a window (0.8)."),
    ] = None
    debounce: Annotated[
        float | None,
        typer.Option(metavar="S", help="With --outside: deaf for S seconds after a word (0.7)."),
    ] = None

    @property
    def given(self) -> bool:
        return any(one is not None for one in (self.target, self.verify, *self._of_stream))

    @property
    def _of_stream(self) -> tuple[object, ...]:
        return self.outside, self.per_hour, self.window, self.debounce

    def check(self) -> None:
        """Raise `UserError` for options that would have no effect."""
        if self.outside is None and any(one is not None for one in self._of_stream):
            raise UserError(
                "--per-hour, --window and --debounce: name speech without the words, --outside PATH"
            )
        if sum(one is not None for one in (self.target, self.verify, self.outside)) > 1:
            raise UserError("--target, --verify and --outside: give one of them")


NO_ANALYSIS = ClassAnalysis()


def score_classifier(
    model: Path,
    reference: Path,
    output: Path | None,
    analysis: ClassAnalysis,
    device: str,
    by: Sequence[str] = (),
    against: Path | None = None,
) -> None:
    """Print the score of a classifier; with an output folder, write it with its report.

    by: columns of the manifest, whose values have scores of their own; against: a second classifier
    of the same recordings.
    """
    from asr.data import manifest
    from asr.recognition.classifier import Classifier
    from asr.scoring.class_comparison import compare_classes
    from asr.scoring.classify import evaluate_classes, scores_by
    from asr.scoring.verification import verification_trials

    analysis.check()
    if (by or against) and analysis.given:
        raise UserError("--by and --against: leave out --target, --verify and --outside")
    classifier = Classifier.load(model, device)
    utterances = manifest.read(reference)
    if analysis.outside is not None:
        return _score_detector(classifier, utterances, output, analysis)
    if analysis.target is not None and analysis.target not in classifier.labels:
        named = ", ".join(classifier.labels[:10])
        raise UserError(f"--target {analysis.target}: not one of the classes: {named}")
    other = None if against is None else Classifier.load(against, device)
    with progress_bars() as bars:
        total = len(utterances) * (1 if other is None else 2)
        task = bars.add_task("recordings", total=total)
        if analysis.verify is not None:
            trials = verification_trials(
                classifier, utterances, analysis.enrol, analysis.verify, lambda: bars.advance(task)
            )
            bars.stop()
            return result(f"verification by {analysis.verify}: {trials.equal_error_rate()}")
        found = evaluate_classes(classifier, utterances, lambda: bars.advance(task))
        second = other and evaluate_classes(other, utterances, lambda: bars.advance(task))
    result(str(found.score))
    _print(_classes(found.score))
    _print(_confusions(found.score))
    if analysis.target is not None:
        result(f"{analysis.target}: {_target_rate(found.rows, analysis.target)}")
    details: dict[str, Any] = {}
    for column in dict.fromkeys(by):
        groups = scores_by(found.rows, utterances, column)
        _print(_groups(column, groups))
        named = details.setdefault("by", {})
        named[column] = {name: one.to_dict() for name, one in groups.items()}
    if second is not None:
        comparison = compare_classes(found.rows, second.rows)
        result(f"first: {model}\nsecond: {against}\n{comparison}")
        details["against"] = {"model": str(against)} | comparison.to_dict()
    if output is not None:
        by_id = {u.id: u for u in utterances}
        title = f"{model} on {reference}"
        found.save(output, title, classifier.config, by_id, details)
        _draw(output / "confusion.png", title, found.score)
    list_failures(found.failures)


def _groups(column: str, groups: Mapping[str, ClassScore]) -> Table:
    table = Table(box=None)
    table.add_column(column)
    for name in ("recordings", "accuracy", "95% interval", "macro F1"):
        table.add_column(name, justify="right")
    for label, s in groups.items():
        low, high = s.interval
        between = f"{1 - high:.1%} to {1 - low:.1%}" if s.recordings > 1 else ""
        cells = [f"{s.accuracy:.1%}", between, f"{s.macro_f1:.1%}"]
        table.add_row(Text(label), str(s.recordings), *cells)
    return table


def _score_detector(
    classifier: Classifier, words: Sequence[Utterance], output: Path | None, analysis: ClassAnalysis
) -> None:
    from asr import files
    from asr.data.sources import sources
    from asr.recognition.detector import DetectorSettings
    from asr.scoring.keywords import score_keywords

    outside = sources(analysis.outside or [])
    settings = DetectorSettings()
    if analysis.window is not None:
        settings = replace(settings, window_s=analysis.window)
    if analysis.debounce is not None:
        settings = replace(settings, debounce_s=analysis.debounce)
    rate = PER_HOUR if analysis.per_hour is None else analysis.per_hour
    with progress_bars() as bars:
        task = bars.add_task("recordings", total=len(words) + len(outside))
        found = score_keywords(
            classifier, words, outside, rate, settings, lambda: bars.advance(task)
        )
    result(str(found))
    _print(_rates(found))
    for title, rows in (("false accepts", found.accepted), ("near misses", found.near)):
        if rows:
            _print(_heard(title, rows))
    if output is not None:
        text = json.dumps(found.to_dict(), ensure_ascii=False, indent=1)
        files.write(output / "keywords.json", text + "\n")


def _rates(found: KeywordScore) -> Table:
    table = Table(box=None)
    for name in ("at most an hour", "threshold", "false accepts", "recall", "wrong words"):
        table.add_column(name, justify="right")
    for rate, point in found.curve.items():
        recall = f"{found.recall(point):.1%}"
        counts = [str(point.false_accepts), recall, str(point.wrong)]
        table.add_row(f"{rate:g}", f"{point.threshold:.4f}", *counts)
    return table


def _heard(title: str, rows: Sequence[tuple[str, Detection]]) -> Table:
    table = Table(box=None)
    for name in (title, "from", "to", "word", "probability"):
        table.add_column(name)
    for recording, one in rows[:SHOWN]:
        times = [f"{one.start_s:.2f}", f"{one.end_s:.2f}"]
        table.add_row(Text(recording), *times, one.label, f"{one.probability:.4f}")
    return table


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
