"""`asr score`: error rates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import (
    Decoder,
    Device,
    Hotwords,
    LanguageModel,
    list_failures,
    load_recognizer,
    out,
)


def score(
    reference: Annotated[Path, typer.Argument(help="A model file, or a file of reference texts.")],
    hypothesis: Annotated[
        Path, typer.Argument(help="A manifest for the model, or a file of recognised texts.")
    ],
    to: Annotated[
        Path | None, typer.Option(help="Write score.json and hypotheses.jsonl into this folder.")
    ] = None,
    lm: LanguageModel = None,
    hotword: Hotwords = None,
    decoder: Decoder = None,
    device: Device = "auto",
) -> None:
    """Word error rate with its interval: MODEL MANIFEST, or REFERENCES HYPOTHESES."""
    from asr import manifest
    from asr import score as scoring
    from asr.config import TextConfig

    failures = []
    if reference.suffix == ".asr":
        from asr.evaluate import evaluate

        recognizer = load_recognizer(reference, device, lm, hotword, decoder)
        evaluation = evaluate(recognizer, manifest.read(hypothesis))
        pairs, result, failures = evaluation.pairs, evaluation.score, evaluation.failures
    else:
        pairs = scoring.pair_files(reference, hypothesis, TextConfig())
        result = scoring.score(pairs)
    if to is not None:
        scoring.write_results(to, pairs, result)
    out.print(str(result), highlight=False)
    list_failures(failures)
