"""The stage cache: it records the finished stages of a run with the digests of their inputs.

A stage whose inputs have not changed is skipped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from asr import files
from asr.data import shards
from asr.errors import UserError


class StageCache:
    """A JSON file with the inputs of each finished stage.

    report: called with the name of a stage and the reason why it is skipped or runs again.
    """

    def __init__(self, path: Path, report: Callable[[str, str], None]):
        self.path, self._report = path, report
        self.read()

    def read(self) -> None:
        """Read the file again: another process may have written it."""
        try:
            self.stages: dict[str, Any] = json.loads(self.path.read_text())
        except FileNotFoundError:
            self.stages = {}

    def done(self, stage: str, inputs: dict, outputs: Sequence[Path]) -> bool:
        """Whether a stage can be skipped: same inputs as last time, and every output exists."""
        before = self.stages.get(stage)
        missing = [path for path in outputs if not path.exists()]
        if before == inputs and not missing:
            self._report(stage, "skipped: done, nothing has changed")
            return True
        if before is not None:
            changed = ", ".join(differences(before, inputs))
            reason = f"{changed} changed" if changed else f"{missing[0]} is missing"
            self._report(stage, f"runs again: {reason}")
        return False

    def record(self, stage: str, inputs: dict) -> None:
        """Record that a stage is done."""
        self.stages[stage] = inputs
        files.write(self.path, json.dumps(self.stages, indent=1) + "\n")

    def forget(self, stage: str) -> None:
        """Forget the stage, and every stage whose name begins with its name."""
        self.stages = {k: v for k, v in self.stages.items() if not k.startswith(stage)}


def digest(path: Path) -> str:
    """The digest of a file, or of the summary of a folder of shards, which covers all texts."""
    if path.is_dir():
        shards.Shards(path)  # writes the summary if there is none
        path = path / shards.SUMMARY
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None


def differences(before: Any, now: Any, at: str = "") -> list[str]:
    """The dotted names of the values that differ between two nested dicts."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            name
            for key in {**before, **now}
            for name in differences(before.get(key), now.get(key), f"{at}.{key}" if at else key)
        ]
    return [] if before == now else [at]
