"""`asr info`: what a model file contains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.console import out, result


def info(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL]", help="A model file, NAME.asr; by default the English model of asr."
        ),
    ] = None,
) -> None:
    """Describe a model, its error rates and its weaknesses."""
    from asr.model.shipped import english
    from asr.recognition.model import read_model

    path = model or english()
    loaded = read_model(path)
    c = loaded.config
    count = getattr(getattr(loaded, "acoustic", None), "parameter_count", None)  # of PyTorch's
    parameters = f", {count() / 1e6:.1f} M parameters" if count else ""
    facts = [
        f"{path}",
        f"size: {path.stat().st_size / 1e6:.1f} MB{parameters}",
        f"input: {c.features.rate_hz} Hz, {c.features.kind}; other rates are resampled",
        f"output: {len(loaded.tokenizer.pieces)} tokens ({c.tokenizer.kind})",
        f"language model: {loaded.ngram if loaded.ngram is not None else 'none'}",
        f"decoder: {'greedy' if c.decoder.beam == 1 else f'beam {c.decoder.beam}'}",
    ]
    for fact in facts:
        result(fact)
    result("")
    if out.is_terminal:
        from rich.markdown import Markdown

        out.print(Markdown(loaded.card))
    else:
        print(loaded.card, end="")
