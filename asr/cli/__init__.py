"""The command line: commands read arguments, call the library and print results.

Commands are plain functions, with one file for each group of them; `PANELS` gives their order in
--help. Heavy modules are imported only by the commands that need them. Exit status: 0 done, 1 a
failure (also of one file among many), 2 the user's mistake, 130 Ctrl-C.
"""

from __future__ import annotations

import errno
import logging
import sys
from typing import Annotated

import typer

from asr import __version__
from asr.cli.alignment import align
from asr.cli.classification import classify
from asr.cli.console import LogLines, err, messages, set_messages
from asr.cli.corpus import corpus
from asr.cli.data import check, shard
from asr.cli.exporting import export
from asr.cli.grammar import grammar
from asr.cli.info import info
from asr.cli.language import lm, tune
from asr.cli.listening import listen
from asr.cli.options import command
from asr.cli.pictures import show
from asr.cli.prepare import prepare
from asr.cli.pseudo_labels import pseudo_label
from asr.cli.recording import record
from asr.cli.scoring import score
from asr.cli.serving import serve
from asr.cli.settings import config
from asr.cli.synthesis import synth
from asr.cli.system import bench, doctor
from asr.cli.training import run, train
from asr.cli.transcription import transcribe
from asr.errors import Failed, UserError

# panel: each command with examples of its use
PANELS = {
    "Data": {
        corpus: ["asr corpus list", "asr corpus get an4 -o data/an4"],
        prepare: ["asr prepare recordings -o data/mine", "asr prepare texts.csv -o data/mine"],
        check: [
            "asr check data/mine/train.jsonl",
            "asr check data/mine/train.jsonl --recipe mine.yaml",
        ],
        shard: ["asr shard data/mine/train.jsonl -o data/mine/shards"],
        pseudo_label: [
            "asr pseudo-label model.asr recordings -o data/guessed",
            "asr pseudo-label model.asr recordings -o data/guessed --min-confidence 0.95",
        ],
        record: [
            "asr record home.yaml -o data/me --speaker ann",
            "asr record texts.txt -o data/me",
        ],
        synth: ["asr synth texts.txt -o data/spoken --voices 200", "asr synth --list"],
    },
    "Train": {
        run: ["asr run recipes/digits", "asr run mine.yaml model.preset=base train.epochs=50"],
        train: ["asr train mine.yaml train.init_from=other.asr"],
        lm: ["asr lm books.txt.gz data/mine/train.jsonl -o lm.npz", "asr lm lm.npz -o lm.arpa"],
        grammar: [
            "asr grammar home.yaml --sample 10",
            "asr grammar home.yaml --model model.asr -o home.asr",
        ],
        tune: [
            "asr tune home.asr data/me/manifest.jsonl --outside data/talk.jsonl",
            "asr tune model.asr data/mine/dev.jsonl --lm lm.npz -o tuned.asr",
        ],
    },
    "Recognize": {
        transcribe: [
            "asr transcribe talk.mp3",
            "asr transcribe model.asr talk.mp3",
            "asr transcribe model.asr recordings -o texts --format txt --format srt",
        ],
        listen: [
            "asr listen model.asr",
            "asr listen model.asr --save heard",
            "asr listen model.asr --from talk.wav --fast --json",
        ],
        serve: [
            "asr serve model.asr",
            "asr serve english=model.asr digits.asr --port 9000 --tokens tokens.txt",
        ],
        align: ["asr align model.asr talk.wav talk.txt -o aligned"],
        classify: [
            "asr classify keywords.asr word.wav --top 3",
            "asr classify sounds.asr street.wav --window 2",
            "asr classify keywords.asr talk.wav --stream",
        ],
    },
    "Deploy": {
        export: [
            "asr export model.asr --to model.onnx",
            "asr export model.asr --to small.onnx --quantize --check data/mine/test.jsonl",
        ],
    },
    "Measure": {
        score: [
            "asr score model.asr data/mine/test.jsonl --by speaker -o scores/model",
            "asr score reference.txt hypothesis.txt --against other.txt",
        ],
        show: ["asr show talk.wav --model model.asr", "asr show talk.wav -o pictures"],
        info: ["asr info", "asr info model.asr"],
        bench: ["asr bench model.asr talk.wav"],
    },
    "System": {
        config: ["asr config train", "asr config train.ema --recipe recipes/digits"],
        doctor: ["asr doctor"],
    },
}

TRAINING_PACKAGES = ("accelerate", "onnx", "psutil", "safetensors", "torch", "torchaudio")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="asr COMMAND -h explains a command.",
)
for panel, commands in PANELS.items():
    for function, examples in commands.items():
        lines = "\n".join(f"[dim]$[/dim] {example}" for example in examples)
        app.command(rich_help_panel=panel, epilog=lines)(command(function))


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
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show more messages.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show errors and results only.")
    ] = False,
) -> None:
    """Train your own speech recognizer, transcribe recordings, and measure the word error rate."""
    set_messages(quiet, verbose)


def main() -> None:
    """The console script: turn exceptions into one line and an exit status."""
    # Allow file names that are not valid Unicode to be printed.
    sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[LogLines()])
    set_messages()
    try:
        app(prog_name="asr")
    except (UserError, Failed) as error:
        if messages.verbose:
            err.print_exception()
        _say_error(str(error))
        sys.exit(2 if isinstance(error, UserError) else 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        what = f"{error.filename}: " if error.filename else ""
        _say_error(f"{what}{error.strerror}; free some space and run the command again")
        sys.exit(1)
    except ModuleNotFoundError as error:
        if error.name not in TRAINING_PACKAGES:
            raise
        _say_error(f"this needs {error.name}, which is not installed: pip install 'asr[train]'")
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(130)


def _say_error(message: str) -> None:
    err.print(f"asr: {message}", highlight=False, markup=False, style="red")
