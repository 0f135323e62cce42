"""`asr grammar`: check a grammar, list its sentences, and put it into a model file."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated

import typer

from asr import files
from asr.cli.console import result
from asr.errors import UserError


def grammar(
    source: Annotated[
        Path, typer.Argument(metavar="GRAMMAR", help="Sentence templates in a YAML file.")
    ],
    sample: Annotated[
        int | None, typer.Option(metavar="N", help="Print N random sentences.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="The seed of the sample.")] = 0,
    texts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the sample to this file, for asr synth."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="Compile the grammar for this model file.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the model file with the grammar in it."
        ),
    ] = None,
) -> None:
    """Check a grammar, print sentences of it, and put it into a model file."""
    from asr.lm.grammar import Grammar
    from asr.recognition.model import read_model

    if output is not None and (model is None or output.suffix != model.suffix):
        suffix = ".asr" if model is None else model.suffix
        raise UserError(f"{output}: give the model with --model, and a name that ends in {suffix}")
    if texts is not None and sample is None:
        raise UserError(f"--texts {texts}: say how many sentences, --sample N")
    read = Grammar(source)
    count = read.sentence_count
    about = f"{count:,}" if count < 10**9 else f"10^{math.log10(count):.0f}"
    intents = f", {len(read.intents)} intents" if read.intents else ""
    result(f"{source}: {read.template_count} templates, {about} sentences{intents}")
    if sample is not None:
        sentences = read.sample(sample, seed)
        if texts is None:
            for sentence in sentences:
                print(sentence)
        else:
            files.write(texts, "".join(f"{sentence}\n" for sentence in sentences))
            result(f"{texts}: {len(sentences)} sentences")
    if model is None:
        return
    loaded = read_model(model)
    started = time.perf_counter()
    compiled = read.compile(loaded.tokenizer, loaded.config.text)
    seconds = time.perf_counter() - started
    arrays = compiled.arrays
    result(
        f"{model}: {len(arrays.final_weight):,} states and {len(arrays.arc_token):,} arcs over "
        f"its tokens, compiled in {seconds:.2f} s"
    )
    if output is not None:
        loaded.grammar = read
        loaded.save(output)
        result(f"{output}: recognizes the sentences of {source.name}")
