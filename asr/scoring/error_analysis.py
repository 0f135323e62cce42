"""Where the errors are: by column, by word, in words that training did not know."""

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
MOST_NUMBERS = 12  # distinct numbers of a column that are groups of their own
NAMES = ("speaker", "language")  # never numbers, though they may be written in digits
RANGES = 5  # of alike numbers of utterances, where there are more
UNKNOWN = "(none)"  # of utterances without the column


@dataclass(frozen=True)
class Confusions:
    """How often which word was taken for which, left out, or put in; commonest first."""

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
    """Reference words that are not among the known ones, and how the others fared."""

    words: int
    errors: int  # known words that were substituted or deleted
    unknown: int
    unknown_errors: int
    examples: tuple[str, ...]  # the commonest unknown words

    @property
    def share(self) -> float:
        """Of unknown words among those of the references."""
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
    """The commonest errors of each kind, `most` of each; those as common in order of letters."""
    counts: tuple[Counter, Counter, Counter] = Counter(), Counter(), Counter()
    for pair in pairs:
        for said, heard in aligned(pair.reference, pair.hypothesis):
            if said is None:
                counts[2][heard] += 1
            elif heard is None:
                counts[1][said] += 1
            elif said != heard:
                counts[0][said, heard] += 1
    return Confusions(*(sorted(c.items(), key=lambda i: (-i[1], i[0]))[:most] for c in counts))


def vocabulary(pairs: Iterable[Pair], known: Collection[str]) -> Vocabulary:
    """What share of the reference words is unknown, and how many of both kinds are wrong.

    Insertions belong to no reference word and are not counted.
    """
    words, errors, unknown_errors = 0, 0, 0
    unknown: Counter = Counter()
    for pair in pairs:
        for said, heard in aligned(pair.reference, pair.hypothesis):
            if said is None:
                continue
            words += 1
            if said in known:
                errors += said != heard
            else:
                unknown[said] += 1
                unknown_errors += said != heard
    examples = sorted(unknown, key=lambda word: (-unknown[word], word))[:5]
    return Vocabulary(words, errors, unknown.total(), unknown_errors, tuple(examples))


def by_column(
    columns: Sequence[dict[str, Any]],
    name: str,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, list[int]]:
    """For each value of a column, in the order of the values: the places of the utterances.

    columns: (N,) what is told of each utterance. `duration` and `snr` are measured from the
    audio where the column is not there, and counted in ranges. So is any column of more than 12
    different numbers, in five ranges of alike numbers of utterances. Raises `UserError` when no
    utterance has the column.
    """
    values = []
    for column in columns:
        values.append(_value(column, name))
        progress()
    if all(value is None for value in values):
        there = sorted({key for column in columns for key in column})
        raise UserError(
            f"--by {name}: no utterance has it; there is {', '.join(there) or 'no column'}, and "
            "duration and snr are measured where there is audio"
        )
    places = defaultdict(list)
    for place, label in enumerate(_labels(values, name)):
        places[label].append(place)
    return {label[1]: places[label] for label in sorted(places)}


def _value(column: dict[str, Any], name: str) -> Any:
    """None where it is not known."""
    if name in column or name not in EDGES:
        return column.get(name)
    if name == "duration" and "duration_s" in column:
        return column["duration_s"]
    if "audio" not in column:
        return None
    start_s, duration_s = column.get("start_s", 0.0), column.get("duration_s")
    try:
        info = audio.info(column["audio"])
        if name == "duration":
            return info.duration_s - start_s
        samples = audio.read(column["audio"], info.rate_hz, start_s, duration_s)
    except UserError:  # whoever transcribes it says so
        return None
    found = snr_db(samples, info.rate_hz)
    return None if math.isnan(found) else found


def _labels(values: Sequence[Any], name: str) -> list[tuple[float, str]]:
    """What each value is counted as, with its place in the table."""
    numbers = [_number(value) for value in values]
    known = [number for number in numbers if number is not None]
    if name in NAMES or len(known) < sum(value is not None for value in values):
        return [(0.0, str(v)) if v is not None else (math.inf, UNKNOWN) for v in values]
    if name not in EDGES and len(set(known)) <= MOST_NUMBERS:
        return [
            (n, str(v)) if n is not None else (math.inf, UNKNOWN)
            for n, v in zip(numbers, values, strict=True)
        ]
    shares = np.arange(1, RANGES) / RANGES
    edges = [float(e) for e in EDGES.get(name, np.unique(np.quantile(known, shares)))]
    unit = f" {UNITS[name]}" if name in UNITS else ""
    texts = [f"below {edges[0]:g}{unit}"]
    texts += [f"{low:g} to {high:g}{unit}" for low, high in pairwise(edges)]
    texts.append(f"{edges[-1]:g}{unit} and more")
    places = [None if n is None else bisect(edges, n) for n in numbers]
    return [(math.inf, UNKNOWN) if place is None else (place, texts[place]) for place in places]


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None
