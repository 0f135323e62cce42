"""Praat's TextGrid, in its long and its short text form.

https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from asr.data.importers.base import text_of
from asr.data.importers.segments import TimedText, join_words
from asr.errors import UserError

# Tokens of both forms: texts in quotes, in which "" is one quote, and numbers. The rest is ignored.
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<![\w.\[])(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w\]])')
WORD_TIERS = ("word", "words")
# Tiers of parts of words, which are no transcripts.
PART_TIERS = re.compile(r"phone|phoneme|phon\b|syll|segment|mau|kan|tone|pitch|pos\b|lemma", re.I)
SILENCES = {"", "sil", "sp", "spn", "<sil>", "<eps>", "#", "<p:>", "<p>", "xxx"}


@dataclass(frozen=True)
class Tier:
    name: str
    intervals: list[TimedText]


def read_textgrid(path: Path, tier: str | None = None) -> Iterator[TimedText]:
    """The intervals of the tier with the transcript, without silences; words are joined.

    Tiers named `X - words`, as the Montreal Forced Aligner writes them, are the words of speaker X.
    Raises `UserError` if the file is damaged or several tiers could be the transcript.
    """
    for found in _transcripts(read_tiers(path), tier, path):
        kept = [i for i in found.intervals if i.text.strip().lower() not in SILENCES]
        speaker, _, kind = found.name.rpartition(" - ")
        if kind.strip().lower() in WORD_TIERS:
            words = (replace(word, speaker=speaker or None) for word in kept)
            yield from join_words(words)
        else:
            yield from kept


def _transcripts(tiers: list[Tier], named: str | None, path: Path) -> list[Tier]:
    if named is not None:
        found = [tier for tier in tiers if tier.name == named]
        if not found:
            names = ", ".join(tier.name for tier in tiers)
            raise UserError(f"{path}: no interval tier {named!r}; the tiers are {names}")
        return found
    tiers = [tier for tier in tiers if not PART_TIERS.search(tier.name)]
    words = [t for t in tiers if t.name.rpartition(" - ")[2].strip().lower() in WORD_TIERS]
    others = [tier for tier in tiers if tier not in words]
    if len(others) > 1:
        names = ", ".join(tier.name for tier in others)
        raise UserError(f"{path}: the tiers {names} could all be the transcript; name one of them")
    if not (others or words):
        raise UserError(f"{path}: no interval tier with a transcript")
    return others or words


def read_tiers(path: Path) -> list[Tier]:
    """The interval tiers, without point tiers. Raises `UserError` if the file is damaged."""
    text = text_of(path)
    if "ooTextFile" not in text[:200]:
        raise UserError(f"{path}: not a TextGrid in Praat's text form; save it as a text file")
    tokens = iter(m.groups() for m in _TOKEN.finditer(text))

    def string() -> str:
        return next(tokens)[0].replace('""', '"')

    def number() -> float:
        return float(next(tokens)[1])

    tiers = []
    try:
        string(), string(), number(), number()  # ooTextFile, TextGrid, from, to
        for _ in range(int(number())):
            kind, name = string(), string()
            number(), number()
            intervals = []
            for _ in range(int(number())):
                start_s = number()
                end_s = number() if kind == "IntervalTier" else start_s
                intervals.append(TimedText(start_s, end_s, string()))
            if kind == "IntervalTier":
                tiers.append(Tier(name, intervals))
    except (StopIteration, TypeError, AttributeError, ValueError):
        raise UserError(f"{path}: a damaged TextGrid; save it again") from None
    return tiers
