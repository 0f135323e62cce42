"""Run a recipe from its corpus to its score, in the run folder `runs/NAME`.

The stages are prepare -> tokenizer -> train -> language model (if the recipe has one) -> score. A
stage whose inputs have not changed is skipped. Each stage is a function in a file of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from asr import config
from asr.config import Config
from asr.errors import UserError
from asr.pipeline.command_corpus import prepare_commands
from asr.pipeline.command_model import command_stage
from asr.pipeline.command_recipe import command_settings, is_grammar
from asr.pipeline.corpus import prepare_corpus
from asr.pipeline.fit import train_stage
from asr.pipeline.language_model import language_model_stage, text_files
from asr.pipeline.run_folder import RunFolder
from asr.pipeline.score import score_stage
from asr.pipeline.starting_model import recipe_config
from asr.pipeline.tokenizer import tokenizer_stage
from asr.text.tokenizer import Tokenizer
from asr.training import distributed
from asr.training.task import DevEvaluation


@dataclass(frozen=True)
class Recipe:
    config: Config
    prepare: Path | None  # the script that prepares the corpus
    grammar: Path | None = None  # the grammar from which the corpus is made
    outside: tuple[Path, ...] = ()  # texts that are no commands


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe: a folder with recipe.yaml and optionally prepare.py, or a YAML file.

    The file may be a grammar as well: its recipe then has the settings of `commands.yaml`, or with
    `train.init_from` those of that model. Raises `UserError` if the file is missing or a setting is
    not valid.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / "recipe.yaml").is_file():
            raise UserError(f"{path}: no recipe.yaml in this folder")
        path = path / "recipe.yaml"
    if is_grammar(path):
        c = config.parse(command_settings(path, overrides), str(path), overrides)
        return Recipe(c, None, path, _texts_beside(path, c))
    c = recipe_config(config.read(path), str(path), overrides)
    script = path.parent / "prepare.py"
    if c.commands.grammar is not None:
        return Recipe(c, None, path.parent / c.commands.grammar, _texts_beside(path, c))
    return Recipe(c, script if script.is_file() else None)


def _texts_beside(path: Path, c: Config) -> tuple[Path, ...]:
    """The files of `commands.outside`, which are relative to the recipe."""
    return tuple(path.parent / name for name in c.commands.outside)


class Run:
    """The stages of one recipe.

    If several processes train together, they share only the training; the main process alone runs
    all other stages.
    """

    def __init__(self, recipe: Recipe, runs: str | Path, console: Console):
        if not distributed.is_main():
            console = Console(quiet=True)
            distributed.log_errors_only()
        self.recipe, self.config = recipe, recipe.config
        self.run_folder = RunFolder(self.config, Path(runs) / self.config.name, console)
        self.folder = self.run_folder.path
        self.model_file = self.run_folder.model_file
        self.tuned_file = self.run_folder.tuned_file

    def prepare(self) -> None:
        """Run the recipe's prepare.py, or make the corpus of its grammar."""
        with self.run_folder.main_first():
            if self.recipe.grammar is not None:
                prepare_commands(self.run_folder, self.recipe.grammar, self.recipe.outside)
            else:
                prepare_corpus(self.run_folder, self.recipe.prepare)

    def tokenizer(self) -> Tokenizer:
        """Learn the tokenizer from the training texts."""
        return tokenizer_stage(self.run_folder)

    def train(self, fresh: bool = False) -> None:
        """Check the manifests, train or resume, write the model file; see `train_stage`."""
        text_files(self.run_folder)  # a missing file of `lm.texts` is reported before training
        train_stage(self.run_folder, fresh)

    def language_model(self) -> None:
        """Write `tuned.asr`, if the recipe has texts for a language model."""
        if self.config.lm.texts and distributed.is_main():
            language_model_stage(self.run_folder)

    def commands(self) -> Path | None:
        """Write `commands.asr`, if the recipe has a grammar; returns its path."""
        if self.recipe.grammar is None or not distributed.is_main():
            return None
        command_stage(self.run_folder, self.recipe.grammar)
        return self.folder / "commands.asr"

    def score(self) -> dict[str, DevEvaluation]:
        """Score the model files on the test manifests; returns new evaluations by label."""
        if not distributed.is_main():
            return {}
        found = {}
        for name in self.config.data.test:
            label = Path(name).stem
            found[name] = score_stage(self.run_folder, self.model_file, name, label)
            if self.config.lm.texts:
                tuned = f"{label}-tuned"
                found[tuned] = score_stage(self.run_folder, self.tuned_file, name, tuned)
        return {name: evaluation for name, evaluation in found.items() if evaluation}
