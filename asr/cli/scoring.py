"""`asr score`: error rates, where the errors are, and whether another system is better."""

from __future__ import annotations

from enum import Enum
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asr.cli.console import err, list_failures, out, progress_bars
from asr.cli.options import AS_SAVED, Decoding
from asr.errors import UserError

Normalization = Enum("Normalization", {n: n for n in ("none", "basic", "recipe")}, type=str)
TABLE_WIDTH = 140
HYPOTHESES = "hypotheses.jsonl"  # what --to wrote into a folder


def score(
    reference: Annotated[
        Path,
        typer.Argument(help="A model file, a file of reference texts, or a folder of -o."),
    ],
    hypothesis: Annotated[
        Path | None,
        typer.Argument(
            help="A manifest for the model, or a file of recognized texts.", show_default=False
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="A second system on the same references: texts, model or folder."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Figures for each value of a column; or duration, or snr."),
    ] = None,
    train: Annotated[
        list[Path] | None,
        typer.Option(help="Text or manifest of training: tells which words are unknown."),
    ] = None,
    confusions: Annotated[
        int, typer.Option(help="So many of the commonest errors of each kind.", min=0)
    ] = 5,
    normalize: Annotated[
        Normalization | None,
        typer.Option(
            help="Of both texts. recipe: as the model was trained, the default for a model; basic: "
            "lower case without punctuation, for files; none, for a folder.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Write score.json, hypotheses.jsonl and report.html there.",
        ),
    ] = None,
    decoding: Decoding = AS_SAVED,
) -> None:
    """Word error rate with its interval: MODEL MANIFEST, REFERENCES HYPOTHESES, or FOLDER."""
    from asr.scoring import error_analysis
    from asr.scoring import wer as scoring
    from asr.scoring.compare import compare
    from asr.scoring.pairs import missing_recordings
    from asr.text.normalize import NORMALISATIONS, describe

    models = [path for path in (reference, against) if path is not None and _is_model(path)]
    if not models and decoding.given:
        raise UserError(
            f"{reference}: --lm, --hotword, --decoder and --quantize are for a model file"
        )
    recognizers = {path: decoding.load(path) for path in models}
    if _is_model(reference) and hypothesis is None:
        raise UserError(f"{reference}: name a manifest for the model")
    references, system = reference, hypothesis or reference
    if _is_model(reference):
        references, system = hypothesis, reference

    name = normalize.value if normalize else _default_normalization(system)
    if name == "recipe" and system not in recognizers:
        raise UserError("--normalize recipe: only a model file knows its recipe")
    config = recognizers[system].config.text if name == "recipe" else NORMALISATIONS[name]

    paired, failures, heard = _pairs_of(system, references, recognizers, config)
    result = scoring.score(paired.pairs)
    details = {"normalization": name, "normalized": describe(config), "sources": paired.sources}
    out.print(str(result), highlight=False)
    out.print(
        f"MER {result.words.match_error_rate:.2%}, WIL {result.words.information_lost:.2%}; "
        f"normalization: {name} ({describe(config)})",
        highlight=False,
    )
    if confusions and result.words.errors:
        common = error_analysis.confusions(paired.pairs, confusions)
        details["confusions"] = common.to_dict()
        _print_table(_confusions(common))
    if train:
        unknown = error_analysis.vocabulary(paired.pairs, _words_of(train, config))
        details["vocabulary"] = unknown.to_dict()
        out.print(str(unknown), highlight=False, markup=False)
    groups: dict[str, dict[str, list[int]]] = {}
    for column in dict.fromkeys(by or ()):
        with progress_bars() as progress:
            task = progress.add_task(column, total=len(paired.pairs))
            groups[column] = error_analysis.by_column(
                paired.columns, column, partial(progress.advance, task)
            )
        scores = {
            label: scoring.score([paired.pairs[place] for place in places])
            for label, places in groups[column].items()
        }
        details.setdefault("by", {})[column] = {k: s.to_dict() for k, s in scores.items()}
        _print_table(_groups(column, scores))
    issues = paired.issues
    if against is not None:
        other, more, _ = _pairs_of(against, references, recognizers, config)
        comparison = compare(paired.pairs, other.pairs)
        details["against"] = {"sources": other.sources} | comparison.to_dict()
        out.print(f"first: {system}\nsecond: {against}", highlight=False, markup=False)
        out.print(str(comparison), highlight=False, markup=False)
        failures = failures + more
        issues = list(dict.fromkeys(issues + other.issues))
    utterances, words = heard
    if output is not None and system not in recognizers:  # a model's own are listed with the reason
        issues = issues + missing_recordings(utterances, words)
    details["issues"] = [issue.to_dict() for issue in issues]
    if output is not None:
        from asr.scoring.report import write_report

        scoring.write_results(output, paired.pairs, result, details, words, utterances)
        title = str(system) if system.is_dir() else f"{system} on {references}"
        write_report(
            output, title, paired.pairs, result.to_dict() | details, utterances, words, groups
        )
    for issue in issues:
        style = "red" if issue.is_error else "yellow"
        err.print(Text(str(issue), style=style), highlight=False)
    list_failures(failures)
    if any(issue.is_error for issue in issues):
        raise typer.Exit(1)


def _is_model(path: Path) -> bool:
    return path.suffix == ".asr"


def _default_normalization(system: Path) -> str:
    """The texts of a folder have their form already: another would change the figure."""
    return "recipe" if _is_model(system) else "none" if system.is_dir() else "basic"


def _pairs_of(system: Path, references: Path, recognizers: dict, config) -> tuple:
    """What a model, a folder or a file of texts made of the references, what it could not, and by
    id the utterances whose recordings are known, and the words whose times are known."""
    from asr.data import manifest
    from asr.scoring.evaluate import evaluate
    from asr.scoring.pairs import Paired, empty_texts, pair_files, recordings, timed_words
    from asr.scoring.transcript_readers import columns_of

    if system in recognizers:
        if references.is_dir():
            raise UserError(f"{references}: a model needs a manifest with audio, not a folder")
        utterances = manifest.read(references)
        with progress_bars() as progress:
            task = progress.add_task("utterances", total=len(utterances))
            recognizer = recognizers[system]
            evaluation = evaluate(recognizer, utterances, lambda: progress.advance(task), config)
        columns = [columns_of(utterance) for utterance in utterances]
        sources = (str(references), str(system))
        failed = {failure.utterance.id for failure in evaluation.failures}  # listed with the reason
        issues = empty_texts(pair for pair in evaluation.pairs if pair.id not in failed)
        heard = {utterance.id: utterance for utterance in utterances}, evaluation.words
        return Paired(evaluation.pairs, columns, issues, sources), evaluation.failures, heard
    if system.is_dir():
        references = system
    files = [path / HYPOTHESES if path.is_dir() else path for path in (references, system)]
    paired = pair_files(*files, config)
    words = timed_words(paired) if system.is_dir() else {}
    return paired, [], (recordings(paired), words)


def _words_of(texts: list[Path], config) -> set[str]:
    from asr.data.texts import sentences_of
    from asr.text.normalize import normalize

    lines = sentences_of(texts, lambda line: normalize(line, config))
    return {word for line in lines for word in line.split()}


def _print_table(table: Table) -> None:
    """At its own width: where the output is a file or a pipe no column is squeezed."""
    Console(width=max(out.width, TABLE_WIDTH)).print(table)


def _confusions(found) -> Table:
    table = Table(box=None)
    columns = (
        ("substituted", [f"{said} → {heard}" for (said, heard), _ in found.substitutions]),
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
