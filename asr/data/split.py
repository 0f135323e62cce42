"""Utterances -> train, dev and test sets that share no speaker (or no text)."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from asr.config import TextConfig
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.text.normalize import normalize

FEWEST_SPEAKERS = 5  # with fewer, whole texts are kept apart instead of whole speakers


@dataclass(frozen=True)
class Split:
    train: list[Utterance]
    dev: list[Utterance]
    test: list[Utterance]
    by: str  # what no two of them share: "speaker" or "text"


def split(utterances: Iterable[Utterance], dev: float, test: float) -> Split:
    """Set shares of the audio apart for dev and test; the same input always gives the same split.

    Whole speakers where every utterance has one and there are `FEWEST_SPEAKERS`; otherwise all
    utterances of a text, whoever reads it. Raises `UserError` when there is too little to split.
    """
    utterances = list(utterances)
    speakers = {u.speaker for u in utterances}
    by = "speaker" if None not in speakers and len(speakers) >= FEWEST_SPEAKERS else "text"
    groups: dict[str, list[Utterance]] = defaultdict(list)
    for u in utterances:
        groups[u.speaker if by == "speaker" else normalize(u.text or "", TextConfig())].append(u)
    if len(groups) < 3:
        raise UserError(f"{len(groups)} different {by}s are too few for train, dev and test")
    # By hash: an order that no property of the recordings has a part in, and that stays.
    names = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).digest())
    length_s = {name: sum(u.duration_s for u in groups[name]) for name in names}
    total_s = sum(length_s.values())
    chosen: dict[str, list[str]] = {"test": [], "dev": [], "train": []}
    for name in names:
        for part, share in (("test", test), ("dev", dev)):
            # Taken when that brings a part nearer to its share: what is too large is for training.
            if sum(length_s[n] for n in chosen[part]) + length_s[name] / 2 < share * total_s:
                chosen[part].append(name)
                break
        else:
            chosen["train"].append(name)
    for part in ("test", "dev", "train"):
        if not chosen[part]:
            most = max(chosen.values(), key=len)
            pick = max if part == "train" else min
            moved = pick(most, key=length_s.__getitem__)
            most.remove(moved)
            chosen[part].append(moved)
    parts = {part: [u for name in chosen[part] for u in groups[name]] for part in chosen}
    return Split(parts["train"], parts["dev"], parts["test"], by)
