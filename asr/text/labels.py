"""The classes of a model that classifies: the counterpart of a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from asr.config.data import LABELS
from asr.errors import UserError

SEPARATOR = "\n"  # between the labels of an utterance; no label contains it


class Labels:
    """The classes of the training set; `pieces` has their names by id, in the order of sorting."""

    kind = LABELS

    def __init__(self, pieces: Sequence[str]):
        self.pieces = list(pieces)
        self.alphabet = set(self.pieces)
        self._ids = {label: i for i, label in enumerate(self.pieces)}

    @classmethod
    def train(cls, texts: Iterable[str]) -> Labels:
        """The labels in `texts`, which has those of one utterance each, joined by `SEPARATOR`.

        Raises `UserError` if there are fewer than two.
        """
        found = {label for text in texts for label in text.split(SEPARATOR) if label}
        if len(found) < 2:
            named = f"only {min(found)!r}" if found else "no label"
            raise UserError(
                f"classify.label: the training manifest has {named} in this column; a model needs "
                "at least two classes"
            )
        return cls(sorted(found))

    def encode(self, text: str) -> list[int]:
        """Ids of labels joined by `SEPARATOR`; raises ValueError for a label that is not known."""
        labels = [label for label in text.split(SEPARATOR) if label]
        if unknown := [label for label in labels if label not in self._ids]:
            raise ValueError(f"label {unknown[0]!r} is not one of the {len(self.pieces)} classes")
        return [self._ids[label] for label in labels]

    def to_bytes(self) -> bytes:
        return json.dumps({"labels": self.pieces}, ensure_ascii=False).encode()
