"""`asr lm` and `asr tune`: estimate a language model, and tune the decoder that uses it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from asr.cli.class_scoring import refuse_text_options, tune_reject
from asr.cli.console import list_failures, note, out, progress_bars, result
from asr.cli.grammar import KEEP_REFUSAL, RefusalOptions, tune_refusal
from asr.cli.options import Device, LanguageModel, ModelArgument
from asr.errors import UserError

SHOWN_TRIALS = 8  # number of best trials that `tune` prints, besides greedy and the chosen one


@dataclass(frozen=True)
class NGramOptions:
    """How an n-gram model is estimated."""

    order: Annotated[int, typer.Option(metavar="N", help="The longest n-grams, 1 to 6.")] = 3
    prune: Annotated[
        str,
        typer.Option(
            metavar="COUNTS",
            help="For each order, drop n-grams with at most this count, such as '0 0 1'.",
        ),
    ] = "0"
    max_words: Annotated[
        int | None, typer.Option(metavar="N", help="Keep only the N most frequent words.", min=1)
    ] = None
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Use the tokens of --model instead of words.")
    ] = False

    @property
    def counts(self) -> list[int]:
        """The counts of `prune`."""
        try:
            return [int(count) for count in self.prune.replace(",", " ").split()]
        except ValueError:
            raise UserError(f"--prune: {self.prune!r}; give counts, such as '0 0 1'") from None


TRIGRAMS = NGramOptions()


def lm(
    texts: Annotated[
        list[Path],
        typer.Argument(
            metavar="TEXTS", help="Text files (also .gz) and manifests, or one model to convert."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file to write: .npz, .arpa or .arpa.gz."
        ),
    ],
    options: NGramOptions = TRIGRAMS,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Normalize texts like the training texts of this model."),
    ] = None,
    perplexity: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Print the perplexity of this text file or manifest."),
    ] = None,
) -> None:
    """Estimate an n-gram language model from texts, or convert one."""
    from asr.config import TextConfig
    from asr.data.texts import sentences_of
    from asr.lm.ngram import SUFFIXES, NGram, check_name, tokenize
    from asr.recognition.model import read_model
    from asr.text.normalize import normalize

    trained = read_model(model) if model else None
    tokenizer = trained.tokenizer if trained else None
    normalized = partial(normalize, config=trained.config.text if trained else TextConfig())
    if options.tokens and trained is None:
        raise UserError("--tokens: give the model that has the tokens, --model NAME.asr")
    check_name(output)
    if len(texts) == 1 and texts[0].name.endswith(SUFFIXES):
        if options != TRIGRAMS:
            raise UserError(
                f"{texts[0]}: a model can only be converted; leave the options of estimation out, "
                "or give texts"
            )
        ngram = NGram.load(texts[0])
    else:
        ngram = NGram.estimate(
            sentences_of(texts, normalized),
            order=options.order,
            prune=options.counts,
            max_words=options.max_words,
            tokenizer=tokenizer if options.tokens else None,
        )
    if perplexity and ngram.unit == "tokens" and tokenizer is None:
        raise UserError(
            "--perplexity of an n-gram on tokens: give the model with the tokens, --model"
        )
    ngram.save(output)
    result(f"{output}: {ngram}")
    for path in perplexity or ():
        lines = sentences_of([path], normalized)
        if ngram.unit == "tokens":
            lines = tokenize(lines, tokenizer)
        result(f"{path}: {ngram.score_lines(lines)}")


def tune(
    model: ModelArgument,
    dev: Annotated[
        Path,
        typer.Argument(metavar="DEV", help="A manifest that the model was not trained on."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write this model file instead of MODEL itself."
        ),
    ] = None,
    lm: LanguageModel = None,
    refusal: RefusalOptions = KEEP_REFUSAL,
    device: Device = "auto",
) -> None:
    """Choose the decoder settings with the fewest errors on a dev set, and store them.

    The settings are the beam, the weight of the language model, the word bonus, the score of
    unknown words, and the weight of the prior of the tokens. For a model with a grammar it is the
    fit below which a command is refused, and for a classifier the probability below which a
    recording is of no known class; name recordings of other speech and of noise with --outside.
    """
    from asr.data import manifest
    from asr.lm.ngram import NGram
    from asr.plotting import figures
    from asr.recognition.model import classifies, read_model
    from asr.recognition.recognizer import Recognizer
    from asr.scoring.tuning import DevSet, apply
    from asr.scoring.tuning import tune as search

    output = output or model
    if output.suffix != model.suffix:
        raise UserError(f"{output}: give the model file the suffix {model.suffix}, as {model} has")
    if classifies(model):
        refuse_text_options({"--lm": lm, "--grammar": refusal.grammar})
        outside, allowed = refusal.outside or [], refusal.false_accepts
        return tune_reject(model, dev, output, outside, allowed, device)
    trained = read_model(model)
    if refusal.given or trained.grammar is not None:
        if lm is not None:
            raise UserError(f"--lm {lm}: a grammar and a language model are tuned one by one")
        return tune_refusal(trained, dev, output, refusal, device)
    if lm is not None:
        trained.ngram = NGram.load(lm)
    utterances = manifest.read(dev)
    with progress_bars() as progress:
        reading = progress.add_task("emissions", total=len(utterances))
        recognizer = Recognizer(trained, device)
        made = DevSet(recognizer, utterances, lambda: progress.advance(reading))
        trying = progress.add_task("trials", total=None)
        found = search(trained, made, lambda trial: progress.advance(trying))
    out.print(_trials(found))
    if found.unknown:
        out.print(f"{found.unknown} words of {dev.name} are not in the language model")
    for name, score in zip(("greedy", "chosen"), found.scores, strict=True):
        result(f"{name}: {score}")
    apply(trained, found, dev.name).save(output)
    result(f"{output}: {found.summary}")
    picture = output.with_suffix(".tune.png")
    try:
        figures.tuning(picture, found.surface, found.weights, found.scores[0].wer)
        result(f"picture: {picture}")
    except UserError as error:  # the results are complete without the picture
        note(f"no picture: {error}")
    list_failures(made.failures)


def _trials(found) -> Table:
    table = Table(box=None)
    columns = ("beam", "lm_weight", "word_bonus", "unknown_score", "prior_weight", "WER", "CER")
    for name in columns:
        table.add_column(name, justify="right")
    best = sorted(found.trials[1:], key=lambda trial: trial.rank)[:SHOWN_TRIALS]
    for trial in dict.fromkeys([found.trials[0], found.chosen, *best]):
        c = trial.decoder
        numbers = (c.beam, c.lm_weight, c.word_bonus, c.unknown_score, c.prior_weight)
        settings = [f"{number:g}" for number in numbers] if c.beam > 1 else ["greedy", *4 * [""]]
        style = "bold" if trial is found.chosen else None
        table.add_row(*settings, f"{trial.wer:.2%}", f"{trial.cer:.2%}", style=style)
    return table
