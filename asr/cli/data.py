"""`asr check` and `asr shard`: find the problems of a manifest, and pack a corpus into shards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from asr.cli.console import err, out, progress_bars, result, say_failed
from asr.data.manifest import Utterance

if TYPE_CHECKING:
    from asr.config import Config
    from asr.text.tokenizer import Tokenizer


def check(
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST", help="A manifest (.jsonl, .tsv or .csv) or a folder of shards."
        ),
    ],
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Check for training with this recipe or model file."),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="MANIFEST", help="Only look for what this set has in common with it."),
    ] = None,
    no_audio: Annotated[
        bool, typer.Option("--no-audio", help="Open no audio, believe the manifest.")
    ] = False,
) -> None:
    """Print statistics and warnings of a manifest, and why utterances cannot be used.

    With a model file, also the texts that fit their audio worst.
    """
    if against:
        _leaks(manifest, against, not no_audio)
        return
    from asr.data import check as checking
    from asr.data import shards
    from asr.data.findings import findings
    from asr.data.observations import Observations
    from asr.model.ctc import ctc_frames

    corpus = shards.read(manifest)
    settings, tokens = _standard(recipe, corpus)
    tally, seen, problems, usable = checking.Tally(), Observations(settings.text), 0, 0
    with progress_bars() as progress:
        task = progress.add_task("reading" if no_audio else "decoding", total=len(corpus))
        for part in shards.parts(corpus):
            report = checking.check(
                part,
                settings,
                ctc_frames(settings),
                tokens,
                training=recipe is not None,
                decode=True,
                open_audio=not no_audio,
                tally=tally,
                observations=seen,
                progress=lambda: progress.advance(task),
            )
            for problem in report.problems:
                result(f"{problem.utterance}: {problem.detail}")
            problems, usable = problems + len(report.problems), usable + len(report.usable)
    statistics = tally.statistics()
    out.print(_statistics(statistics))
    for finding in findings(seen, statistics.characters, settings):
        out.print(Text(str(finding)))
    if recipe is not None and recipe.suffix == ".asr" and not no_audio:
        _worst_fits(recipe, corpus)
    if problems:
        out.print(f"{problems} problems, {usable} utterances can be used")
        raise typer.Exit(1)
    out.print("no problem found")


def _worst_fits(model: Path, corpus: Sequence[Utterance]) -> None:
    """Print the texts that fit their audio worst, by the model."""
    from asr.recognition.fit import worst_fits
    from asr.recognition.recognizer import load

    with progress_bars() as progress:
        task = progress.add_task("aligning", total=len(corpus))
        fits = worst_fits(load(model), corpus, progress=lambda: progress.advance(task))
    if fits.worst:
        out.print("These texts fit their audio worst (mean log-probability of the worst second):")
    for score, name, text in fits.worst:
        out.print(Text(f"  {score:.2f} {name}: {text}"))
    if fits.failed:
        name, reason = fits.failed[0]
        out.print(Text(f"{len(fits.failed)} could not be aligned, first {name}: {reason}"))


def _leaks(manifest: Path, against: list[Path], open_audio: bool) -> None:
    """End with status 1 if a set has a speaker, a sentence or a recording of another one."""
    from asr.data import shards
    from asr.data.leaks import find_leaks

    leaked, corpus = False, shards.read(manifest)
    for other in against:
        second = shards.read(other)
        with progress_bars() as progress:
            task = progress.add_task(f"comparing with {other}", total=len(corpus) + len(second))
            advance = partial(progress.advance, task)
            leaks = find_leaks(corpus, second, open_audio=open_audio, progress=advance)
        for line in leaks.lines(str(manifest), str(other)):
            result(line)
        for line in leaks.unreadable:
            say_failed("not compared", line)
        leaked = leaked or bool(leaks) or bool(leaks.unreadable)
    if leaked:
        raise typer.Exit(1)


def _standard(path: Path | None, corpus: Sequence[Utterance]) -> tuple[Config, Tokenizer | None]:
    """The settings and tokens for the checks: those of a model file, of a recipe, or defaults."""
    from asr.config import Config
    from asr.recognition.model import is_model, read_model
    from asr.text import tokenizer
    from asr.text.normalize import normalize

    if path is not None and is_model(path):
        model = read_model(path)
        return model.config, model.tokenizer
    settings = Config(name="default") if path is None else _recipe(path)
    kind, size = settings.tokenizer.kind, settings.tokenizer.vocab_size
    if kind == "characters":
        return settings, None
    # The tokens of this text are close to those that a model will learn from the training text.
    texts = (normalize(u.text or "", settings.text) for u in corpus)
    return settings, tokenizer.train(texts, kind, size)


def _recipe(path: Path) -> Config:
    from asr.pipeline.run import load_recipe

    return load_recipe(path).config


def shard(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="A manifest: .jsonl, .tsv or .csv.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for the shards.")
    ],
    shard_mb: Annotated[
        float, typer.Option(metavar="MB", min=1e-3, help="The approximate size of a shard.")
    ] = 256,
) -> None:
    """Pack a corpus into tar files that training reads in sequence; a second call resumes."""
    from asr.data import manifest as manifests
    from asr.data.shard_writer import write_shards

    utterances = manifests.read(manifest)
    with progress_bars() as progress:
        task = progress.add_task("packing", total=len(utterances))
        written, left_out = write_shards(
            utterances, output, shard_mb, progress=lambda: progress.advance(task)
        )
    for line in left_out:
        say_failed("left out", line)
    count, hours = sum(s.utterances for s in written), sum(s.hours for s in written)
    result(f"{output}: {len(written)} shards, {count} utterances, {hours:.2f} hours")
    if left_out:
        err.print(f"{len(left_out)} utterances were left out (see above)")
        raise typer.Exit(1)


def _statistics(s) -> Table:
    table = Table(show_header=False, box=None)
    shortest, median, longest = s.duration_s
    rows = {
        "utterances": str(s.utterances),
        "hours": f"{s.hours:.2f}",
        "speakers": str(s.speakers),
        "duration": f"{shortest:.2f} to {longest:.2f} s, median {median:.2f} s",
        "words": f"{s.words}, {s.vocabulary} distinct, {s.words_a_second:.2f} per second",
        "characters": f"{len(s.characters)} distinct: {''.join(sorted(s.characters))}",
        "repeated texts": str(s.duplicate_texts),
        "repeated audio": str(s.duplicate_audio),
        "sample rates": ", ".join(f"{rate} Hz: {n}" for rate, n in s.rates_hz.most_common()),
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table
