"""The settings of a recipe that is a grammar alone: `asr run my-home.yaml`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from asr.errors import UserError
from asr.pipeline.starting_model import kept_settings

DEFAULTS = Path(__file__).with_name("commands.yaml")
INIT_FROM = "train.init_from="
FINE_TUNING = {"epochs": 3, "batch_s": 60, "learning_rate": 3.0e-4, "validate_every": 1}


def is_grammar(path: Path) -> bool:
    """Whether a YAML file has the keys of a grammar and not those of a recipe."""
    try:
        contents = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # whoever reads it as a recipe says what is wrong
    return (
        isinstance(contents, dict)
        and bool({"intents", "sentences"} & contents.keys())
        and "name" not in contents
    )


def command_settings(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The settings of a recipe for a grammar.

    With an override of `train.init_from`, features, tokenizer and model are those of that file, so
    that its weights fit.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")
    if not name:
        raise UserError(f"{path}: give the file a name with letters, such as my-home.yaml")
    values = yaml.safe_load(DEFAULTS.read_text("utf-8"))
    given = [text.removeprefix(INIT_FROM) for text in overrides if text.startswith(INIT_FROM)]
    if given:
        values |= kept_settings(given[-1])
        values["train"] = dict(FINE_TUNING)
    return values | {"name": name, "commands": {"grammar": path.name}}
