"""Terminal output: results on standard output; messages, progress and errors on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from asr.data.manifest import Utterance
from asr.errors import UserError

out = Console(soft_wrap=True)  # results
err = Console(stderr=True, soft_wrap=True)  # errors, and notes through `note`


@dataclass
class Messages:
    """Which messages are printed on standard error; `set_messages` chooses them."""

    quiet: bool = False  # errors only
    verbose: bool = False  # details as well, and the traceback of an error


messages = Messages()


def set_messages(quiet: bool = False, verbose: bool = False) -> None:
    """Choose what is shown besides errors and results."""
    if quiet and verbose:
        raise UserError("--quiet and --verbose contradict each other; give one of them")
    messages.quiet, messages.verbose = quiet, verbose
    level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO
    logging.getLogger("asr").setLevel(level)


class LogLines(logging.Handler):
    """Prints each log record as one line, however long, above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        styles = {logging.WARNING: "yellow", logging.ERROR: "red", logging.DEBUG: "dim"}
        style = styles.get(record.levelno)
        err.print(self.format(record), highlight=False, markup=False, style=style)


def note(text: str) -> None:
    """Print a message that is neither a result nor an error; --quiet suppresses it."""
    if not messages.quiet:
        err.print(text, highlight=False, markup=False)


def result(text: str) -> None:
    """Print a line of results, without interpreting markup."""
    out.print(text, highlight=False, markup=False)


def stage_console() -> Console:
    """The console on which stages and epochs are shown."""
    return Console(quiet=True) if messages.quiet else err


def say_failed(what: str, reason: object) -> None:
    """Print one of several failures."""
    err.print(Text.assemble((what, "red"), f" {reason}"), highlight=False)


def list_failures(failures) -> None:
    """Print the audio that could not be read, and end with status 1 if there is any."""
    for failure in failures:
        say_failed("failed, scored as empty", failure.reason)
    if failures:
        raise typer.Exit(1)


def _on_terminal() -> dict[str, Any]:
    """The settings of a progress bar; results on the same terminal are printed above it."""
    return {
        "console": err,
        "transient": True,
        "disable": messages.quiet or not err.is_terminal,
        "redirect_stdout": sys.stdout.isatty(),
    }


def progress_bars() -> Progress:
    """Bars that count items, one for each task that is added."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed}"),
        TimeRemainingColumn(compact=True),
        **_on_terminal(),
    )


@contextmanager
def seconds_bar(utterances: Sequence[Utterance]) -> Iterator[Callable[[float], None]]:
    """A progress bar over seconds of audio; yields the function to call with the seconds done.

    The total is summed from the headers of the files in a background thread, because an archive has
    many files.
    """
    bar = Progress(
        TextColumn("transcribing"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[done]}"),
        TimeRemainingColumn(compact=True),
        **_on_terminal(),
    )
    from asr.recognition.waveforms import seconds_of

    with bar:
        task = bar.add_task("", total=None, done="")
        done_s = 0.0
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
            nonlocal done_s
            done_s += seconds
            total = bar.tasks[0].total
            of = "" if total is None else f" of {total / 60:.1f}"
            bar.update(task, advance=seconds, done=f"{done_s / 60:.1f}{of} min")

        if not bar.disable:
            Thread(target=measure, daemon=True).start()
        try:
            yield advance
        finally:
            ended = True
