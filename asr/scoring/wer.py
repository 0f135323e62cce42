"""Error rates of pairs of texts: WER and CER with confidence intervals, MER and WIL."""

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

# A reference word and the hypothesis word aligned with it; None for an insertion or a deletion.
AlignedWords = tuple[str | None, str | None]


@dataclass(frozen=True)
class Pair:
    """The reference and the hypothesis of one utterance, both normalized."""

    id: str
    reference: str
    hypothesis: str
    speaker: str | None = None


@dataclass(frozen=True)
class EditCounts:
    """Counts of the edits that turn a reference into its hypothesis, in words or in characters."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference(self) -> int:
        """The number of words (or characters) in the reference, N."""
        return self.hits + self.substitutions + self.deletions

    @property
    def error_rate(self) -> float:
        """WER (or CER) = (S + D + I) / N, which exceeds 1 when there are many insertions.

        With an empty reference it is 0 without insertions and infinite with them.
        """
        if self.reference == 0:
            return math.inf if self.errors else 0.0
        return self.errors / self.reference

    @property
    def match_error_rate(self) -> float:
        """MER = (S + D + I) / (H + S + D + I), in [0, 1] (Morris et al. 2004)."""
        return self.errors / (self.hits + self.errors) if self.errors else 0.0

    @property
    def information_lost(self) -> float:
        """WIL = 1 - H^2 / (N_ref * N_hyp), in [0, 1] (Morris et al. 2004)."""
        hypothesis = self.hits + self.substitutions + self.insertions
        if self.reference == hypothesis == 0:
            return 0.0
        return 1 - self.hits**2 / (self.reference * hypothesis) if self.hits else 1.0

    def __add__(self, other: EditCounts) -> EditCounts:
        return EditCounts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


NO_EDITS = EditCounts(0, 0, 0, 0)


@dataclass(frozen=True)
class Score:
    """The result of `score`. Rates are fractions: 0.05 is 5%."""

    wer: float
    interval: tuple[float, float]  # 95%
    resampled: str  # what the bootstrap draws: "speakers" or "utterances"
    cer: float
    cer_interval: tuple[float, float]  # 95%
    words: EditCounts
    characters: EditCounts
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
    """JSON has no infinity, so an infinite rate is written as null."""
    return rate if math.isfinite(rate) else None


def wer(references: str | Sequence[str], hypotheses: str | Sequence[str]) -> float:
    """The word error rate: all errors divided by the number of reference words.

    Takes two texts, or two lists of texts of the same length, and compares them without
    normalization. The rate is a fraction (0.05 is 5%) and may exceed 1 if there are insertions; it
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
    count: Callable[[str, str], EditCounts],
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
    return sum((count(*pair) for pair in pairs), NO_EDITS).error_rate


def word_counts(reference: str, hypothesis: str) -> EditCounts:
    """Edit counts of a minimum-cost (Levenshtein) alignment of the words of two texts."""
    found = jiwer.process_words(reference, hypothesis)
    return EditCounts(found.hits, found.substitutions, found.deletions, found.insertions)


def character_counts(reference: str, hypothesis: str) -> EditCounts:
    """Edit counts of a minimum-cost alignment of the characters, spaces included."""
    found = jiwer.process_characters(reference, hypothesis)
    return EditCounts(found.hits, found.substitutions, found.deletions, found.insertions)


def aligned(reference: str, hypothesis: str) -> list[AlignedWords]:
    """A minimum-cost alignment, word by word, with None for an inserted or deleted word.

    >>> aligned("one two three", "one three four")
    [('one', 'one'), ('two', None), ('three', 'three'), (None, 'four')]
    """
    found = jiwer.process_words(reference, hypothesis)
    reference_words, hypothesis_words = found.references[0], found.hypotheses[0]
    words: list[AlignedWords] = []
    for chunk in found.alignments[0]:
        left = reference_words[chunk.ref_start_idx : chunk.ref_end_idx]
        right = hypothesis_words[chunk.hyp_start_idx : chunk.hyp_end_idx]
        words += zip_longest(left, right)
    return words


def score(pairs: Iterable[Pair]) -> Score:
    """WER and CER of normalized pairs, with 95% bootstrap intervals (Bisani and Ney 2004).

    Raises `UserError` when there is no pair.
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
    all_words, all_characters = sum(words, NO_EDITS), sum(characters, NO_EDITS)
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
    """Write `score.json` (`result` and `details`) and `hypotheses.jsonl` (both texts of each pair).

    words: the hypothesis words with their times, by utterance id; they are written to the column
    `words` in the format of a transcript's JSON. utterances: the recordings, by id; they are
    written as manifest columns relative to `folder`, so that a later command finds the audio.
    """
    lines = []
    for pair in pairs:
        row: dict[str, Any] = dict(vars(pair))
        if utterances and pair.id in utterances:
            row |= _audio_columns(utterances[pair.id], folder)
        if words and pair.id in words:
            row["words"] = [asdict(word) for word in words[pair.id]]
        lines.append(json.dumps(row, ensure_ascii=False))
    files.write(folder / "hypotheses.jsonl", "\n".join(lines) + "\n")
    figures = result.to_dict() | (details or {})
    files.write(folder / "score.json", json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


def _audio_columns(utterance: Utterance, folder: Path) -> dict[str, Any]:
    """Manifest columns of the audio; empty if it is in an archive or its name is not UTF-8."""
    if not isinstance(utterance.audio, str):
        return {}
    row = manifest.place(utterance, folder)
    return {} if any("\ud800" <= letter <= "\udfff" for letter in row["audio"]) else row
