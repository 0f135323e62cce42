"""`asr transcribe`: transcribe recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.audio.vad import DETECTORS
from asr.cli.archive import IN_THIS_PROCESS, EngineOptions, transcribe_on_ray
from asr.cli.console import err, note, say_failed, seconds_bar
from asr.cli.options import AS_SAVED, Decoding, Format
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.model.shipped import SUFFIXES, english
from asr.recognition.outputs import Outputs, written
from asr.transcript import Transcript
from asr.transcript.writers import CHAINABLE

if TYPE_CHECKING:
    from asr.recognition.recognizer import Recognizer

Vad = Enum("Vad", {name: name for name in DETECTORS}, type=str)


@dataclass(frozen=True)
class Destination:
    """The output of transcripts, a folder or standard output, and their formats."""

    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Write a file for each recording and format."
        ),
    ] = None
    format: Annotated[
        list[Format] | None,
        typer.Option(
            metavar="FORMAT",
            help=f"{', '.join(Format.__members__)} (default txt); may be repeated with -o.",
        ),
    ] = None
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace transcripts that exist in the folder.")
    ] = False

    @property
    def formats(self) -> list[str]:
        return [name.value for name in dict.fromkeys(self.format or (Format.txt,))]

    @property
    def outputs(self) -> Outputs | None:
        """The files of the folder; None for standard output."""
        return None if self.output is None else Outputs(self.output, self.formats)

    def check(self, recordings: int | None) -> None:
        """Raise `UserError` for output that standard output cannot take.

        recordings: their number, or None if it is not known in advance.
        """
        if self.output is not None:
            return
        if self.overwrite or len(self.formats) > 1:
            given = "--overwrite" if self.overwrite else f"--format {', '.join(self.formats)}"
            raise UserError(f"{given}: give a folder for the files, -o FOLDER")
        if self.formats[0] not in CHAINABLE and recordings != 1:
            count = "any number of" if recordings is None else recordings
            raise UserError(
                f"--format {self.formats[0]}: {count} recordings need separate files; give a "
                "folder for them, -o FOLDER"
            )

    def deliver(self, utterance: Utterance, transcript: Transcript, alone: bool = False) -> None:
        """Write the files, or print the transcript; alone: print the text without the id."""
        name = self.formats[0]
        if self.outputs is not None:
            self.outputs.write(utterance, transcript)
        elif name == "txt":
            print(transcript.text if alone else f"{utterance.id}\t{transcript.text}", flush=True)
        else:
            print(written(name, utterance, transcript), end="", flush=True)


STDOUT = Destination()


def transcribe(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="A model file; by default the English model of asr.",
        ),
    ] = None,
    audio: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="AUDIO",
            help="Files, folders, 'patterns/**/*.mp3', manifests; - reads standard input.",
        ),
    ] = None,
    destination: Destination = STDOUT,
    watch: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Transcribe each recording that arrives in FOLDER, until Ctrl-C."
        ),
    ] = None,
    vad: Annotated[
        Vad, typer.Option(help="The detector that finds the pauses of long recordings.")
    ] = Vad.auto,
    engine: EngineOptions = IN_THIS_PROCESS,
    decoding: Decoding = AS_SAVED,
) -> None:
    """Transcribe recordings of any length and format."""
    from asr.data.sources import sources

    model_file, audio = _model_and_audio(model, audio or [])
    if engine.is_ray:
        engine.check(audio, destination.output, destination.format, watch)
        work = engine.work(model_file, decoding, vad.value)
        return transcribe_on_ray(
            work, audio, destination.output, engine.address, destination.overwrite
        )
    if engine.address is not None:
        raise UserError(
            f"--address {engine.address}: the address of a Ray cluster needs --engine ray; add it"
        )
    if (not audio) == (watch is None):
        raise UserError("give recordings to transcribe, or a folder with --watch FOLDER, not both")
    utterances = sources(audio)
    destination.check(None if watch is not None else len(utterances))
    recognizer = decoding.load(model_file)
    if watch is not None:
        _transcribe_arrivals(recognizer, watch, destination, vad.value)
    else:
        _transcribe_files(recognizer, utterances, destination, vad.value)


def _model_and_audio(first: str | None, others: list[str]) -> tuple[Path, list[str]]:
    """The model file and the audio of the arguments, of which the first may be a model file.

    Without a model file, it is the English model of the package, and a note says so.
    """
    if first is not None and first.lower().endswith(SUFFIXES):
        return Path(first), others
    chosen = english()
    note("model: English, which asr contains (asr info describes it)")
    return chosen, others if first is None else [first, *others]


def _transcribe_files(
    recognizer: Recognizer, given: Sequence[Utterance], destination: Destination, vad: str
) -> None:
    from asr.recognition.transcribe import Failure, transcribe_many

    outputs, utterances = destination.outputs, given
    if outputs is not None:
        unfinished = outputs.unfinished(given)  # also checks the ids, before the long work
        utterances = given if destination.overwrite else unfinished
    if finished := len(given) - len(utterances):
        note(f"{finished} of {len(given)} have transcripts already (--overwrite replaces them)")
    failed = []
    with seconds_bar(utterances) as advance:
        try:
            for utterance, result in transcribe_many(
                recognizer, utterances, vad=vad, on_progress=advance
            ):
                if isinstance(result, Failure):
                    failed.append(result)
                else:
                    destination.deliver(utterance, result, alone=len(given) == 1)
        except KeyboardInterrupt:
            if outputs is not None:
                note("stopped; finished transcripts are saved; the same command resumes from here")
            raise
    if failed and len(given) == 1:
        raise UserError(failed[0].reason)
    for failure in failed:
        say_failed("failed", failure.reason)
    if failed:
        err.print(f"{len(failed)} of {len(given)} could not be transcribed (see above)")
        raise typer.Exit(2 if len(failed) == len(given) else 1)


def _transcribe_arrivals(
    recognizer: Recognizer, folder: Path, destination: Destination, vad: str
) -> None:
    from asr.recognition.arrivals import ArrivalCounts, transcribe_arrivals
    from asr.recognition.transcribe import Failure

    counts = ArrivalCounts()
    finished = None if destination.overwrite else destination.outputs
    note(f"watching {folder}; press Ctrl-C to stop")
    try:
        for utterance, result in transcribe_arrivals(recognizer, folder, counts, finished, vad):
            if isinstance(result, Failure):
                say_failed("failed", result.reason)
            else:
                destination.deliver(utterance, result)
    except KeyboardInterrupt:
        pass
    note(
        f"{counts.transcribed} transcribed, {counts.failed} failed, "
        f"{counts.finished_before} finished before"
    )
    raise typer.Exit(1 if counts.failed else 0)
