"""Ablation: train the variants of a recipe with the same budget, and print one table.

    python tools/ablation.py VARIANTS.yaml [-o runs] [--only NAME ...]

The corpus of the recipe must have been prepared. VARIANTS.yaml names the recipe, the settings that
all variants share, and the changes of each variant as `section.key=value`. With `on: NAME`, a
variant also has the changes of variant NAME. Trained variants are skipped and interrupted ones are
resumed; the table has all finished variants.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from asr.pipeline.run import load_recipe
from asr.training.checkpoint import checkpoint_files, load_checkpoint


def changes(variants: dict, name: str) -> list[str]:
    """The overrides of a variant, after those of the variant on which it builds."""
    variant = variants[name]
    below = changes(variants, variant["on"]) if "on" in variant else []
    return below + variant.get("changes", [])


def asr(*arguments: str | Path) -> None:
    print("asr", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "asr.cli", *map(str, arguments)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", type=Path)
    parser.add_argument("-o", "--runs", type=Path, default=Path("runs"))
    parser.add_argument("--only", nargs="*", help="train only these")
    options = parser.parse_args()
    plan = yaml.safe_load(options.variants.read_text())
    variants = plan["variants"]
    for name in options.only if options.only is not None else variants:
        overrides = [f"name={name}", *plan["shared"], *changes(variants, name)]
        asr("train", plan["recipe"], *overrides, "-o", options.runs)
        c = load_recipe(plan["recipe"], overrides).config
        for test in c.data.test:
            to = options.runs / name / "score" / Path(test).stem
            if not (to / "score.json").exists():
                asr("score", options.runs / name / "model.asr", c.data_folder / test, "-o", to)

    table = Table(
        "variant", "test WER %", "95% interval", "against the first", "dev WER %", "train s"
    )
    first = None
    for name in variants:
        folder = options.runs / name
        try:
            found = json.loads((folder / "score/test/score.json").read_text())
        except FileNotFoundError:
            continue
        last = load_checkpoint(checkpoint_files(folder / "checkpoints")[0], {})
        first = first or found["wer"]
        low, high = found["wer_interval_95"]
        table.add_row(
            name,
            f"{found['wer']:.2%}".rstrip("%"),
            f"{low:.2%} to {high:.2%}".replace("%", ""),
            f"{found['wer'] / first - 1:+.1%}",
            f"{last['best'][0]:.2%}".rstrip("%"),
            f"{last['train_s']:.0f}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
