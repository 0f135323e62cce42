"""`asr transcribe` and `asr align`: recordings to texts, and texts to times."""

from __future__ import annotations

from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from asr.audio.vad import DETECTORS
from asr.cli.archive import transcribe_on_ray, work_of
from asr.cli.common import (
    Decoder,
    Device,
    Hotwords,
    LanguageModel,
    ModelArgument,
    Quantize,
    err,
    hearing,
    load_recognizer,
    out,
    say_failed,
)
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.outputs import Outputs, written
from asr.recognition.writers import CHAINABLE, FORMATS
from asr.transcript import Transcript

Format = Enum("Format", {name: name for name in FORMATS}, type=str)
Vad = Enum("Vad", {name: name for name in DETECTORS}, type=str)
Engine = Enum("Engine", {name: name for name in ("process", "ray")}, type=str)


def transcribe(
    context: typer.Context,
    model: ModelArgument,
    audio: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, 'patterns/**/*.mp3', manifests; - for a pipe."),
    ] = None,
    format: Annotated[
        list[Format], typer.Option(help="What to write; with --to, may be given several times.")
    ] = (Format.txt,),
    to: Annotated[
        Path | None, typer.Option(help="Write one file for each recording into this folder.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do again what is finished in the --to folder.")
    ] = False,
    watch: Annotated[
        Path | None, typer.Option(help="Transcribe what comes into this folder, until Ctrl-C.")
    ] = None,
    vad: Annotated[
        Vad, typer.Option(help="What finds the pauses of recordings of more than a minute.")
    ] = Vad.auto,
    lm: LanguageModel = None,
    hotword: Hotwords = None,
    decoder: Decoder = None,
    quantize: Quantize = False,
    device: Device = "auto",
    engine: Annotated[
        Engine, typer.Option(help="This process, or all CPUs and machines of a Ray cluster.")
    ] = Engine.process,
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of the Ray cluster; else one is started here.")
    ] = None,
) -> None:
    """Write down what is said in recordings."""
    if engine is Engine.ray:
        given_format = context.get_parameter_source("format").name != "DEFAULT"
        if given_format and list(format) != [Format.jsonl]:
            raise UserError("--engine ray writes JSON lines: leave --format out")
        if watch is not None or not audio or "-" in audio:
            raise UserError("--engine ray: name files, folders or manifests, not --watch or a pipe")
        if to is None:
            raise UserError("--engine ray: name a folder for the results, --to FOLDER")
        work = work_of(model, device, lm, hotword, decoder, vad.value, quantize)
        return transcribe_on_ray(work, audio, to, address, overwrite)
    if address is not None:
        raise UserError(f"--address {address}: is that of a Ray cluster; add --engine ray")
    from asr.data.sources import sources
    from asr.recognition.transcribe import Failure, transcribe_many

    names = [name.value for name in dict.fromkeys(format)]
    if (not audio) == (watch is None):
        raise UserError("name recordings to transcribe, or a folder with --watch FOLDER, not both")
    if to is None and (len(names) > 1 or overwrite):
        given = "--overwrite" if overwrite else f"--format {', '.join(names)}"
        raise UserError(f"{given}: name a folder for the files, --to FOLDER")
    utterances = sources(audio or [])
    if to is None and names[0] not in CHAINABLE and (watch is not None or len(utterances) > 1):
        count = "any number of" if watch is not None else len(utterances)
        raise UserError(
            f"--format {names[0]}: {count} recordings need files of their own; name a "
            "folder for them, --to FOLDER"
        )
    recognizer = load_recognizer(model, device, lm, hotword, decoder, quantize)
    transcribed = partial(transcribe_many, recognizer, vad=vad.value)
    outputs = None if to is None else Outputs(to, names)
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
        err.print(f"{done} of {len(asked)} finished before, left as they are (--overwrite)")
    failed = []
    with hearing(utterances) as heard:
        try:
            for utterance, result in transcribed(utterances, heard=heard):
                if isinstance(result, Failure):
                    failed.append(result)
                else:
                    _hand_out(utterance, result, outputs, names[0], alone=len(asked) == 1)
        except KeyboardInterrupt:
            if outputs is not None:
                err.print("stopped; what is finished is written, the same command goes on")
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
    err.print(f"watching {folder}; Ctrl-C ends it", highlight=False, markup=False)
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
    err.print(f"{heard} transcribed, {failures} failed, {skipped} finished before")
    raise typer.Exit(1 if failures else 0)


def align(
    model: ModelArgument,
    audio: Annotated[Path, typer.Argument(help="A recording, or a manifest with texts.")],
    text: Annotated[
        Path | None,
        typer.Argument(help="What is said in the recording, a sentence a line; * for anything."),
    ] = None,
    to: Annotated[
        Path, typer.Option(help="The folder to write into; manifest.jsonl lists the sentences.")
    ] = Path("aligned"),
    format: Annotated[list[Format], typer.Option(help="Files to write for each recording.")] = (
        Format.TextGrid,
        Format.ctm,
        Format.json,
    ),
    min_score: Annotated[
        float | None, typer.Option(help="Leave sentences that score less out of the manifest.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Find when each word and sentence of a known text is said."""
    from asr import files
    from asr.data import manifest
    from asr.data.sources import sources
    from asr.recognition.alignment import align_recording, read_sentences
    from asr.recognition.recognizer import load

    recognizer = load(model, device)
    recordings = sources([audio])
    if text is not None and len(recordings) > 1:
        raise UserError(
            f"{audio}: {len(recordings)} recordings for one text; give their texts in it"
        )
    sentences, failures = [], 0
    for recording in recordings:
        try:
            if text is not None:
                lines = read_sentences(text, recognizer.config.text)
            elif recording.text:
                lines = [recording.text]
            else:
                raise UserError(f"{recording.id}: no text to align")
            transcript, found = align_recording(recognizer, recording, lines)
        except UserError as error:
            if len(recordings) == 1:
                raise
            failures += 1
            say_failed("failed", error)
            continue
        for name in dict.fromkeys(format):
            written = FORMATS[name.value](transcript)
            files.write(files.below(to, f"{recording.id}.{name.value}"), written)
        sentences += found
    kept = [s for s in sentences if min_score is None or s.extra["score"] >= min_score]
    listed = to / "manifest.jsonl"
    manifest.write(listed, kept)
    out.print(f"{len(kept)} of {len(sentences)} sentences: {listed}", highlight=False, markup=False)
    if failures:
        err.print(f"{failures} of {len(recordings)} could not be aligned (see above)")
        raise typer.Exit(1)
