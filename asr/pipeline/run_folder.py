"""The run folder `runs/NAME`: its paths, its stage cache, and the console of its stages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from asr.config import Config
from asr.errors import UserError
from asr.model.device import pick_device
from asr.model.shipped import model_path
from asr.pipeline.stage_cache import StageCache, digest
from asr.training import distributed

STARTED = "train started"  # the entry of the stage cache that is written when training starts


class RunFolder:
    """The settings, paths, stage cache and console that the stages of a run share."""

    def __init__(self, config: Config, path: Path, console: Console):
        self.config, self.path, self.console = config, path, console
        self.data = config.data_folder
        self.train_manifest = self.data / config.data.train
        self.dev_manifest = self.data / config.data.dev
        self.tokenizer_file = path / "tokenizer"
        self.model_file = path / "model.asr"
        self.tuned_file = path / "tuned.asr"  # with a language model, if the recipe has one
        # The utterances that pass the checks: a manifest, or their durations in a folder of shards.
        self.usable_manifest = path / "manifests/train.jsonl"
        self.usable_seconds = path / "manifests/train.seconds"
        self.problems_file = path / "manifests/train.problems.tsv"
        self.stages = StageCache(path / "stages.json", self.report)

    def report(self, stage: str, text: str) -> None:
        """Print a message of a stage."""
        self.console.print(f"[bold]{stage}[/bold]: {text}", highlight=False)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process runs the block first; the others then find its files and stages."""
        cpu = pick_device(self.config.train.device).type == "cpu"
        with distributed.main_first(cpu):
            self.stages.read()
            yield

    def init_from_digest(self, fresh: bool = False) -> dict[str, str]:
        """{"init_from": digest of the model file that training starts from}, or {} without one.

        Once training has started, the file is no longer needed and may be gone.
        """
        name = self.config.train.init_from
        if name is None:
            return {}
        path = model_path(name)
        if path.resolve() == self.model_file.resolve():
            raise UserError(
                f"train.init_from: {path} is the model file that this run writes; give another name"
            )
        known = self.stages.stages.get(STARTED, {}).get("init_from")
        if known is not None and not fresh and not path.exists():
            return {"init_from": known}
        return {"init_from": digest(path)}
