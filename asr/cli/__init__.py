"""The command line: reads arguments, calls one function, prints. Heavy imports wait for a command.

A file for each group of commands, which are plain functions; `COMMANDS` is their order in --help.
Exit status: 0 done, 1 a failure (also of one file among many), 2 the user's mistake, 130 Ctrl-C.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from asr import __version__
from asr.cli.common import err
from asr.cli.data import check, prepare, shard
from asr.cli.language import lm, tune
from asr.cli.pictures import show
from asr.cli.scoring import score
from asr.cli.system import bench, doctor
from asr.cli.training import run, train
from asr.cli.transcription import align, transcribe
from asr.errors import Failed, UserError

COMMANDS = (
    *(run, prepare, train, transcribe, align, score),
    *(check, shard, lm, tune, show, bench, doctor),
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    app.command()(command)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"asr {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train, run and score your own speech recognizer."""


class _Lines(logging.Handler):
    """A message a line, however long, above what progress is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else None
        err.print(self.format(record), highlight=False, markup=False, style=style)


def main() -> None:
    """The console script: turns exceptions into one line and an exit status."""
    # Names of files may hold bytes that are no text; they are no reason to stop.
    sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_Lines()])
    logging.getLogger("asr").setLevel(logging.INFO)
    try:
        app()
    except UserError as error:
        err.print(f"asr: {error}", highlight=False, markup=False, style="red")
        sys.exit(2)
    except Failed as failure:
        err.print(f"asr: {failure}", highlight=False, markup=False, style="red")
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(130)
