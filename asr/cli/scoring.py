"""`asr score`: measure error rates, analyze the errors, and compare two systems."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asr.cli.class_scoring import (
    NO_ANALYSIS,
    ClassAnalysis,
    refuse_text_options,
    score_classifier,
)
from asr.cli.console import err, list_failures, out, progress_bars, result
from asr.cli.options import AS_SAVED, Decoding
from asr.errors import UserError

if TYPE_CHECKING:
    from asr.scoring.assessment import Assessment, ScoreRequest

_NAMES = ("none", "basic", "recipe", "whisper-en")
Normalization = Enum("Normalization", {name: name for name in _NAMES}, type=str)
TABLE_WIDTH = 140


@dataclass(frozen=True)
class Analysis:
    """Analyses besides the score, and the normalization of the texts."""

    against: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Compare with a second system."),
    ] = None
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Rates by a column, duration or snr."),
    ] = None
    train: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Training texts, to find unknown words."),
    ] = None
    confusions: Annotated[
        int, typer.Option(metavar="N", help="Show the N most frequent errors of each kind.", min=0)
    ] = 5
    normalize: Annotated[
        Normalization | None,
        typer.Option(
            help="Normalization of both texts: recipe, as in training (default for a model); "
            "basic, lower case without punctuation (for files); none (for a scored folder); "
            "whisper-en, Whisper's for English.",
            show_default=False,
        ),
    ] = None


SCORE_ALONE = Analysis()


def score(
    reference: Annotated[
        Path,
        typer.Argument(
            metavar="SYSTEM", help="A model file, a file of reference texts, or a scored folder."
        ),
    ],
    hypothesis: Annotated[
        Path | None,
        typer.Argument(
            metavar="TEXTS",
            help="A manifest for the model, or a file of recognized texts.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder for figures, texts and report.",
        ),
    ] = None,
    analysis: Analysis = SCORE_ALONE,
    classes: ClassAnalysis = NO_ANALYSIS,
    decoding: Decoding = AS_SAVED,
) -> None:
    """Measure the word error rate, or the accuracy of a classifier, with its 95% interval.

    Give MODEL MANIFEST, or REFERENCES HYPOTHESES, or a FOLDER that was scored before.
    """
    from asr.recognition.model import classifies, is_model
    from asr.scoring.assessment import ScoreRequest, assess

    if is_model(reference) and hypothesis is None:
        raise UserError(f"{reference}: give a manifest for the model")
    if hypothesis is not None and is_model(reference) and classifies(reference):
        given = {"the options of texts": replace(analysis, by=None, against=None) != SCORE_ALONE}
        refuse_text_options(given | {"the options of decoding": decoding.given})
        return score_classifier(
            reference,
            hypothesis,
            output,
            classes,
            decoding.device,
            analysis.by or (),
            analysis.against,
        )
    if classes.given:
        raise UserError(
            f"{reference}: --target, --verify and --outside are for a model that classifies"
        )
    system, references = hypothesis or reference, reference
    if is_model(reference):
        system, references = reference, hypothesis
    request = ScoreRequest(
        system,
        references,
        against=analysis.against,
        normalization=analysis.normalize.value if analysis.normalize else None,
        by=analysis.by or (),
        train=analysis.train or (),
        confusions=analysis.confusions,
    )
    _check(request, decoding)
    with progress_bars() as bars:

        def start(label: str, total: int):
            task = bars.add_task(label, total=total)
            return lambda: bars.advance(task)

        found = assess(request, decoding.load, start)
    _print_assessment(found)
    issues = found.issues + (found.save(output) if output is not None else [])
    for issue in issues:
        err.print(Text(str(issue), style="red" if issue.is_error else "yellow"), highlight=False)
    list_failures(found.failures)
    if any(issue.is_error for issue in issues):
        raise typer.Exit(1)


def _check(request: ScoreRequest, decoding: Decoding) -> None:
    """Raise `UserError` for options that would have no effect."""
    if not request.models and decoding.given:
        raise UserError(
            f"{request.system}: --lm, --hotword, --decoder and --quantize are for a model file"
        )
    if request.normalization == "recipe" and request.system not in request.models:
        raise UserError(f"--normalize recipe: {request.system}: only a model file has a recipe")


def _print_assessment(found: Assessment) -> None:
    from asr.scoring.normalization import described

    words = found.score.words
    result(str(found.score))
    result(
        f"MER {words.match_error_rate:.2%}, WIL {words.information_lost:.2%}; "
        f"normalization: {found.normalization} ({described(found.text)})"
    )
    if found.confusions is not None:
        _print_table(_confusions(found.confusions))
    if found.vocabulary is not None:
        result(str(found.vocabulary))
    for column in found.groups:
        _print_table(_groups(column, found.scores_by(column)))
    if found.comparison is not None:
        result(f"first: {found.request.system}\nsecond: {found.request.against}")
        result(str(found.comparison))


def _print_table(table: Table) -> None:
    """Print at full width, so that no column is squeezed in a file or a pipe."""
    Console(width=max(out.width, TABLE_WIDTH)).print(table)


def _confusions(found) -> Table:
    table = Table(box=None)
    columns = (
        ("substituted", [f"{ref} → {hyp}" for (ref, hyp), _ in found.substitutions]),
        ("deleted", [word for word, _ in found.deletions]),
        ("inserted", [word for word, _ in found.insertions]),
    )
    counts = [
        [str(count) for _, count in kind]
        for kind in (found.substitutions, found.deletions, found.insertions)
    ]
    cells: list[list] = []
    for (name, words), numbers in zip(columns, counts, strict=True):
        table.add_column(name)
        table.add_column("", justify="right")
        cells += [[Text(word) for word in words], numbers]
    for row in zip_longest(*cells, fillvalue=""):
        table.add_row(*row)
    return table


def _groups(column: str, groups: dict) -> Table:
    table = Table(box=None)
    table.add_column(column)
    for name in ("utterances", "words", "WER", "95% interval", "CER", "sub", "del", "ins"):
        table.add_column(name, justify="right")
    for label, s in groups.items():
        low, high = s.interval
        table.add_row(
            Text(label),
            str(s.utterances),
            str(s.words.reference),
            f"{s.wer:.2%}",
            f"{low:.2%} to {high:.2%}" if s.utterances > 1 else "",
            f"{s.cer:.2%}",
            str(s.words.substitutions),
            str(s.words.deletions),
            str(s.words.insertions),
        )
    return table
