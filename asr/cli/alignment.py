"""`asr align`: find when each word of a known text is spoken."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.console import err, result, say_failed
from asr.cli.options import Device, Format, ModelArgument
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.transcript.writers import FORMATS


def align(
    model: ModelArgument,
    audio: Annotated[
        Path, typer.Argument(metavar="AUDIO", help="A recording, or a manifest with texts.")
    ],
    text: Annotated[
        Path | None,
        typer.Argument(
            metavar="TEXT",
            help="The spoken text, one sentence on each line; a word * matches any speech.",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder for the results; its manifest.jsonl lists the sentences.",
        ),
    ] = Path("aligned"),
    format: Annotated[
        list[Format],
        typer.Option(
            metavar="FORMAT",
            help=f"{', '.join(Format.__members__)}; may be repeated.",
        ),
    ] = (Format.TextGrid, Format.ctm, Format.json),
    min_score: Annotated[
        float | None,
        typer.Option(metavar="SCORE", help="Leave sentences below this score out of the manifest."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Find when each word and sentence of a known text is spoken."""
    from asr import files
    from asr.data import manifest
    from asr.recognition.alignment import align_recording
    from asr.recognition.recognizer import load

    recordings = _recordings(audio, text)
    recognizer = load(model, device)
    sentences: list[Utterance] = []
    failures = 0
    for recording in recordings:
        try:
            lines = _sentences(recording, text, recognizer.config.text)
            transcript, found = align_recording(recognizer, recording, lines)
        except UserError as error:
            if len(recordings) == 1:
                raise
            failures += 1
            say_failed("failed", error)
            continue
        for name in dict.fromkeys(format):
            written = FORMATS[name.value](transcript)
            files.write(files.below(output, f"{recording.id}.{name.value}"), written)
        sentences += found
    kept = [s for s in sentences if min_score is None or s.extra["score"] >= min_score]
    listed, left_out = output / "manifest.jsonl", output / "left_out.jsonl"
    manifest.write(listed, kept)
    result(f"{len(kept)} of {len(sentences)} sentences: {listed}")
    left_out.unlink(missing_ok=True)  # of an earlier run
    if len(kept) < len(sentences):
        worst_first = sorted(sentences, key=lambda s: s.extra["score"])
        manifest.write(left_out, worst_first[: len(sentences) - len(kept)])
        result(f"{len(sentences) - len(kept)} are left out, the worst first: {left_out}")
    if failures:
        err.print(f"{failures} of {len(recordings)} could not be aligned (see above)")
        raise typer.Exit(1)


def _recordings(audio: Path, text: Path | None) -> list[Utterance]:
    """The recordings to align; a missing text is an error before the model is loaded."""
    from asr.data.sources import sources

    recordings = sources([audio])
    if text is not None and len(recordings) > 1:
        raise UserError(
            f"{audio}: {len(recordings)} recordings for one text; give a manifest with the text of "
            "each"
        )
    if text is None and not any(recording.text for recording in recordings):
        raise UserError(
            f"{audio}: no text to align it with; give a text file after the recording, or a "
            "manifest whose rows have texts"
        )
    return recordings


def _sentences(recording: Utterance, text: Path | None, config) -> list[str]:
    from asr.recognition.alignment import read_sentences

    if text is not None:
        return read_sentences(text, config)
    if not recording.text:
        raise UserError(f"{recording.id}: no text to align")
    return [recording.text]
