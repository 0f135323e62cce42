"""`asr transcribe` and `asr align`: recordings to texts, and texts to times."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import (
    Decoder,
    Device,
    Hotwords,
    LanguageModel,
    ModelArgument,
    err,
    load_recognizer,
    out,
    say_failed,
)
from asr.errors import UserError
from asr.formats import CHAINABLE, FORMATS, jsonl

Format = Enum("Format", {name: name for name in FORMATS}, type=str)


def transcribe(
    model: ModelArgument,
    audio: Annotated[list[Path], typer.Argument(help="Files, folders, manifests.")],
    format: Annotated[
        list[Format], typer.Option(help="What to write; with --to, may be given several times.")
    ] = (Format.txt,),
    to: Annotated[
        Path | None, typer.Option(help="Write one file for each recording into this folder.")
    ] = None,
    lm: LanguageModel = None,
    hotword: Hotwords = None,
    decoder: Decoder = None,
    device: Device = "auto",
) -> None:
    """Write down what is said in recordings."""
    from asr import files
    from asr.transcribe import Failure, sources, transcribe_many

    names = [name.value for name in dict.fromkeys(format)]
    if to is None and len(names) > 1:
        raise UserError(f"--format {', '.join(names)}: name a folder for the files, --to FOLDER")
    recognizer = load_recognizer(model, device, lm, hotword, decoder)
    utterances = sources(audio)
    if to is None and len(utterances) > 1 and names[0] not in CHAINABLE:
        raise UserError(
            f"--format {names[0]}: {len(utterances)} recordings need files of their own; name a "
            "folder for them, --to FOLDER"
        )
    for utterance in utterances if to is not None else ():
        files.below(to, utterance.id)  # before hours are spent
    failures = 0
    for utterance, result in transcribe_many(recognizer, utterances):
        if isinstance(result, Failure):
            if len(utterances) == 1:
                raise UserError(result.reason)
            failures += 1
            say_failed("failed", result.reason)
            continue
        for name in names:
            written = FORMATS[name](result) if name != "jsonl" else jsonl(result, utterance.id)
            if to is not None:
                files.write(files.below(to, f"{utterance.id}.{name}"), written)
            elif name == "txt":
                lead = f"{utterance.id}\t" if len(utterances) > 1 else ""
                print(f"{lead}{result.text}", flush=True)
            else:
                print(written, end="", flush=True)
    if failures:
        err.print(f"{failures} of {len(utterances)} could not be transcribed (see above)")
        raise typer.Exit(2 if failures == len(utterances) else 1)


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
    from asr import files, manifest
    from asr.recognizer import load
    from asr.segment import align_recording, read_sentences
    from asr.transcribe import sources

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
