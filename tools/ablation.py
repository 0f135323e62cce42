"""Ablation: train the variants of a recipe with several seeds, and compare them in one table.

    python tools/ablation.py VARIANTS.yaml [-o runs] [--only NAME ...] [--table]

VARIANTS.yaml names the recipe, the settings that all variants share, and the changes of each
variant as `section.key=value`. With `on: NAME`, a variant also has the changes of variant NAME.
With `seeds: [0, 1]`, every variant is trained once with each seed; with `sets`, a mapping from a
name to changes, also once on each set. A run is called NAME, then -SET and -seedN if these are
given. Every run prepares its corpus unless that is done.

Trained variants are skipped and interrupted ones are resumed, so the same command continues after
any stop. The table has all variants whose runs are all finished. It compares each with the first by
a paired bootstrap over all sets and seeds; --table prints it without training.
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
from asr.scoring.compare import compare
from asr.scoring.wer import Pair, score
from asr.training.checkpoint import checkpoint_files, load_checkpoint

COLUMNS = ("variant", "WER %", "95% interval", "each run", "against the first", "train s")
Runs = dict[str, list[str]]  # name of a run: its overrides


def changes(variants: dict, name: str) -> list[str]:
    """The overrides of a variant, after those of the variant on which it builds."""
    variant = variants[name] or {}
    below = changes(variants, variant["on"]) if "on" in variant else []
    return below + variant.get("changes", [])


def runs_of(plan: dict, variant: str) -> Runs:
    """The runs of a variant: one for each set and seed."""
    runs = {variant: [*plan.get("shared", []), *changes(plan["variants"], variant)]}
    if sets := plan.get("sets"):
        runs = {f"{run}-{s}": [*o, *sets[s]] for run, o in runs.items() for s in sets}
    if seeds := plan.get("seeds"):
        runs = {f"{run}-seed{n}": [*o, f"seed={n}"] for run, o in runs.items() for n in seeds}
    return {run: [f"name={run}", *overrides] for run, overrides in runs.items()}


def train(recipe: str, runs: Runs, folder: Path) -> None:
    for overrides in runs.values():
        command = ["asr", "run", recipe, *overrides, "-o", str(folder)]
        print(*command, flush=True)
        subprocess.run([sys.executable, "-m", "asr.cli", *command[1:]], check=True)


def hypotheses(recipe: str, runs: Runs, folder: Path) -> list[list[Pair]] | None:
    """For each run, its pairs on the first test manifest; None unless all runs are scored."""
    found = []
    for name, overrides in runs.items():
        test = Path(load_recipe(recipe, overrides).config.data.test[0]).stem
        path = folder / name / "score" / test / "hypotheses.jsonl"
        if not path.exists():
            return None
        rows = map(json.loads, path.read_text("utf-8").splitlines())
        found.append(
            [Pair(r["id"], r["reference"], r["hypothesis"], r.get("speaker")) for r in rows]
        )
    return found


def train_s(runs: Runs, folder: Path) -> float:
    """The mean time that the runs trained."""
    newest = [checkpoint_files(folder / name / "checkpoints")[0] for name in runs]
    return sum(load_checkpoint(path, {})["train_s"] for path in newest) / len(runs)


def joined(pairs: list[list[Pair]]) -> list[Pair]:
    """The pairs of all runs. An utterance has the same id with every seed, so that the bootstrap
    draws it with all of its hypotheses."""
    return [pair for run in pairs for pair in run]


def table(plan: dict, folder: Path) -> Table:
    made, first = Table(*COLUMNS), None
    for name in plan["variants"]:
        runs = runs_of(plan, name)
        pairs = hypotheses(plan["recipe"], runs, folder)
        if pairs is None:
            continue
        total = score(joined(pairs))
        first = first or pairs
        against = ""
        if first is not pairs:
            found = compare(joined(first), joined(pairs))
            against = f"{percent(found.difference, '+')} ({span(found.interval, '+')})"
        each = " ".join(percent(score(run).wer) for run in pairs)
        interval = span(total.interval)
        seconds = f"{train_s(runs, folder):.0f}"
        made.add_row(name, percent(total.wer), interval, each, against, seconds)
    return made


def percent(rate: float, sign: str = "") -> str:
    return f"{100 * rate:{sign}.1f}"


def span(interval: tuple[float, float], sign: str = "") -> str:
    low, high = interval
    return f"{percent(low, sign)} to {percent(high, sign)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", type=Path)
    parser.add_argument("-o", "--runs", type=Path, default=Path("runs"))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="train only these")
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    plan = yaml.safe_load(options.variants.read_text("utf-8"))
    unknown = set(options.only or []) - set(plan["variants"])
    if unknown:
        parser.error(f"--only: {options.variants} has no variant {', '.join(sorted(unknown))}")
    for name in [] if options.table else options.only or plan["variants"]:
        train(plan["recipe"], runs_of(plan, name), options.runs)
    Console(width=130).print(table(plan, options.runs))


if __name__ == "__main__":
    main()
