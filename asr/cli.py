"""The command line: reads arguments, calls one function, prints. Heavy imports wait for a command.

Exit status: 0 done, 1 a failure (also of one file among many), 2 the user's mistake, 130 Ctrl-C.
"""

from __future__ import annotations

import logging
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from asr import __version__
from asr.errors import Failed, UserError
from asr.formats import CHAINABLE, FORMATS, jsonl

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(soft_wrap=True)  # results
err = Console(stderr=True, soft_wrap=True)  # progress and messages

RecipeArgument = Annotated[Path, typer.Argument(help="A recipe folder, or a configuration file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes to the configuration, as section.key=value.", show_default=False),
]
Runs = Annotated[Path, typer.Option(help="The folder of run folders.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Train anew instead of resuming.")]
ModelArgument = Annotated[Path, typer.Argument(help="A model file, NAME.asr.")]
Decoder = Annotated[
    list[str] | None,
    typer.Option(help="A decoder setting, as beam=50, lm_weight=0.6, word_bonus=1 or n_best=5."),
]
LanguageModel = Annotated[
    Path | None, typer.Option("--lm", help="A language model: .npz, .arpa or .arpa.gz (asr lm).")
]
Hotwords = Annotated[
    list[str] | None,
    typer.Option("--hotword", help="A phrase to listen for, with its weight: 'Ann Arbor=5'."),
]
Format = Enum("Format", {name: name for name in FORMATS}, type=str)
SHOWN_TRIALS = 8  # of `tune`, besides greedy and the chosen one
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


def _print_version(asked: bool) -> None:
    if asked:
        print(f"asr {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train, run and score your own speech recogniser."""


@app.command()
def run(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    fresh: Fresh = False,
) -> None:
    """Follow a recipe: prepare, tokenizer, train, score. What is done and unchanged is skipped."""
    from asr.run import Run, load_recipe

    this = Run(load_recipe(recipe, overrides or ()), runs, err)
    this.prepare()
    this.train(fresh)
    evaluations = this.score()
    out.print(f"model: {this.model_file}", highlight=False, markup=False)
    if any(evaluation.failures for evaluation in evaluations.values()):
        raise typer.Exit(1)


@app.command()
def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            help="A table (.tsv, .csv, .jsonl) of audio and text, a folder of recordings with a "
            ".txt beside each, or a Kaldi folder."
        ),
    ],
    to: Annotated[Path, typer.Argument(help="The folder for the manifests.")],
    dev: Annotated[float, typer.Option(help="Share of the audio for validation.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of the audio for the final test.")] = 0.1,
) -> None:
    """Split your own recordings into train, dev and test sets that share no speaker (or text)."""
    from asr import prepare as preparing

    split, left_out = preparing.prepare(source, to, dev, test)
    for line in left_out:
        _say_failed("left out", line)
    for name in ("train", "dev", "test"):
        part = getattr(split, name)
        minutes = sum(u.duration_s for u in part) / 60
        out.print(
            f"{to / name}.jsonl: {len(part)} utterances, {minutes:.1f} minutes", highlight=False
        )
    out.print(f"no {split.by} is in two of them")
    if left_out:
        err.print(f"{len(left_out)} recordings were left out (see above)")
        raise typer.Exit(1)


@app.command()
def train(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    fresh: Fresh = False,
) -> None:
    """Train a model on manifests that exist already, or go on with a run that was cut off."""
    from asr.run import Run, load_recipe

    this = Run(load_recipe(recipe, overrides or ()), runs, err)
    this.train(fresh)
    out.print(f"model: {this.model_file}", highlight=False, markup=False)


@app.command()
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
    recognizer = _load(model, device, lm, hotword, decoder)
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
            _say_failed("failed", result.reason)
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


def _load(model: Path, device: str, lm: Path | None, hotword, decoder):
    from asr.recognizer import load

    phrases = {phrase: _number(weight, phrase) for phrase, weight in _pairs(hotword, "--hotword")}
    settings = dict(_pairs(decoder, "--decoder"))
    return load(model, device, lm=lm, hotwords=phrases, **settings)


def _pairs(values: list[str] | None, option: str) -> list[tuple[str, str]]:
    for value in values or ():
        if "=" not in value:
            raise UserError(f"{option} {value!r}: write it as NAME=VALUE")
    return [tuple(value.rsplit("=", 1)) for value in values or ()]


def _number(text: str, phrase: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--hotword {phrase!r}: the weight {text!r} is not a number") from None


def _say_failed(what: str, reason: object) -> None:
    err.print(Text.assemble((what, "red"), f" {reason}"), highlight=False)


@app.command()
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
            _say_failed("failed", error)
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


@app.command()
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

        recognizer = _load(reference, device, lm, hotword, decoder)
        evaluation = evaluate(recognizer, manifest.read(hypothesis))
        pairs, result, failures = evaluation.pairs, evaluation.score, evaluation.failures
    else:
        pairs = scoring.pair_files(reference, hypothesis, TextConfig())
        result = scoring.score(pairs)
    if to is not None:
        scoring.write_results(to, pairs, result)
    out.print(str(result), highlight=False)
    _list_failures(failures)


def _list_failures(failures) -> None:
    for failure in failures:
        _say_failed("failed, scored as empty", failure.reason)
    if failures:
        raise typer.Exit(1)


@app.command()
def check(
    manifest: Annotated[Path, typer.Argument(help="A manifest: .jsonl, .tsv or .csv.")],
    config: Annotated[
        Path | None,
        typer.Option(help="A recipe, a configuration or a model file to check it against."),
    ] = None,
) -> None:
    """Statistics of a manifest, and every utterance that cannot be used, with the reason."""
    from asr import check as checking
    from asr import checkpoint, run, tokenizer
    from asr import manifest as manifests
    from asr.config import Config
    from asr.text import normalise

    tokens, settings = None, Config(name="default")
    if config is not None and config.suffix == ".asr":
        model = checkpoint.load_model(config)
        tokens, settings = model.tokenizer, model.config
    elif config is not None:
        settings = run.load_recipe(config).config
    utterances = manifests.read(manifest)
    if tokens is None and settings.tokenizer.kind != "characters":
        # No model has learned the units yet: those of this text are near to what they will be.
        texts = [normalise(u.text or "", settings.text) for u in utterances]
        tokens = tokenizer.train(texts, settings.tokenizer.kind, settings.tokenizer.vocab_size)
    with _progress() as progress:
        task = progress.add_task("decoding", total=len(utterances))
        report = checking.check(
            utterances,
            settings,
            tokens,
            training=config is not None,
            decode=True,
            progress=lambda: progress.advance(task),
        )
    out.print(_statistics(report.statistics))
    if report.problems:
        for problem in report.problems:
            out.print(f"{problem.utterance}: {problem.detail}", highlight=False, markup=False)
        out.print(f"{len(report.problems)} problems, {len(report.usable)} utterances can be used")
        raise typer.Exit(1)
    out.print("no problem found")


def _statistics(s) -> Table:
    table = Table(show_header=False, box=None)
    shortest, median, longest = s.duration_s
    rows = {
        "utterances": str(s.utterances),
        "hours": f"{s.hours:.2f}",
        "speakers": str(s.speakers),
        "duration": f"{shortest:.2f} to {longest:.2f} s, median {median:.2f} s",
        "words": f"{s.words}, {s.vocabulary} distinct, {s.words_a_second:.2f} a second",
        "characters": f"{len(s.characters)} distinct: {''.join(sorted(s.characters))}",
        "texts that repeat": str(s.duplicate_texts),
        "audio that repeats": str(s.duplicate_audio),
        "sample rates": ", ".join(f"{rate} Hz: {n}" for rate, n in s.rates_hz.most_common()),
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table


@app.command()
def lm(
    texts: Annotated[
        list[Path],
        typer.Argument(help="Text files (also .gz) and manifests, or one model to convert."),
    ],
    to: Annotated[Path, typer.Option(help="What to write: .npz, .arpa or .arpa.gz.")],
    order: Annotated[int, typer.Option(help="The longest n-grams, 1 to 6.")] = 3,
    prune: Annotated[
        str, typer.Option(help="Leave n-grams out that occur so often or less, by order: '0 0 1'.")
    ] = "0",
    max_words: Annotated[
        int | None, typer.Option(help="Keep so many words, the most frequent.", min=1)
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Normalise the text as for this model; default settings.")
    ] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="On the tokens of --model instead of on words.")
    ] = False,
    perplexity: Annotated[
        list[Path] | None, typer.Option(help="Print the perplexity of this text file or manifest.")
    ] = None,
) -> None:
    """Estimate an n-gram language model from text, or convert one."""
    from functools import partial

    from asr import checkpoint
    from asr.config import TextConfig
    from asr.decoder.ngram import SUFFIXES, NGram, check_name, sentences_of, tokenise
    from asr.text import normalise

    trained = checkpoint.load_model(model) if model else None
    form = partial(normalise, config=trained.config.text if trained else TextConfig())
    if tokens and trained is None:
        raise UserError("--tokens: name the model whose tokens are meant, --model NAME.asr")
    check_name(to)
    if len(texts) == 1 and texts[0].name.endswith(SUFFIXES):
        if (order, prune, max_words, tokens) != (3, "0", None, False):
            raise UserError(f"{texts[0]}: a model can only be converted; estimate from text anew")
        ngram = NGram.load(texts[0])
    else:
        try:
            counts = [int(count) for count in prune.replace(",", " ").split()]
        except ValueError:
            raise UserError(f"--prune: {prune!r}; give counts, such as '0 0 1'") from None
        ngram = NGram.estimate(
            sentences_of(texts, form),
            order=order,
            prune=counts,
            max_words=max_words,
            tokenizer=trained.tokenizer if tokens else None,
        )
    ngram.save(to)
    out.print(f"{to}: {ngram}", highlight=False, markup=False)
    for path in perplexity or ():
        lines = sentences_of([path], form)
        if ngram.unit == "tokens":
            if trained is None:
                raise UserError("--perplexity of a model on tokens: name their model, --model")
            lines = tokenise(lines, trained.tokenizer)
        out.print(f"{path}: {ngram.score_lines(lines)}", highlight=False, markup=False)


@app.command()
def tune(
    model: ModelArgument,
    dev: Annotated[Path, typer.Argument(help="A manifest that the model was not trained on.")],
    lm: LanguageModel = None,
    to: Annotated[
        Path | None, typer.Option(help="Write this model file, and leave MODEL as it is.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Choose beam, LM weight and word bonus on a dev set, and put them into the model file."""
    from asr import checkpoint, manifest, plots
    from asr.decoder.ngram import NGram
    from asr.recognizer import Recognizer, pick_device
    from asr.tune import DevSet, apply
    from asr.tune import tune as search

    to = to or model
    if to.suffix != ".asr":
        raise UserError(f"{to}: name the model file .asr")
    trained = checkpoint.load_model(model)
    if lm is not None:
        trained.ngram = NGram.load(lm)
    utterances = manifest.read(dev)
    with _progress() as progress:
        reading = progress.add_task("emissions", total=len(utterances))
        recognizer = Recognizer(trained, pick_device(device))
        made = DevSet(recognizer, utterances, lambda: progress.advance(reading))
        trying = progress.add_task("trials", total=None)
        found = search(trained, made, lambda trial: progress.advance(trying))
    out.print(_trials(found))
    if found.unknown:
        out.print(f"the language model lacks {found.unknown} words of {dev.name}")
    for name, result in zip(("greedy", "chosen"), found.scores, strict=True):
        out.print(f"{name}: {result}", highlight=False)
    checkpoint.save_model(to, apply(trained, found, dev.name))
    out.print(f"{to}: {found.gain}", highlight=False, markup=False)
    picture = to.with_suffix(".tune.png")
    try:
        plots.tuning(picture, found.surface, found.place, found.scores[0].wer)
        out.print(f"picture: {picture}", highlight=False, markup=False)
    except UserError as error:  # the figures are there without it
        err.print(f"no picture: {error}", highlight=False, markup=False)
    _list_failures(made.failures)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed}"),
        TimeRemainingColumn(compact=True),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


def _trials(found) -> Table:
    table = Table(box=None)
    for name in ("beam", "lm_weight", "word_bonus", "unknown_score", "WER", "CER"):
        table.add_column(name, justify="right")
    best = sorted(found.trials[1:], key=lambda trial: trial.rank)[:SHOWN_TRIALS]
    for trial in dict.fromkeys([found.trials[0], found.chosen, *best]):
        c = trial.decoder
        numbers = (c.beam, c.lm_weight, c.word_bonus, c.unknown_score)
        settings = [f"{number:g}" for number in numbers] if c.beam > 1 else ["greedy", "", "", ""]
        style = "bold" if trial is found.chosen else None
        table.add_row(*settings, f"{trial.wer:.2%}", f"{trial.cer:.2%}", style=style)
    return table


@app.command()
def doctor() -> None:
    """What is installed, on what device it runs, what is missing and how to mend it."""
    from asr.doctor import examine

    table = Table(show_header=False, box=None)
    findings = examine()
    for finding in findings:
        table.add_row("ok" if finding.ok else "[red]mend[/red]", finding.what, Text(finding.found))
    out.print(table)
    broken = [finding for finding in findings if not finding.ok]
    for finding in broken:
        out.print(f"{finding.what}: {finding.mend}", highlight=False, markup=False)
    if broken:
        raise typer.Exit(1)
    out.print("all is well")


class _Lines(logging.Handler):
    """A message a line, however long, above what progress is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else None
        err.print(self.format(record), highlight=False, markup=False, style=style)


def main() -> None:
    """The console script: turns exceptions into one line and an exit status."""
    # Names of files may hold bytes that are no text; they are no reason to stop.
    sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_Lines()])
    logging.getLogger("asr").setLevel(logging.INFO)
    try:
        app()
    except UserError as error:
        err.print(f"asr: {error}", highlight=False, markup=False, style="red")
        sys.exit(2)
    except Failed as failure:
        err.print(f"asr: {failure}", highlight=False, markup=False, style="red")
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
