"""`asr run` and `asr train`: run a recipe, or only train its model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.console import messages, result, stage_console

if TYPE_CHECKING:
    from asr.pipeline.run import Run


@dataclass(frozen=True)
class RecipeOptions:
    """The recipe, changes to its settings, and the place of its run folder."""

    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE", help="A recipe folder, a configuration file, or a grammar."
        ),
    ]
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Changes to settings, such as train.epochs=50 (asr config lists them).",
            show_default=False,
        ),
    ] = None
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="The run folder is FOLDER/NAME."),
    ] = Path("runs")
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start training again instead of resuming it.")
    ] = False

    def open(self) -> Run:
        """The run of this recipe."""
        from asr.pipeline.run import Run, load_recipe

        return Run(
            load_recipe(self.recipe, self.overrides or ()),
            self.output,
            stage_console(),
        )


def run(options: RecipeOptions) -> None:
    """Run a recipe: prepare the corpus, train, estimate a language model, score.

    Finished stages whose inputs have not changed are skipped; interrupted training is resumed.
    """
    from asr.training import distributed

    this = options.open()
    this.prepare()
    this.train(options.fresh)
    distributed.finish()
    this.language_model()
    commands = this.commands()
    evaluations = this.score()
    if messages.quiet:  # otherwise each stage has shown its score
        for name, evaluation in evaluations.items():
            result(f"{name}: {evaluation.score}")
    result(f"model: {this.model_file}")
    if this.config.lm.texts:
        result(f"with its language model: {this.tuned_file}")
    if commands is not None:
        result(f"with its grammar: {commands}")
    if any(evaluation.failures for evaluation in evaluations.values()):
        raise typer.Exit(1)


def train(options: RecipeOptions) -> None:
    """Train a model on manifests that exist already; interrupted training is resumed."""
    from asr.training import distributed

    this = options.open()
    this.train(options.fresh)
    distributed.finish()
    result(f"model: {this.model_file}")
