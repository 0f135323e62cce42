"""Which voice speaks which text: drawn from a seed, for each text by itself."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from asr.errors import UserError
from asr.synthesis.engine import VoiceEngine, generator


@dataclass(frozen=True)
class Voice:
    """A voice of an engine."""

    engine: VoiceEngine
    name: str

    @property
    def speaker(self) -> str:
        """Its name in a manifest."""
        return f"{self.engine.name}-{self.name}"


@dataclass(frozen=True)
class Take:
    """A text that a voice is to speak."""

    id: str  # the speaker, and a hash of all that determines the samples
    text: str
    voice: Voice
    seed: int


def choose_voices(engines: Sequence[VoiceEngine], count: int, seed: int) -> list[Voice]:
    """`count` voices, as many of each engine as of the others where they have enough.

    Fewer if the engines together have fewer.
    """
    if count < 1:
        raise UserError(f"voices: {count} is not a positive number")
    ranked = []
    for engine in engines:
        names = engine.voices()
        order = generator(seed, engine.name, "voices").permutation(len(names))
        ranked.append([Voice(engine, names[i]) for i in order])
    return list(islice(_alternating(ranked), count))


def plan(texts: Iterable[str], voices: Sequence[Voice], seed: int, takes: int) -> Iterator[Take]:
    """`takes` utterances of each text by different voices, drawn from all engines alike.

    What is drawn for a text depends on `voices`, `seed` and how often the text occurred before, not
    on other texts: a corpus can be extended. Raises `UserError` if there are too few voices.
    """
    if not 1 <= takes <= len(voices):
        raise UserError(
            f"takes: {takes} of each text by different voices, of which there are {len(voices)}; "
            "choose more voices or fewer takes"
        )
    by_engine: dict[VoiceEngine, list[Voice]] = {}
    for voice in voices:
        by_engine.setdefault(voice.engine, []).append(voice)
    occurred: Counter[str] = Counter()
    for text in texts:
        draw = generator(seed, text, occurred[text])
        for voice in islice(_alternating(_shuffled(list(by_engine.values()), draw)), takes):
            key = json.dumps([seed, voice.speaker, text, occurred[text]])
            digest = hashlib.sha256(key.encode()).digest()
            name = f"{voice.speaker}-{digest[:6].hex()}"
            yield Take(name, text, voice, int.from_bytes(digest[8:15], "little"))
        occurred[text] += 1


def _shuffled(groups: list[list[Voice]], draw: np.random.Generator) -> list[list[Voice]]:
    order = draw.permutation(len(groups))
    return [[groups[g][i] for i in draw.permutation(len(groups[g]))] for g in order]


def _alternating(groups: Sequence[Sequence[Voice]]) -> Iterator[Voice]:
    """The first of each group, the second of each, and so on."""
    for rank in range(max(map(len, groups), default=0)):
        yield from (group[rank] for group in groups if rank < len(group))
