"""`asr pseudo-label`: transcribe recordings without texts, and keep what is sure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.console import note, progress_bars, result
from asr.cli.options import AS_SAVED, Decoding, ModelArgument
from asr.errors import UserError


@dataclass(frozen=True)
class Thresholds:
    """How sure a transcript must be."""

    min_confidence: Annotated[
        float,
        typer.Option(metavar="SHARE", help="The lowest mean confidence of the words, 0 to 1."),
    ] = 0.85
    min_agreement: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="The lowest share of words in which greedy decoding and beam search agree.",
        ),
    ] = 0.85


SURE = Thresholds()


def pseudo_label(
    model: ModelArgument,
    audio: Annotated[
        list[str],
        typer.Argument(metavar="AUDIO", help="Folders, files, patterns and manifests."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where the manifests go."),
    ],
    thresholds: Thresholds = SURE,
    decoding: Decoding = AS_SAVED,
) -> None:
    """Transcribe recordings and keep what is sure, to train on."""
    from asr.data import manifest
    from asr.data.sources import sources
    from asr.recognition.pseudo_labels import pseudo_label

    utterances = sources(audio)
    recognizer = decoding.load(model)
    if recognizer.config.decoder.beam == 1:
        note("the decoder is greedy, so only confidence decides; --lm adds a language model")
    with progress_bars() as bars:
        task = bars.add_task("transcribing", total=None)
        labels = pseudo_label(
            recognizer,
            utterances,
            min_confidence=thresholds.min_confidence,
            min_agreement=thresholds.min_agreement,
            progress=lambda: bars.advance(task),
        )
    rejected = [
        replace(one.utterance, extra=one.utterance.extra | {"reason": one.reason})
        for one in labels.left_out
    ]
    kept_file, left_out_file = output / "manifest.jsonl", output / "left-out.jsonl"
    manifest.write(left_out_file, rejected)
    manifest.write(kept_file, labels.kept)
    total = len(labels.kept) + len(rejected)
    if not labels.kept:
        raise UserError(
            f"{left_out_file}: none of {total} transcripts is sure; lower --min-confidence"
        )
    confidence = sum(u.extra["confidence"] for u in labels.kept) / len(labels.kept)
    result(
        f"{kept_file}: {len(labels.kept)} of {total} utterances, "
        f"{labels.kept_s / 3600:.2f} hours, mean confidence {confidence:.2f}; "
        f"the others are in {left_out_file}"
    )
