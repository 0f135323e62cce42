"""Which stages of a run are done, and with what: unchanged ones are skipped, others say why not."""

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
    """The inputs of each stage as it was finished with them, in a JSON file."""

    def __init__(self, path: Path, say: Callable[[str, str], None]):
        """say: told a stage's name and why it is skipped or runs again."""
        self.path, self._say = path, say
        self.read()

    def read(self) -> None:
        try:
            self.stages: dict[str, Any] = json.loads(self.path.read_text())
        except FileNotFoundError:
            self.stages = {}

    def done(self, stage: str, inputs: dict, outputs: Sequence[Path]) -> bool:
        """Whether a stage can be skipped."""
        before = self.stages.get(stage)
        missing = [path for path in outputs if not path.exists()]
        if before == inputs and not missing:
            self._say(stage, "skipped: done, nothing has changed")
            return True
        if before is not None:
            changed = ", ".join(differences(before, inputs))
            self._say(
                stage, f"runs again: {changed + ' changed' if changed else f'{missing[0]} is gone'}"
            )
        return False

    def note(self, stage: str, inputs: dict) -> None:
        self.stages[stage] = inputs
        files.write(self.path, json.dumps(self.stages, indent=1) + "\n")

    def forget(self, stage: str) -> None:
        """Of the stage and those whose names begin with it."""
        self.stages = {k: v for k, v in self.stages.items() if not k.startswith(stage)}


def digest(path: Path) -> str:
    """Of a file, or of a folder of shards: its summary has those of all texts."""
    if path.is_dir():
        shards.Shards(path)  # writes the summary where there is none
        path = path / shards.SUMMARY
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None


def differences(before: Any, now: Any, at: str = "") -> list[str]:
    """Dotted names of what differs between two trees of plain values."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            name
            for key in {**before, **now}
            for name in differences(before.get(key), now.get(key), f"{at}.{key}" if at else key)
        ]
    return [] if before == now else [at]
