"""Utterances -> train, dev and test sets that share no speaker, text or value of a column."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from asr.config import TextConfig
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.text.normalize import normalize

FEWEST_SPEAKERS = 5  # with fewer, whole texts are kept apart instead of whole speakers
TRAIN, DEV, TEST = 0, 1, 2
_COMPARED = TextConfig()  # how texts are compared
EACH = "utterance"  # nothing is kept together


@dataclass(frozen=True)
class SplitSettings:
    """How much to take for dev and test, and what no two sets may share.

    `dev` and `test` below 1 are shares of the audio; from 1 on they are numbers of utterances;
    with 0 there is no such set. `by` is "speaker", "text", "utterance" or the name of a column;
    None: the speaker where every utterance has one and there are `FEWEST_SPEAKERS`, otherwise the
    text. The same seed always gives the same split.
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
    by: str  # what no two of them share: "speaker", "text" or a column


def split(utterances: Iterable[Utterance], settings: SplitSettings = SplitSettings()) -> Split:
    """Three sets, each in the order of the utterances, whose durations must be known.

    Raises `UserError` when there is too little to split, or a value of the column is missing.
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
    """What an utterance has in common with those that go to the same set.

    Raises `UserError` where it has none.
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
    """64 bits: an order that no property of the recordings has a part in, and that stays."""
    salted = value if seed == 0 else f"{seed}\0{value}"
    digest = hashlib.sha256(salted.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def assign(keys: np.ndarray, lengths_s: np.ndarray, settings: SplitSettings, by: str) -> np.ndarray:
    """keys (n,) uint64, lengths_s (n,) -> (n,) int8 of TRAIN, DEV and TEST.

    Utterances with the same key are in the same set. Raises `UserError` when there are too few.
    """
    names, group_of = np.unique(keys, return_inverse=True)  # sorted: in the order of `key_of`
    counts = np.bincount(group_of, minlength=len(names))
    seconds = np.bincount(group_of, lengths_s, minlength=len(names))
    wanted = [(n, a) for n, a in ((TEST, settings.test), (DEV, settings.dev)) if a]
    if len(names) < len(wanted) + 1:
        raise UserError(f"{len(names)} different {by}s are too few for {len(wanted) + 1} sets")
    # A share is of the seconds, a number counts utterances.
    targets = [
        (n, seconds, amount * seconds.sum()) if amount < 1 else (n, counts, amount)
        for n, amount in wanted
    ]
    taken = dict.fromkeys((n for n, _ in wanted), 0.0)
    sets = np.full(len(names), TRAIN, np.int8)
    for group in range(len(names)):
        for n, sizes, target in targets:
            # Taken when that brings a set nearer to its size: what is too large is for training.
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
