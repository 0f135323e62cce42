"""Error rates of pairs of texts: WER, CER, MER, WIL, with their intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jiwer

from asr import files
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.scoring.intervals import bootstrap_interval, resampling_groups
from asr.transcript import Word

Step = tuple[str | None, str | None]  # a word of the reference and what was recognized for it


@dataclass(frozen=True)
class Pair:
    """A reference and what was recognized, both normalized."""

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

    @property
    def error_rate(self) -> float:
        """WER (or CER): errors over what was said; above 1 where much was inserted."""
        if self.reference == 0:  # nothing was said: any word is one too many
            return math.inf if self.errors else 0.0
        return self.errors / self.reference

    @property
    def match_error_rate(self) -> float:
        """MER: the share of wrong steps in the alignment, in [0, 1] (Morris et al. 2004)."""
        return self.errors / (self.hits + self.errors) if self.errors else 0.0

    @property
    def information_lost(self) -> float:
        """WIL: 1 - H/N_said * H/N_heard, in [0, 1] (Morris et al. 2004)."""
        heard = self.hits + self.substitutions + self.insertions
        if self.reference == heard == 0:
            return 0.0
        return 1 - self.hits**2 / (self.reference * heard) if self.hits else 1.0

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
    cer_interval: tuple[float, float]  # 95%
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

    def to_dict(self) -> dict[str, Any]:
        return {
            "summary": str(self),
            "wer": _or_none(self.wer),
            "wer_interval_95": [_or_none(end) for end in self.interval],
            "resampled": self.resampled,
            "cer": _or_none(self.cer),
            "cer_interval_95": [_or_none(end) for end in self.cer_interval],
            "mer": self.words.match_error_rate,
            "wil": self.words.information_lost,
            "words": vars(self.words) | {"reference": self.words.reference},
            "characters": vars(self.characters) | {"reference": self.characters.reference},
            "utterances": self.utterances,
            "utterances_wrong": self.wrong,
        }


def _or_none(rate: float) -> float | None:
    """JSON has no infinity: what was inserted where nothing is said has no rate there."""
    return rate if math.isfinite(rate) else None


def wer(references: str | Sequence[str], hypotheses: str | Sequence[str]) -> float:
    """The word error rate: all errors divided by the number of reference words.

    Takes two texts or two lists of texts of the same length, and compares them as they are, without
    normalization. The rate is a share (0.05 is 5%) and exceeds 1 if there are many insertions; it
    is infinite if the references are empty and the hypotheses are not. Raises ValueError for lists
    of different lengths.

    >>> wer("one two three four", "one too three")
    0.5
    """
    return _error_rate(word_counts, references, hypotheses)


def cer(references: str | Sequence[str], hypotheses: str | Sequence[str]) -> float:
    """The character error rate, computed like `wer`; the spaces between words count.

    >>> cer("one two", "one too")
    0.14285714285714285
    """
    return _error_rate(character_counts, references, hypotheses)


def _error_rate(
    count: Callable[[str, str], Counts],
    references: str | Sequence[str],
    hypotheses: str | Sequence[str],
) -> float:
    if isinstance(references, str) != isinstance(hypotheses, str):
        raise ValueError("references and hypotheses must both be texts or both be lists of texts")
    if isinstance(references, str):
        references, hypotheses = [references], [str(hypotheses)]
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references, {len(hypotheses)} hypotheses")
    pairs = zip(references, hypotheses, strict=True)
    return sum((count(*pair) for pair in pairs), NOTHING).error_rate


def word_counts(reference: str, hypothesis: str) -> Counts:
    """Edits of the cheapest alignment of two texts' words."""
    found = jiwer.process_words(reference, hypothesis)
    return Counts(found.hits, found.substitutions, found.deletions, found.insertions)


def character_counts(reference: str, hypothesis: str) -> Counts:
    """The same in characters, gaps between words counted."""
    found = jiwer.process_characters(reference, hypothesis)
    return Counts(found.hits, found.substitutions, found.deletions, found.insertions)


def aligned(reference: str, hypothesis: str) -> list[Step]:
    """The cheapest alignment, word by word; None stands where a word was inserted or deleted.

    >>> aligned("one two three", "one three four")
    [('one', 'one'), ('two', None), ('three', 'three'), (None, 'four')]
    """
    found = jiwer.process_words(reference, hypothesis)
    said, heard = found.references[0], found.hypotheses[0]
    steps: list[Step] = []
    for chunk in found.alignments[0]:
        left = said[chunk.ref_start_idx : chunk.ref_end_idx]
        right = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
        steps += zip_longest(left, right)
    return steps


def score(pairs: Iterable[Pair]) -> Score:
    """WER and CER of normalized pairs, with 95% bootstrap intervals (Bisani and Ney 2004).

    Raises `UserError` when there is none.
    """
    pairs = list(pairs)
    if not pairs:
        raise UserError("nothing to score: there is no pair of reference and hypothesis")
    words = [word_counts(pair.reference, pair.hypothesis) for pair in pairs]
    characters = [character_counts(pair.reference, pair.hypothesis) for pair in pairs]
    groups, resampled = resampling_groups([p.id for p in pairs], [p.speaker for p in pairs])
    intervals = [
        bootstrap_interval([c.errors for c in counts], [c.reference for c in counts], groups)
        for counts in (words, characters)
    ]
    all_words, all_characters = sum(words, NOTHING), sum(characters, NOTHING)
    return Score(
        wer=all_words.error_rate,
        interval=intervals[0],
        resampled=resampled,
        cer=all_characters.error_rate,
        cer_interval=intervals[1],
        words=all_words,
        characters=all_characters,
        utterances=len(pairs),
        wrong=sum(count.errors > 0 for count in words),
    )


def write_results(
    folder: Path,
    pairs: Sequence[Pair],
    result: Score,
    details: dict[str, Any] | None = None,
    words: Mapping[str, Sequence[Word]] | None = None,
    utterances: Mapping[str, Utterance] | None = None,
) -> None:
    """`score.json` (and `details` in it) and `hypotheses.jsonl` (both texts of every utterance).

    words: of the hypotheses, by id, where their times are known: a column `words`, each as in a
    transcript's JSON. utterances: by id, where their recordings are known: columns as in a manifest
    in `folder`, so that what is made of the folder later finds them again.
    """
    lines = []
    for pair in pairs:
        row: dict[str, Any] = dict(vars(pair))
        if utterances and pair.id in utterances:
            row |= _place(utterances[pair.id], folder)
        if words and pair.id in words:
            row["words"] = [asdict(word) for word in words[pair.id]]
        lines.append(json.dumps(row, ensure_ascii=False))
    files.write(folder / "hypotheses.jsonl", "\n".join(lines) + "\n")
    figures = result.to_dict() | (details or {})
    files.write(folder / "score.json", json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


def _place(utterance: Utterance, folder: Path) -> dict[str, Any]:
    """Nothing where a table cannot name it: inside an archive, or with a name that is no text."""
    if not isinstance(utterance.audio, str):
        return {}
    row = manifest.place(utterance, folder)
    return {} if any("\ud800" <= letter <= "\udfff" for letter in row["audio"]) else row
