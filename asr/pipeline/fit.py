"""The training stage: claim the run folder, train or resume, write the model file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from asr import config, files
from asr.config import Config
from asr.data import manifest, shards
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.model import model_file
from asr.model.model_file import Model
from asr.pipeline.model_card import model_card
from asr.pipeline.run_folder import STARTED, RunFolder
from asr.pipeline.stage_cache import StageCache, differences, digest
from asr.pipeline.tokenizer import tokenizer_stage
from asr.pipeline.training_set import check_training_set, read_training_set
from asr.text.tokenizer import Tokenizer
from asr.training import distributed
from asr.training.loop import train
from asr.training.schedule import TrainingState
from asr.training.task import task_of

LOGGING_SETTINGS = {"log_every", "wandb"}  # may differ in a resumed run, as they change no weight


class OtherSettings(UserError):
    """The run folder holds a run that was started with other settings or data."""


def fit(
    c: Config,
    tokens: Tokenizer,
    train_set: Sequence[Utterance],
    dev_set: Sequence[Utterance],
    folder: Path,
    console: Console,
) -> tuple[Model, TrainingState]:
    """Train a model on utterances that have been checked, or resume its training in `folder`.

    In the main process, the model has the best weights on `dev_set` and a model card.
    """
    torch.manual_seed(c.seed)
    model = Model.build(c, tokens)
    console.print(
        f"[bold]train[/bold]: {c.model.preset} model, "
        f"{model.acoustic.parameter_count() / 1e6:.1f} M parameters, "
        f"{shards.durations_s(train_set).sum() / 3600:.2f} hours",
        highlight=False,
    )
    state = train(model, train_set, dev_set, folder, console)
    model.card = model_card(model.config, train_set, state)
    return model, state


def train_stage(run: RunFolder, fresh: bool = False) -> None:
    """Check the manifests, train or resume, write the model file.

    fresh: discard the checkpoints of an earlier run instead of resuming it.
    """
    with run.main_first():
        inputs = {
            "config": weight_settings(run.config),
            "manifests": {"train": digest(run.train_manifest), "dev": digest(run.dev_manifest)},
            **run.init_from_digest(fresh),
        }
        tokens = tokenizer_stage(run)
        if fresh and distributed.is_main():
            discard_training(run)
        elif run.stages.done("train", inputs, [run.model_file]):
            return
        if distributed.is_main():
            claim(run.path, run.stages, inputs, run.config)
            check_training_set(run, tokens)
        train_set = read_training_set(run)
    # Dev texts may have characters that the model cannot write: those count as errors.
    dev_set = manifest.read(run.dev_manifest)
    model, state = fit(run.config, tokens, train_set, dev_set, run.path, run.console)
    if not distributed.is_main():
        return
    model_file.save_model(run.model_file, model)
    run.report(
        "train",
        f"best dev {task_of(run.config).describe(state.best)} in epoch {state.best_epoch}, "
        f"{state.train_s:.0f} s; wrote {run.model_file}",
    )
    run.stages.record("train", inputs)


def weight_settings(c: Config) -> dict:
    """The settings that trained weights depend on, as plain values."""
    exclude: dict[str, Any] = {
        "name": True,
        "data": {"prepare", "test"},
        "train": LOGGING_SETTINGS,
        "lm": True,
        "commands": True,
        "classify": {"reject"},
    }
    if c.task == "transcribe":  # runs that began before there were other tasks can be resumed
        exclude |= {"task": True, "classify": True}
    return c.model_dump(mode="json", exclude=exclude)


def claim(folder: Path, stages: StageCache, inputs: dict, c: Config) -> None:
    """Record in a run folder the settings and data that its training depends on.

    Raises `OtherSettings` if a run with other settings or data has started there.
    """
    started = stages.stages.get(STARTED)
    if started is not None and started != inputs:
        changed = ", ".join(differences(started, inputs))
        raise OtherSettings(
            f"{folder}: has a run with other settings ({changed}); choose another name, or "
            "discard that run and start again"
        )
    stages.record(STARTED, inputs)
    files.write(folder / "config.yaml", config.to_yaml(c))


def discard_training(run: RunFolder) -> None:
    """Delete the checkpoints and the model file, so that training starts from the beginning."""
    for path in (run.path / "checkpoints").glob("*.safetensors"):
        path.unlink()
    run.model_file.unlink(missing_ok=True)
    run.stages.forget("train")
