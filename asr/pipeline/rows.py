"""Training from utterances in memory, through the functions that a recipe's stages use."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from asr import files
from asr.config import Config
from asr.data.check import Problems, check
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.model import model_file
from asr.model.ctc import ctc_frames
from asr.model.model_file import Model
from asr.pipeline.fit import claim, fit, weight_settings
from asr.pipeline.run_folder import RunFolder
from asr.pipeline.tokenizer import learn_tokenizer
from asr.pipeline.training_set import no_usable_utterance
from asr.text import tokenizer
from asr.text.tokenizer import Tokenizer
from asr.training import distributed

log = logging.getLogger("asr")


def train_rows(
    config: Config,
    train: Sequence[Utterance],
    dev: Sequence[Utterance],
    folder: str | Path | None = None,
    console: Console | None = None,
) -> Model:
    """Train a model on utterances in memory: no recipe folder, manifest or console is needed.

    The tokenizer is learned from the texts of `train`. The utterances are checked as in a recipe,
    and a warning lists those that cannot be used. Returns the model, with a model card and the
    weights with the lowest WER on `dev`:

    >>> config = Config(name="digits")                                       # doctest: +SKIP
    >>> rows = manifest.read("digits.jsonl")                                 # doctest: +SKIP
    >>> model = train_rows(config, rows[100:], rows[:100])                   # doctest: +SKIP
    >>> recognizer = Recognizer(model, config.train.device)     # doctest: +SKIP
    >>> save_model("digits.asr", model)                                      # doctest: +SKIP

    folder: a run folder for checkpoints, logs and `model.asr`. The same call resumes a run that was
    interrupted and returns the model of a run that is finished. Without a folder, everything but
    the returned model is temporary. console: shows progress and validations; None shows nothing.
    The settings that name the files of a corpus (`data.folder`, `data.train`, ...) are not used.
    If several processes train together, only the model of the main process has the best weights.
    Raises `UserError` if an id is not unique, if no utterance can be used, or if `folder` holds a
    run with other settings or utterances; `Failed` if training diverges.
    """
    _check_rows("train", train)
    _check_rows("dev", dev)
    if console is None or not distributed.is_main():
        console = Console(quiet=True)
    with _kept_or_temporary(folder) as path:
        run = RunFolder(config, path, console)
        inputs = {
            "config": weight_settings(config),
            "train": _digest(train),
            "dev": _digest(dev),
            **run.init_from_digest(),
        }
        if run.stages.done("train", inputs, [run.model_file]):
            return model_file.load_model(run.model_file)
        with run.main_first():
            if distributed.is_main():
                claim(path, run.stages, inputs, config)
            tokens = _tokenizer(run, train)
        usable = _usable(config, train, tokens)
        model, _ = fit(config, tokens, usable, dev, path, console)
        if distributed.is_main():
            model_file.save_model(run.model_file, model)
            run.stages.record("train", inputs)
        return model


@contextmanager
def _kept_or_temporary(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="asr-train-") as temporary:
        yield Path(temporary)


def _check_rows(name: str, rows: Sequence[Utterance]) -> None:
    """Raise `UserError` if there are no rows or an id is repeated, as `manifest.read` does."""
    if not rows:
        raise UserError(f"{name}: has no utterances")
    ids = set()
    for row in rows:
        if row.id in ids:
            raise UserError(f"{name}: id {row.id!r} is used twice; give each utterance its own")
        ids.add(row.id)


def _digest(rows: Sequence[Utterance]) -> str:
    found = hashlib.sha256()
    for row in rows:
        found.update(repr(row).encode(errors="surrogateescape"))
    return found.hexdigest()[:16]


def _tokenizer(run: RunFolder, train: Sequence[Utterance]) -> Tokenizer:
    """The tokenizer in the folder of a run that has started, otherwise a new one.

    It is not learned again, because a resumed run may no longer have the file of `train.init_from`.
    """
    path = run.tokenizer_file
    if not path.exists():
        files.write(path, learn_tokenizer(train, run.config).to_bytes())
    return tokenizer.from_bytes(path.read_bytes(), run.config.tokenizer.kind)


def _usable(config: Config, train: Sequence[Utterance], tokens: Tokenizer) -> list[Utterance]:
    """The utterances that can be trained on, with their durations."""
    report = check(train, config, ctc_frames(config), tokens, training=True)
    problems = Problems()
    for problem in report.errors:
        problems.add(problem)
    if problems.counts and distributed.is_main():
        for line in problems.lines("train"):
            log.warning("%s", line)
    if not report.usable:
        raise no_usable_utterance("train")
    return report.usable
