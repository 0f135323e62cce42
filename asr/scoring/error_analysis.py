"""Errors by word, by manifest column, and for words outside the training vocabulary."""

from __future__ import annotations

import math
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from asr import audio
from asr.audio.snr import snr_db
from asr.errors import UserError
from asr.scoring.wer import Pair, aligned

EDGES = {"duration": (1, 2, 5, 10, 20, 30), "snr": (0, 5, 10, 15, 20, 30, 40)}  # s, dB
UNITS = {"duration": "s", "snr": "dB"}
MAX_DISTINCT = 12  # a numeric column with more distinct values is grouped into ranges
CATEGORICAL = ("speaker", "language")  # never numeric, though the values may be digits
RANGES = 5  # ranges of a numeric column, which hold equal numbers of utterances
UNKNOWN = "(none)"  # label of utterances that lack the column


@dataclass(frozen=True)
class Confusions:
    """Counts of each substitution, deletion and insertion, the most frequent first."""

    substitutions: list[tuple[tuple[str, str], int]]  # (reference, hypothesis)
    deletions: list[tuple[str, int]]
    insertions: list[tuple[str, int]]

    def to_dict(self) -> dict[str, list]:
        return {
            "substitutions": [[*words, count] for words, count in self.substitutions],
            "deletions": [list(item) for item in self.deletions],
            "insertions": [list(item) for item in self.insertions],
        }


@dataclass(frozen=True)
class Vocabulary:
    """Counts of the reference words, inside and outside of a vocabulary, and of their errors."""

    words: int  # reference words, known and unknown
    errors: int  # known words that were substituted or deleted
    unknown: int  # reference words outside the vocabulary
    unknown_errors: int  # unknown words that were substituted or deleted
    examples: tuple[str, ...]  # the most frequent unknown words

    @property
    def share(self) -> float:
        """The out-of-vocabulary rate, `unknown / words`."""
        return self.unknown / self.words if self.words else 0.0

    def __str__(self) -> str:
        text = f"{self.share:.2%} of {self.words} reference words are out of vocabulary"
        if self.unknown:
            known = self.words - self.unknown
            text += f" ({', '.join(self.examples)}{', ...' * (len(self.examples) > 4)}): "
            text += f"{self.unknown_errors / self.unknown:.2%} of them wrong"
            text += f", {self.errors / known:.2%} of the others" if known else ""
        return text

    def to_dict(self) -> dict[str, Any]:
        return {"share": self.share} | vars(self)


def confusions(pairs: Iterable[Pair], most: int) -> Confusions:
    """The `most` most frequent errors of each kind; ties are sorted alphabetically."""
    words = [w for pair in pairs for w in aligned(pair.reference, pair.hypothesis)]
    counts = (
        Counter((ref, hyp) for ref, hyp in words if None not in (ref, hyp) and ref != hyp),
        Counter(ref for ref, hyp in words if hyp is None),
        Counter(hyp for ref, hyp in words if ref is None),
    )
    return Confusions(*(sorted(c.items(), key=lambda i: (-i[1], i[0]))[:most] for c in counts))


def vocabulary(pairs: Iterable[Pair], known: Collection[str]) -> Vocabulary:
    """Count the reference words in and outside of `known`, and how many of each are wrong.

    Insertions belong to no reference word and are not counted.
    """
    words = [w for pair in pairs for w in aligned(pair.reference, pair.hypothesis)]
    words = [(ref, hyp) for ref, hyp in words if ref is not None]
    unknown = Counter(ref for ref, _ in words if ref not in known)
    examples = sorted(unknown, key=lambda word: (-unknown[word], word))[:5]
    return Vocabulary(
        words=len(words),
        errors=sum(ref != hyp for ref, hyp in words if ref in known),
        unknown=unknown.total(),
        unknown_errors=sum(ref != hyp for ref, hyp in words if ref not in known),
        examples=tuple(examples),
    )


def by_column(
    columns: Sequence[dict[str, Any]],
    name: str,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, list[int]]:
    """Group utterances by the value of a column: {value: indices of the utterances}, sorted.

    columns: (N,) the columns of each utterance. `duration` and `snr` are measured from the audio
    when there is no such column, and are grouped into fixed ranges (`EDGES`). A numeric column with
    more than `MAX_DISTINCT` distinct values is grouped into `RANGES` quantiles. Raises `UserError`
    when no utterance has the column.
    """
    values = []
    for row in columns:
        values.append(_value(row, name))
        progress()
    if all(value is None for value in values):
        present = sorted({key for row in columns for key in row})
        raise UserError(
            f"no utterance has a column {name!r}; the columns are: {', '.join(present) or 'none'}; "
            "duration and snr are measured if there is audio"
        )
    indices = defaultdict(list)
    for index, label in enumerate(_labels(values, name)):
        indices[label].append(index)
    return {label[1]: indices[label] for label in sorted(indices)}


def _value(row: dict[str, Any], name: str) -> Any:
    """The value of a column, measured from the audio if need be; None when it is unknown."""
    if name in row or name not in EDGES:
        return row.get(name)
    if name == "duration" and "duration_s" in row:
        return row["duration_s"]
    if "audio" not in row:
        return None
    start_s, duration_s = row.get("start_s", 0.0), row.get("duration_s")
    try:
        info = audio.info(row["audio"])
        if name == "duration":
            return info.duration_s - start_s
        samples = audio.read(row["audio"], info.rate_hz, start_s, duration_s)
    except UserError:  # unreadable audio is reported where it is transcribed
        return None
    found = snr_db(samples, info.rate_hz)
    return None if math.isnan(found) else found


def _labels(values: Sequence[Any], name: str) -> list[tuple[float, str]]:
    """(N,) the sort key and the label of the group of each value."""
    numbers = [_number(value) for value in values]
    known = [number for number in numbers if number is not None]
    if name in CATEGORICAL or len(known) < sum(value is not None for value in values):
        return [(0.0, str(v)) if v is not None else (math.inf, UNKNOWN) for v in values]
    if name not in EDGES and len(set(known)) <= MAX_DISTINCT:
        return [
            (n, str(v)) if n is not None else (math.inf, UNKNOWN)
            for n, v in zip(numbers, values, strict=True)
        ]
    quantiles = np.quantile(known, np.arange(1, RANGES) / RANGES)
    edges = [float(edge) for edge in EDGES.get(name, np.unique(quantiles))]
    unit = f" {UNITS[name]}" if name in UNITS else ""
    texts = [f"below {edges[0]:g}{unit}"]
    texts += [f"{low:g} to {high:g}{unit}" for low, high in pairwise(edges)]
    texts.append(f"{edges[-1]:g}{unit} and more")
    bins = [None if n is None else bisect(edges, n) for n in numbers]
    return [(math.inf, UNKNOWN) if i is None else (i, texts[i]) for i in bins]


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None
