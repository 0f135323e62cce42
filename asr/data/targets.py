"""What a model is to output for an utterance: its text, or its classes.

This is the only place of this package that knows the task. The units that encode the target are
`asr.text.tokenizer` for texts and `asr.text.labels` for classes.
"""

from __future__ import annotations

from typing import Any

from asr.config import Config
from asr.data.manifest import Utterance
from asr.text.labels import SEPARATOR
from asr.text.normalize import normalize

COLUMNS = ("id", "text", "speaker", "language")  # that may be labels, besides those of `extra`


def target_text(utterance: Utterance, config: Config) -> str:
    """The normalized text of an utterance, or its labels joined by `asr.text.labels.SEPARATOR`."""
    if config.task == "classify":
        return SEPARATOR.join(labels_of(utterance, config))
    return normalize(utterance.text or "", config.text)


def labels_of(utterance: Utterance, config: Config) -> list[str]:
    """The labels in the column `classify.label`: at most one, or any number with `multi_label`."""
    column = config.classify.label
    value: Any = utterance.extra.get(column)
    if value is None and column in COLUMNS:
        value = getattr(utterance, column)
    if not config.classify.multi_label:
        found = [value]
    elif isinstance(value, list):
        found = value
    else:
        found = str(value).split(";") if value is not None else []
    return [" ".join(str(label).split()) for label in found if label not in (None, "")]


def missing_target(utterance: Utterance, config: Config) -> str:
    """Why an utterance without a target cannot be used."""
    if config.task == "classify":
        return f"no label in the column {config.classify.label!r}"
    return f"no text is left of {utterance.text!r} after normalization"


def needs_target(config: Config) -> bool:
    """Whether an utterance must have a target; with `classify.multi_label` it may have none."""
    return not (config.task == "classify" and config.classify.multi_label)
