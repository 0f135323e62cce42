"""`asr synth`: speech from text by many voices."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from asr.cli.console import err, note, out, progress_bars, result, say_failed
from asr.errors import UserError

if TYPE_CHECKING:
    from asr.synthesis import SyntheticCorpus

NAMED = 10  # utterances that were left out


@dataclass(frozen=True)
class Speakers:
    """Who speaks: the engines and how many voices."""

    engine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="espeak, flite, hibari or kokoro; may be repeated. By default all fast ones that "
            "are installed.",
        ),
    ] = None
    command: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COMMAND",
            help="Speak with this command, such as 'piper -m joe.onnx -f {wav} -- {text}'; may be "
            "repeated.",
        ),
    ] = None
    voices: Annotated[int, typer.Option(metavar="N", help="How many voices in all.")] = 100
    takes: Annotated[int, typer.Option(metavar="N", help="How many voices speak each text.")] = 1


@dataclass(frozen=True)
class ModelFilter:
    """What a model of this toolkit leaves out of the corpus."""

    model: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Leave out what this model cannot align."),
    ] = None
    min_score: Annotated[
        float | None,
        typer.Option(metavar="SCORE", help="Leave out what the model aligns with a lower score."),
    ] = None


def synth(
    texts: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="TEXTS...",
            help="Text files with a sentence on each line (.gz too), or manifests with texts.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where the corpus goes."),
    ] = None,
    speakers: Speakers = Speakers(),
    seed: Annotated[int, typer.Option(metavar="N", help="The seed of voices and speech.")] = 0,
    rate: Annotated[int, typer.Option(metavar="HZ", help="The sample rate of the audio.")] = 16000,
    filtering: ModelFilter = ModelFilter(),
    processes: Annotated[
        int | None, typer.Option(metavar="N", help="By default one for each core.")
    ] = None,
    list_engines: Annotated[
        bool, typer.Option("--list", help="List the engines, and how to install them.")
    ] = False,
) -> None:
    """Make a corpus of synthetic speech; a second call resumes."""
    if list_engines:
        _print_engines()
        return
    if not texts or output is None:
        raise UserError("name one or more files of texts, and a folder for the corpus, -o FOLDER")
    from asr.data.texts import sentences_of
    from asr.synthesis import Command, synthesize

    with progress_bars() as bars:
        task = bars.add_task("speaking", total=None)
        corpus = synthesize(
            sentences_of(texts),
            output,
            [*(speakers.engine or ()), *map(Command, speakers.command or ())],
            voices=speakers.voices,
            takes=speakers.takes,
            seed=seed,
            rate_hz=rate,
            model=filtering.model,
            min_score=filtering.min_score,
            processes=processes or os.cpu_count() or 1,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    _print(corpus)
    if corpus.failed:
        err.print(f"{corpus.failed} utterances could not be spoken")
        raise typer.Exit(1)


def _print(corpus: SyntheticCorpus) -> None:
    for left_out in corpus.left_out[:NAMED]:
        say_failed("left out", left_out)
    if corpus.left_out:
        kinds = Counter(left_out.flaw.kind for left_out in corpus.left_out)
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        listed = corpus.manifest.with_name("left-out.jsonl")
        note(f"left out: {len(corpus.left_out)} ({counts}), listed in {listed}")
    hours = sum(u.duration_s or 0 for u in corpus.utterances) / 3600
    speakers = len({u.speaker for u in corpus.utterances})
    result(
        f"{corpus.manifest}: {len(corpus.utterances)} utterances, {hours:.2f} hours, "
        f"{speakers} voices"
    )


def _print_engines() -> None:
    from asr.synthesis import ENGINES

    table = Table("engine", "what", "license", "voices", box=None)
    problems = {name: engine.problem() for name, engine in ENGINES.items()}
    for name, engine in ENGINES.items():
        voices = "not installed" if problems[name] else str(len(engine.voices()))
        table.add_row(name, engine.about, engine.license, voices)
    out.print(table)
    for name, problem in problems.items():
        if problem:
            result(f"{name}: {problem}; install it with: {ENGINES[name].install}")
