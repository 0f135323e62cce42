"""Training from Python: settings and rows in, a recognizer out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.state import AcceleratorState
from rich.console import Console

from asr import config
from asr.config import Config
from asr.data.records import Rows, utterances_of
from asr.pipeline.rows import train_rows
from asr.pipeline.starting_model import recipe_config
from asr.recognition.recognizer import Recognizer
from asr.training.task import task_of


def train(
    settings: Config | Mapping[str, Any] | str | os.PathLike[str],
    train: Rows,
    dev: Rows,
    folder: str | Path | None = None,
    show_progress: bool = False,
) -> Recognizer:
    """Train a recognizer on rows, with the code that runs recipes but without a recipe folder.

    settings: a `Config`, the same as a dict, or a YAML file; train, dev: utterances, dicts or a
    data frame with the columns of a manifest, or the path of a manifest
    (`asr.data.records.utterances_of`). The tokenizer is learned from the texts of `train`. A
    warning lists the rows that cannot be used for training. Returns a recognizer with the weights
    that had the lowest WER on `dev`; with `task: classify`, an `asr.Classifier` with the lowest
    error rate.

    folder: the run folder for checkpoints, logs and `model.asr`. The same call resumes a run that
    was interrupted, and returns the recognizer of a finished run. Without a folder everything is
    temporary; `Recognizer.save` writes the model file. show_progress: whether to show progress on
    standard error.

    Raises `UserError` if a setting or a row is invalid, if no row can be used for training, or if
    `folder` holds another run; `Failed` if training diverges.

    >>> rows = asr.read_manifest("digits.jsonl")                              # doctest: +SKIP
    >>> recognizer = asr.train({"name": "digits"}, rows[100:], rows[:100])    # doctest: +SKIP
    >>> recognizer.save("digits.asr")                                         # doctest: +SKIP
    """
    if isinstance(settings, (str, os.PathLike)):
        c = recipe_config(config.read(os.fspath(settings)), os.fspath(settings))
    elif isinstance(settings, Mapping):
        c = recipe_config(dict(settings), "settings")
    else:
        c = settings
    console = Console(stderr=True, quiet=not show_progress)
    train_set, dev_set = utterances_of(train, "train"), utterances_of(dev, "dev")
    with _process_settings_restored():
        model = train_rows(c, train_set, dev_set, folder, console)
    return cast(Recognizer, task_of(c).recognizer(model, c.train.device))


@contextmanager
def _process_settings_restored() -> Iterator[None]:
    """Restore the settings of the process that training changes.

    At the end, PyTorch's number of threads and its determinism are as they were. At the beginning,
    accelerate's state is reset, because otherwise it would refuse to train with another device or
    precision than an earlier training in this process.
    """
    if not torch.distributed.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
