"""Prepare ESC-50, 2000 recordings of 5 seconds of 50 kinds of sounds, or a set in its layout.

By Karol J. Piczak (ACM Multimedia 2015), CC-BY-NC-3.0, <https://github.com/karolpiczak/ESC-50>. The
sounds of one original recording are in one of five folds, so that no fold shares a recording.

    python recipes/sounds/prepare.py OUT --audio ESC-50-master [--fold 5] [--subset all]

The folder has meta/esc50.csv (columns filename, fold, category, esc10) and audio/. One fold is the
test set, the fold before it the dev set (before fold 1 comes 5), the others train. The subset esc10
has ten categories.
"""

from __future__ import annotations

import csv
from pathlib import Path

from asr.data.manifest import Utterance, write
from asr.errors import UserError
from asr.pipeline.prepare_cli import main

FOLDS = 5


def read_esc50(folder: Path, subset: str) -> list[Utterance]:
    """The recordings, with the columns `label` and `fold`."""
    table = folder / "meta" / "esc50.csv"
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise UserError(f"{table}: no such file; --audio is the folder of ESC-50") from None
    missing = {"filename", "fold", "category", "esc10"} - set(rows[0] if rows else ())
    if missing:
        raise UserError(f"{table}: no column {min(missing)!r}")
    return [
        Utterance(
            Path(row["filename"]).stem,
            str((folder / "audio" / row["filename"]).resolve()),
            extra={"label": row["category"].replace("_", " "), "fold": int(row["fold"])},
        )
        for row in rows
        if subset == "all" or row["esc10"].lower() == "true"
    ]


def prepare(out: Path, audio: Path, fold: int, subset: str) -> None:
    """Write the manifests; raises `UserError` if a set would be empty."""
    recordings = read_esc50(audio, subset)
    dev = fold - 1 or FOLDS
    sets = {
        "train": [u for u in recordings if u.extra["fold"] not in (fold, dev)],
        "dev": [u for u in recordings if u.extra["fold"] == dev],
        "test": [u for u in recordings if u.extra["fold"] == fold],
    }
    for name, utterances in sets.items():
        if not utterances:
            raise UserError(f"{audio}: has no recording for {name}")
        write(out / f"{name}.jsonl", utterances)
        print(f"{name}: {len(utterances)} recordings")


if __name__ == "__main__":
    main(
        prepare,
        __doc__,
        {
            "--audio": {"type": Path, "required": True, "help": "the folder of ESC-50"},
            "--fold": {"type": int, "default": FOLDS, "choices": range(1, FOLDS + 1)},
            "--subset": {"default": "all", "choices": ["all", "esc10"]},
        },
    )
