"""The settings of a run that starts from a model: `train.init_from`.

A model's weights fit only its own features, tokens and design. A recipe that starts from the
English model of the package therefore has these settings unless it gives others, so that
`train.init_from=english` is all that it needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from asr import config
from asr.config import Config
from asr.model import model_file
from asr.model.shipped import ENGLISH_NAME, model_path

KEPT = ("features", "text", "tokenizer", "model")  # sections that go on as they are
LEARNING_RATE = 5.0e-4  # half of the default, because the weights are not random


def kept_settings(name: str) -> dict[str, Any]:
    """The sections `KEPT` of the model file that `train.init_from` names."""
    values = model_file.load_model(model_path(name)).config.model_dump(mode="json")
    return {section: values[section] for section in KEPT}


def recipe_config(values: Any, source: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a recipe's values; with `train.init_from: english`, over that model's.

    source: the name of the recipe in error messages. Raises `UserError`.
    """
    c = config.parse(values, source, overrides)  # its errors name the recipe
    if c.train.init_from != ENGLISH_NAME:
        return c
    below = {**kept_settings(ENGLISH_NAME), "train": {"learning_rate": LEARNING_RATE}}
    return config.parse(below, source, [*_as_overrides(values), *overrides])


def _as_overrides(values: Mapping[str, Any]) -> list[str]:
    """Each setting of a recipe as `section.key=value`; JSON is YAML."""
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name in Config.sections():
            given |= {f"{name}.{key}": one for key, one in (value or {}).items()}
        else:
            given[name] = value
    return [f"{key}={json.dumps(value)}" for key, value in given.items()]
