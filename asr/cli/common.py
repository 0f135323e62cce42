"""What commands share: the two consoles, options, and how progress and failures are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from asr.data.manifest import Utterance
from asr.errors import UserError

out = Console(soft_wrap=True)  # results
err = Console(stderr=True, soft_wrap=True)  # progress and messages

ModelArgument = Annotated[Path, typer.Argument(help="A model file, NAME.asr.")]
Decoder = Annotated[
    list[str] | None,
    typer.Option(help="A decoder setting, as beam=50, lm_weight=0.6, word_bonus=1 or n_best=5."),
]
LanguageModel = Annotated[
    Path | None, typer.Option("--lm", help="A language model: .npz, .arpa or .arpa.gz (asr lm).")
]
Hotwords = Annotated[
    list[str] | None,
    typer.Option("--hotword", help="A phrase to listen for, with its weight: 'Ann Arbor=5'."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Quantize = Annotated[
    bool,
    typer.Option(
        "--quantize", "--quantise", help="int8 weights (CPU): smaller, and faster for large models."
    ),
]


def load_recognizer(
    model: Path, device: str, lm: Path | None, hotword, decoder, quantized: bool = False
):
    # oneDNN keeps a kernel for each of 1024 shapes, which stretches of a long recording soon have.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")  # read once, by torch's import
    from asr.recognition.recognizer import load

    phrases, settings = decoding(hotword, decoder)
    return load(model, device, lm=lm, hotwords=phrases, quantized=quantized, **settings)


def decoding(hotword: list[str] | None, decoder: list[str] | None) -> tuple[dict, dict]:
    """{phrase: weight} of --hotword, {setting: value} of --decoder."""
    phrases = {phrase: _number(weight, phrase) for phrase, weight in _pairs(hotword, "--hotword")}
    return phrases, dict(_pairs(decoder, "--decoder"))


def _pairs(values: list[str] | None, option: str) -> list[tuple[str, str]]:
    for value in values or ():
        if "=" not in value:
            raise UserError(f"{option} {value!r}: write it as NAME=VALUE")
    return [tuple(value.rsplit("=", 1)) for value in values or ()]


def _number(text: str, phrase: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--hotword {phrase!r}: the weight {text!r} is not a number") from None


def say_failed(what: str, reason: object) -> None:
    err.print(Text.assemble((what, "red"), f" {reason}"), highlight=False)


def list_failures(failures) -> None:
    for failure in failures:
        say_failed("failed, scored as empty", failure.reason)
    if failures:
        raise typer.Exit(1)


def _on_terminal() -> dict[str, Any]:
    """Of a bar: it lets results by, unless they go to a file or a pipe, which it must not touch."""
    return {
        "console": err,
        "transient": True,
        "disable": not err.is_terminal,
        "redirect_stdout": sys.stdout.isatty(),
    }


def progress_bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed}"),
        TimeRemainingColumn(compact=True),
        **_on_terminal(),
    )


@contextmanager
def hearing(utterances: Sequence[Utterance]) -> Iterator[Callable[[float], None]]:
    """A bar over seconds of audio; what is yielded is told of seconds as they are heard.

    How long it all is, the headers tell in the background: an archive has many.
    """
    bar = Progress(
        TextColumn("transcribing"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[heard]}"),
        TimeRemainingColumn(compact=True),
        **_on_terminal(),
    )
    from asr.recognition.transcribe import seconds_of

    with bar:
        task = bar.add_task("", total=None, heard="")
        heard_s = 0.0
        ended = False

        def measure() -> None:
            total_s = 0.0
            for utterance in utterances:
                if ended:
                    return
                with suppress(UserError):
                    total_s += seconds_of(utterance)
            bar.update(task, total=total_s)

        def advance(seconds: float) -> None:
            nonlocal heard_s
            heard_s += seconds
            total = bar.tasks[0].total
            of = "" if total is None else f" of {total / 60:.1f}"
            bar.update(task, advance=seconds, heard=f"{heard_s / 60:.1f}{of} min")

        if err.is_terminal:
            Thread(target=measure, daemon=True).start()
        try:
            yield advance
        finally:
            ended = True
