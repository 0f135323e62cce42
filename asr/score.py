"""Word and character error rates with their interval, from pairs of texts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import jiwer
import numpy as np

from asr import files, manifest
from asr.config import TextConfig
from asr.errors import UserError
from asr.text import normalise

RESAMPLES = 2000  # of the bootstrap at least: an end moves by about 0.02 of the interval's width
BEYOND = 50  # resamples beyond each end, so that expanded ends move as little
MOST_RESAMPLES = 20_000
LEAST_SPEAKERS = 5  # fewer say too little about speakers to tell how far they differ


@dataclass(frozen=True)
class Pair:
    """A reference and what was recognised, both normalised."""

    id: str
    reference: str
    hypothesis: str
    speaker: str | None = None


@dataclass(frozen=True)
class Counts:
    """Edits that turn the reference into the hypothesis, in words or in characters."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference(self) -> int:
        """Words (or characters) of the reference."""
        return self.hits + self.substitutions + self.deletions

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


NOTHING = Counts(0, 0, 0, 0)


@dataclass(frozen=True)
class Score:
    """What `score` finds. Rates are shares: 0.05 is 5%."""

    wer: float
    interval: tuple[float, float]  # 95%
    resampled: str  # what the bootstrap draws: "speakers" or "utterances"
    cer: float
    words: Counts
    characters: Counts
    utterances: int
    wrong: int  # utterances with at least one error

    def __str__(self) -> str:
        low, high = self.interval
        w = self.words
        return (
            f"WER {self.wer:.2%} (95% interval {low:.2%} to {high:.2%}, bootstrap over "
            f"{self.resampled}), CER {self.cer:.2%}\n"
            f"{w.errors} errors in {w.reference} words: {w.substitutions} substituted, "
            f"{w.deletions} deleted, {w.insertions} inserted; "
            f"{self.wrong} of {self.utterances} utterances have one"
        )

    def to_dict(self) -> dict:
        return {
            "summary": str(self),
            "wer": _or_none(self.wer),
            "wer_interval_95": [_or_none(end) for end in self.interval],
            "resampled": self.resampled,
            "cer": _or_none(self.cer),
            "words": vars(self.words) | {"reference": self.words.reference},
            "characters": vars(self.characters) | {"reference": self.characters.reference},
            "utterances": self.utterances,
            "utterances_wrong": self.wrong,
        }


def _or_none(rate: float) -> float | None:
    """JSON has no infinity: what was inserted where nothing is said has no rate there."""
    return rate if math.isfinite(rate) else None


def wer(references: str | Sequence[str], hypotheses: str | Sequence[str]) -> float:
    """Word error rate of texts as they stand: all errors over all reference words.

    >>> wer("one two three four", "one too three")
    0.5
    """
    if isinstance(references, str) != isinstance(hypotheses, str):
        raise ValueError("references and hypotheses must both be texts or both be lists of texts")
    if isinstance(references, str):
        references, hypotheses = [references], [hypotheses]
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references, {len(hypotheses)} hypotheses")
    pairs = zip(references, hypotheses, strict=True)
    return _rate(sum((word_counts(said, heard) for said, heard in pairs), NOTHING))


def word_counts(reference: str, hypothesis: str) -> Counts:
    """Edits of the cheapest alignment of two texts' words."""
    found = jiwer.process_words(reference, hypothesis)
    return Counts(found.hits, found.substitutions, found.deletions, found.insertions)


def character_counts(reference: str, hypothesis: str) -> Counts:
    """The same in characters, gaps between words counted."""
    found = jiwer.process_characters(reference, hypothesis)
    return Counts(found.hits, found.substitutions, found.deletions, found.insertions)


def score(pairs: Iterable[Pair]) -> Score:
    """WER and CER of normalised pairs, with a 95% bootstrap interval.

    The bootstrap (Bisani and Ney 2004) draws speakers where every pair has one and there are at
    least five: utterances of one speaker go wrong together. Otherwise it draws utterances, and the
    interval says nothing of other speakers.
    """
    pairs = list(pairs)
    if not pairs:
        raise UserError("nothing to score: there is no pair of reference and hypothesis")
    words = [word_counts(pair.reference, pair.hypothesis) for pair in pairs]
    characters = sum((character_counts(p.reference, p.hypothesis) for p in pairs), NOTHING)
    total = sum(words, NOTHING)
    speakers = {pair.speaker for pair in pairs}
    by_speaker = None not in speakers and len(speakers) >= LEAST_SPEAKERS
    groups = [pair.speaker if by_speaker else pair.id for pair in pairs]
    return Score(
        wer=_rate(total),
        interval=bootstrap_interval(
            [c.errors for c in words], [c.reference for c in words], groups
        ),
        resampled="speakers" if by_speaker else "utterances",
        cer=_rate(characters),
        words=total,
        characters=characters,
        utterances=len(pairs),
        wrong=sum(count.errors > 0 for count in words),
    )


def _rate(counts: Counts) -> float:
    if counts.reference == 0:  # nothing was said: any word is one too many
        return float("inf") if counts.errors else 0.0
    return counts.errors / counts.reference


def bootstrap_interval(
    errors: Sequence[int], words: Sequence[int], groups: Sequence[str], level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of errors / words when whole groups are drawn with replacement.

    Its level is expanded (Hesterberg 2015, "What teachers should know about the bootstrap"): plain
    percentiles of few groups are too near each other, by sqrt((G - 1) / G) and as the normal
    distribution is narrower than Student's t. errors, words: (N,) counts of each utterance;
    groups: (N,) what it belongs to.
    """
    if not sum(words):
        rate = float("inf") if sum(errors) else 0.0
        return rate, rate
    ids = np.unique(groups, return_inverse=True)[1]
    errors_of = np.bincount(ids, weights=errors)  # (G,)
    words_of = np.bincount(ids, weights=words)  # (G,)
    draw = np.random.default_rng(0)
    n = len(errors_of)
    tail = expanded_tail((1 - level) / 2, n)
    resamples = int(min(max(RESAMPLES, BEYOND / max(tail, 1e-9)), MOST_RESAMPLES))
    at_once = max(1, (1 << 20) // n)  # resamples, so that memory does not grow with the groups
    rates = []
    for first in range(0, resamples, at_once):
        drawn = draw.integers(n, size=(min(at_once, resamples - first), n))
        rates.append(errors_of[drawn].sum(1) / np.maximum(words_of[drawn].sum(1), 1))
    low, high = np.quantile(np.concatenate(rates), [tail, 1 - tail])
    return float(low), float(high)


def expanded_tail(tail: float, groups: int) -> float:
    """The share of bootstrap means of so many groups to cut off at each end, for `tail` of them.

    tail: of the interval that is meant, 0.025 for 95%.
    """
    if groups < 2:
        return tail
    reach = student_quantile(1 - tail, groups - 1) * math.sqrt(groups / (groups - 1))
    return NormalDist().cdf(-reach)


def student_quantile(p: float, freedom: int) -> float:
    """Quantile of Student's t, by its expansion in 1 / freedom (Fisher and Cornish 1960).

    To four terms, as in Abramowitz and Stegun 26.7.5: at p = 0.975 too small by 0.7% for 2 degrees
    of freedom, by less than 0.01% from 6 on.
    """
    z = NormalDist().inv_cdf(p)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


# ---- files of texts ----------------------------------------------------------------------------


def read_texts(path: str | Path) -> dict[str, tuple[str, str | None]]:
    """id -> (text, speaker) of a manifest, or of a text file with a text on each line.

    Where every line of a text file has a tab, what stands before it is the id; otherwise the line's
    number is. Raises `UserError` when an id stands twice.
    """
    path = Path(path)
    if path.suffix.lower() in (".jsonl", ".tsv", ".csv"):
        return {u.id: (u.text or "", u.speaker) for u in manifest.read(path)}
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = [line.rstrip("\n") for line in file]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if not all("\t" in line for line in lines):
        return {str(number): (line, None) for number, line in enumerate(lines, start=1)}
    texts: dict[str, tuple[str, str | None]] = {}
    numbers: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        id, _, text = line.partition("\t")
        if id in texts:
            raise UserError(f"{path}:{number}: id {id!r} was used in line {numbers[id]} already")
        texts[id], numbers[id] = (text, None), number
    return texts


def pair_files(references: str | Path, hypotheses: str | Path, config: TextConfig) -> list[Pair]:
    """Join two files by id, normalised.

    Raises `UserError` that counts and names the ids that one of them lacks: leaving them out would
    flatter the figure.
    """
    said, heard = read_texts(references), read_texts(hypotheses)
    for lacking, has, name in ((hypotheses, said, heard), (references, heard, said)):
        missing = [id for id in has if id not in name]
        if missing:
            raise UserError(
                f"{lacking}: lacks {len(missing)} of the {len(has)} utterances of the other file: "
                f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}"
            )
    return [
        Pair(id, normalise(text, config), normalise(heard[id][0], config), speaker)
        for id, (text, speaker) in said.items()
    ]


def write_results(folder: Path, pairs: Sequence[Pair], result: Score) -> None:
    """`score.json` and `hypotheses.jsonl` (reference and hypothesis of every utterance)."""
    lines = [json.dumps(vars(pair), ensure_ascii=False) for pair in pairs]
    files.write(folder / "hypotheses.jsonl", "\n".join(lines) + "\n")
    files.write(folder / "score.json", json.dumps(result.to_dict(), indent=1) + "\n")
