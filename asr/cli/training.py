"""`asr run` and `asr train`: from a recipe to a model file and its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import err, out

RecipeArgument = Annotated[Path, typer.Argument(help="A recipe folder, or a configuration file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes to the configuration, as section.key=value.", show_default=False),
]
Runs = Annotated[Path, typer.Option(help="The folder of run folders.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Train anew instead of resuming.")]


def run(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    fresh: Fresh = False,
) -> None:
    """Follow a recipe: prepare, train, score. What is done and unchanged is skipped."""
    from asr.pipeline.run import Run, load_recipe
    from asr.training import distributed

    this = Run(load_recipe(recipe, overrides or ()), runs, err)
    this.prepare()
    this.train(fresh)
    distributed.finish()
    this.language_model()
    evaluations = this.score()
    out.print(f"model: {this.model_file}", highlight=False, markup=False)
    if this.config.lm.texts:
        out.print(f"with its language model: {this.tuned_file}", highlight=False, markup=False)
    if any(evaluation.failures for evaluation in evaluations.values()):
        raise typer.Exit(1)


def train(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    fresh: Fresh = False,
) -> None:
    """Train a model on manifests that exist already, or go on with a run that was cut off."""
    from asr.pipeline.run import Run, load_recipe
    from asr.training import distributed

    this = Run(load_recipe(recipe, overrides or ()), runs, err)
    this.train(fresh)
    distributed.finish()
    out.print(f"model: {this.model_file}", highlight=False, markup=False)
