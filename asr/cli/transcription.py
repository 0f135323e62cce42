"""`asr transcribe`: recordings to texts."""

from __future__ import annotations

from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from asr.audio.vad import DETECTORS
from asr.cli.archive import transcribe_on_ray, work_of
from asr.cli.console import err, hearing, note, say_failed
from asr.cli.options import AS_SAVED, Decoding, Format, ModelArgument
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.outputs import Outputs, written
from asr.transcript import Transcript
from asr.transcript.writers import CHAINABLE

Vad = Enum("Vad", {name: name for name in DETECTORS}, type=str)
Engine = Enum("Engine", {name: name for name in ("process", "ray")}, type=str)


def transcribe(
    context: typer.Context,
    model: ModelArgument,
    audio: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, 'patterns/**/*.mp3', manifests; - for a pipe."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Write a file for each recording and format there.",
        ),
    ] = None,
    format: Annotated[
        list[Format],
        typer.Option(metavar="FORMAT", help="What to write; with -o, may be repeated."),
    ] = (Format.txt,),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Transcribe again what is finished in the folder.")
    ] = False,
    watch: Annotated[
        Path | None, typer.Option(help="Transcribe what comes into this folder, until Ctrl-C.")
    ] = None,
    vad: Annotated[
        Vad, typer.Option(help="What finds the pauses of recordings of more than a minute.")
    ] = Vad.auto,
    engine: Annotated[
        Engine, typer.Option(help="This process, or all CPUs and machines of a Ray cluster.")
    ] = Engine.process,
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of the Ray cluster; else one is started here.")
    ] = None,
    decoding: Decoding = AS_SAVED,
) -> None:
    """Write down what is said in recordings."""
    if engine is Engine.ray:
        given_format = context.get_parameter_source("format").name != "DEFAULT"
        if given_format and list(format) != [Format.jsonl]:
            raise UserError("--engine ray writes JSON lines: leave --format out")
        if watch is not None or not audio or "-" in audio:
            raise UserError("--engine ray: name files, folders or manifests, not --watch or a pipe")
        if output is None:
            raise UserError("--engine ray: name a folder for the results, -o FOLDER")
        work = work_of(model, decoding, vad.value)
        return transcribe_on_ray(work, audio, output, address, overwrite)
    if address is not None:
        raise UserError(f"--address {address}: is that of a Ray cluster; add --engine ray")
    from asr.data.sources import sources
    from asr.recognition.transcribe import Failure, transcribe_many

    names = [name.value for name in dict.fromkeys(format)]
    if (not audio) == (watch is None):
        raise UserError("name recordings to transcribe, or a folder with --watch FOLDER, not both")
    if output is None and (len(names) > 1 or overwrite):
        given = "--overwrite" if overwrite else f"--format {', '.join(names)}"
        raise UserError(f"{given}: name a folder for the files, -o FOLDER")
    utterances = sources(audio or [])
    if output is None and names[0] not in CHAINABLE and (watch is not None or len(utterances) > 1):
        count = "any number of" if watch is not None else len(utterances)
        raise UserError(
            f"--format {names[0]}: {count} recordings need files of their own; name a "
            "folder for them, -o FOLDER"
        )
    recognizer = decoding.load(model)
    transcribed = partial(transcribe_many, recognizer, vad=vad.value)
    outputs = None if output is None else Outputs(output, names)
    if watch is not None:
        _watch(watch, outputs, names[0], overwrite, transcribed)
        return
    for utterance in utterances if outputs is not None else ():
        outputs.paths(utterance)  # ids that lead out of the folder, before hours are spent
    asked = utterances
    if outputs is not None and not overwrite:
        utterances = [u for u in asked if not outputs.finished(u)]
    if len(utterances) < len(asked):
        done = len(asked) - len(utterances)
        note(f"{done} of {len(asked)} finished before, left as they are (--overwrite)")
    failed = []
    with hearing(utterances) as heard:
        try:
            for utterance, result in transcribed(utterances, on_progress=heard):
                if isinstance(result, Failure):
                    failed.append(result)
                else:
                    _hand_out(utterance, result, outputs, names[0], alone=len(asked) == 1)
        except KeyboardInterrupt:
            if outputs is not None:
                note("stopped; finished transcripts are written, and the same command goes on")
            raise
    if failed and len(asked) == 1:
        raise UserError(failed[0].reason)
    for failure in failed:
        say_failed("failed", failure.reason)
    if failed:
        err.print(f"{len(failed)} of {len(asked)} could not be transcribed (see above)")
        raise typer.Exit(2 if len(failed) == len(asked) else 1)


def _hand_out(
    utterance: Utterance, transcript: Transcript, outputs: Outputs | None, name: str, alone: bool
) -> None:
    """To the folder, or to standard output in the format `name`."""
    if outputs is not None:
        outputs.write(utterance, transcript)
    elif name == "txt":
        print(transcript.text if alone else f"{utterance.id}\t{transcript.text}", flush=True)
    else:
        print(written(name, utterance, transcript), end="", flush=True)


def _watch(folder: Path, outputs: Outputs | None, name: str, overwrite: bool, transcribed) -> None:
    from asr.data.watch import watch
    from asr.recognition.transcribe import Failure

    heard, skipped, failures = 0, 0, 0
    note(f"watching {folder}; Ctrl-C ends it")
    try:
        for paths in watch(folder):
            utterances = [
                Utterance(str(p.relative_to(folder).with_suffix("")), str(p)) for p in paths
            ]
            for utterance in utterances:
                if outputs is not None and not overwrite and outputs.finished(utterance):
                    skipped += 1
                    continue
                ((_, result),) = transcribed([utterance])
                if isinstance(result, Failure):
                    failures += 1
                    say_failed("failed", result.reason)
                    continue
                heard += 1
                _hand_out(utterance, result, outputs, name, alone=False)
    except KeyboardInterrupt:
        pass
    note(f"{heard} transcribed, {failures} failed, {skipped} finished before")
    raise typer.Exit(1 if failures else 0)
