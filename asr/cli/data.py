"""`asr prepare`, `asr check`, `asr shard`: recordings to manifests, what is wrong, and shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from asr.cli.console import err, out, progress_bars, result, say_failed


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            help="A table (.tsv, .csv, .jsonl) of audio and text, a folder of recordings with a "
            ".txt beside each, or a Kaldi folder."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the manifests go.")
    ],
    dev: Annotated[float, typer.Option(help="Share of the audio for validation.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of the audio for the final test.")] = 0.1,
) -> None:
    """Split your own recordings into train, dev and test sets that share no speaker (or text)."""
    from asr.data import prepare as preparing

    split, left_out = preparing.prepare(source, output, dev, test)
    for line in left_out:
        say_failed("left out", line)
    for name in ("train", "dev", "test"):
        part = getattr(split, name)
        minutes = sum(u.duration_s for u in part) / 60
        result(f"{output / name}.jsonl: {len(part)} utterances, {minutes:.1f} minutes")
    result(f"No {split.by} is in two of the sets.")
    if left_out:
        err.print(f"{len(left_out)} recordings were left out (see above)")
        raise typer.Exit(1)


def check(
    manifest: Annotated[
        Path, typer.Argument(help="A manifest (.jsonl, .tsv or .csv) or a folder of shards.")
    ],
    config: Annotated[
        Path | None,
        typer.Option(help="A recipe, a configuration or a model file to check it against."),
    ] = None,
) -> None:
    """Statistics of a manifest, and every utterance that cannot be used, with the reason."""
    from asr.config import Config
    from asr.data import check as checking
    from asr.data import shards
    from asr.model import model_file
    from asr.model.ctc import ctc_frames
    from asr.pipeline import run
    from asr.text import tokenizer
    from asr.text.normalize import normalize

    tokens, settings = None, Config(name="default")
    if config is not None and config.suffix == ".asr":
        model = model_file.load_model(config)
        tokens, settings = model.tokenizer, model.config
    elif config is not None:
        settings = run.load_recipe(config).config
    corpus = shards.read(manifest)
    if tokens is None and settings.tokenizer.kind != "characters":
        # No model has learned the units yet: those of this text are near to what they will be.
        texts = (normalize(u.text or "", settings.text) for u in corpus)
        tokens = tokenizer.train(texts, settings.tokenizer.kind, settings.tokenizer.vocab_size)
    tally, problems, usable = checking.Tally(), 0, 0
    with progress_bars() as progress:
        task = progress.add_task("decoding", total=len(corpus))
        for part in shards.parts(corpus):
            report = checking.check(
                part,
                settings,
                ctc_frames(settings),
                tokens,
                training=config is not None,
                decode=True,
                tally=tally,
                progress=lambda: progress.advance(task),
            )
            for problem in report.problems:
                result(f"{problem.utterance}: {problem.detail}")
            problems, usable = problems + len(report.problems), usable + len(report.usable)
    out.print(_statistics(report.statistics))
    if problems:
        out.print(f"{problems} problems, {usable} utterances can be used")
        raise typer.Exit(1)
    out.print("no problem found")


def shard(
    manifest: Annotated[Path, typer.Argument(help="A manifest: .jsonl, .tsv or .csv.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the shards go.")
    ],
    shard_mb: Annotated[
        float, typer.Option(min=1e-3, help="Size of a shard in millions of bytes, about.")
    ] = 256,
) -> None:
    """Pack a corpus into tar shards that training reads as it goes; a second call goes on."""
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
        "words": f"{s.words}, {s.vocabulary} distinct, {s.words_a_second:.2f} a second",
        "characters": f"{len(s.characters)} distinct: {''.join(sorted(s.characters))}",
        "texts that repeat": str(s.duplicate_texts),
        "audio that repeats": str(s.duplicate_audio),
        "sample rates": ", ".join(f"{rate} Hz: {n}" for rate, n in s.rates_hz.most_common()),
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table
