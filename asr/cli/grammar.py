"""`asr grammar`: check a grammar and put it into a model; `asr tune` of what a grammar refuses."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr import files
from asr.cli.console import list_failures, result, seconds_bar
from asr.errors import UserError

if TYPE_CHECKING:
    from asr.recognition.model import RecognitionModel


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


@dataclass(frozen=True)
class RefusalOptions:
    """What a grammar refuses."""

    grammar: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Put this grammar into the model, and tune it."),
    ] = None
    outside: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AUDIO",
            help="Recordings to refuse: files, folders or manifests; may be repeated.",
        ),
    ] = None
    false_accepts: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="The share of them that may be accepted (0.01)."),
    ] = None

    @property
    def given(self) -> bool:
        return bool(self.grammar or self.outside or self.false_accepts is not None)


KEEP_REFUSAL = RefusalOptions()
FALSE_ACCEPTS = 0.01


def tune_refusal(
    trained: RecognitionModel, dev: Path, output: Path, options: RefusalOptions, device: str
) -> None:
    """Choose `decoder.min_fit`, and write the model with it and with its grammar."""
    from asr.config import override, parse
    from asr.data import manifest
    from asr.data.sources import sources
    from asr.lm.grammar import Grammar
    from asr.recognition.recognizer import Recognizer
    from asr.scoring.commands import choose_min_fit, hear, score_commands

    if options.grammar is not None:
        trained.grammar = Grammar(options.grammar)
    recognizer = Recognizer(trained, device)
    outside = sources(options.outside or [])
    utterances = manifest.read(dev)
    with seconds_bar([*utterances, *outside]) as advance:
        heard = hear(recognizer, utterances, outside, advance)
    allowed = FALSE_ACCEPTS if options.false_accepts is None else options.false_accepts
    min_fit = choose_min_fit(
        [one.command.fit for one in heard.inside],
        [one.command.fit for one in heard.outside],
        allowed,
    )
    result(f"before: {score_commands(heard, trained.config.decoder.min_fit)}")
    result(f"chosen: {score_commands(heard, min_fit)}")
    settings = trained.config.model_dump(mode="json")
    trained.config = parse(settings, str(output), [override("decoder.min_fit", round(min_fit, 4))])
    trained.save(output)
    result(f"{output}: min_fit {min_fit:.2f}")
    list_failures(heard.failures)
