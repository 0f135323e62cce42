"""Divide utterances into train, dev and test sets that share no speaker, text or column value."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from asr.config import TextConfig
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.text.normalize import normalize

FEWEST_SPEAKERS = 5  # with fewer, sets are divided by text instead of by speaker
TRAIN, DEV, TEST = 0, 1, 2
_COMPARED = TextConfig()  # texts are equal if they are equal after this normalization
EACH = "utterance"  # each utterance is drawn by itself


@dataclass(frozen=True)
class SplitSettings:
    """The sizes of dev and test, and what no two sets may share.

    dev, test: below 1, a share of the audio; from 1 on, a number of utterances; 0, no such set.
    by: "speaker", "text", "utterance" or the name of a column; None: the speaker if every utterance
    has one and there are at least `FEWEST_SPEAKERS`, otherwise the text. The same seed always gives
    the same sets.
    """

    dev: float = 0.1
    test: float = 0.1
    by: str | None = None
    seed: int = 0

    def __post_init__(self):
        for name, amount in (("dev", self.dev), ("test", self.test)):
            if amount < 0 or (amount > 1 and amount != int(amount)):
                raise UserError(
                    f"{name} {amount:g}: not a share below 1, a whole number of utterances or 0"
                )
        if self.dev < 1 and self.test < 1 and self.dev + self.test >= 1:
            raise UserError(f"dev {self.dev:g} and test {self.test:g} leave nothing for training")


@dataclass(frozen=True)
class Split:
    train: list[Utterance]
    dev: list[Utterance]
    test: list[Utterance]
    by: str  # what no two sets share: "speaker", "text" or a column


def split(utterances: Iterable[Utterance], settings: SplitSettings = SplitSettings()) -> Split:
    """Three sets, each in the order of the utterances, whose durations must be known.

    Raises `UserError` if there are too few speakers, texts or values for three sets, or if an
    utterance has no value.
    """
    utterances = list(utterances)
    by = settings.by or default_key(u.speaker for u in utterances)
    keys = np.array([key_of(value_of(u, by), settings.seed) for u in utterances], np.uint64)
    lengths_s = np.array([u.duration_s for u in utterances])
    sets = assign(keys, lengths_s, settings, by)
    parts = [[u for u, s in zip(utterances, sets, strict=True) if s == n] for n in range(3)]
    return Split(*parts, by)


def default_key(speakers: Iterable[str | None]) -> str:
    found = set(speakers)
    return "speaker" if None not in found and len(found) >= FEWEST_SPEAKERS else "text"


def value_of(utterance: Utterance, by: str) -> str:
    """The value that an utterance shares only with utterances of its own set.

    Raises `UserError` if it has none.
    """
    if by == "text":
        return normalize(utterance.text or "", _COMPARED)
    if by == EACH:
        return utterance.id
    value = utterance.speaker if by == "speaker" else utterance.extra.get(by)
    if value is None:
        raise UserError(f"{utterance.id}: no {by} to split by; choose another column")
    return str(value)


def key_of(value: str, seed: int) -> int:
    """A 64-bit hash, which orders values at random, and in the same way in each run."""
    salted = value if seed == 0 else f"{seed}\0{value}"
    digest = hashlib.sha256(salted.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def assign(keys: np.ndarray, lengths_s: np.ndarray, settings: SplitSettings, by: str) -> np.ndarray:
    """The set of each utterance: (n,) int8 of TRAIN, DEV and TEST.

    keys: (n,) uint64; utterances with the same key get the same set. lengths_s: (n,). by: the name
    of the keys in messages. Raises `UserError` if there are fewer keys than sets.
    """
    names, group_of = np.unique(keys, return_inverse=True)  # sorted, which is a random order
    counts = np.bincount(group_of, minlength=len(names))
    seconds = np.bincount(group_of, lengths_s, minlength=len(names))
    wanted = [(n, a) for n, a in ((TEST, settings.test), (DEV, settings.dev)) if a]
    if len(names) < len(wanted) + 1:
        raise UserError(f"{len(names)} different {by}s are too few for {len(wanted) + 1} sets")
    # An amount below 1 is a share of the seconds, any other a number of utterances.
    targets = [
        (n, seconds, amount * seconds.sum()) if amount < 1 else (n, counts, amount)
        for n, amount in wanted
    ]
    taken = dict.fromkeys((n for n, _ in wanted), 0.0)
    sets = np.full(len(names), TRAIN, np.int8)
    for group in range(len(names)):
        for n, sizes, target in targets:
            # A group is taken if it brings the set nearer to its target; large ones stay in train.
            if taken[n] + sizes[group] / 2 < target:
                taken[n] += sizes[group]
                sets[group] = n
                break
    for n in [n for n, _ in wanted] + [TRAIN]:
        if not (sets == n).any():
            most = np.bincount(sets, minlength=3).argmax()
            groups = np.flatnonzero(sets == most)
            pick = np.argmax if n == TRAIN else np.argmin
            sets[groups[pick(seconds[groups])]] = n
    return sets[group_of]
