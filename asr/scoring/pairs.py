"""References and hypotheses joined by utterance id; every mismatch is counted and listed."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from asr.data.manifest import Utterance
from asr.data.nist import IGNORED
from asr.errors import UserError
from asr.scoring.normalization import Normalization, normalizer_of
from asr.scoring.transcript_readers import Text, TextFile, read_texts, split_by_segments
from asr.scoring.wer import Pair
from asr.transcript import Word

MAX_IDS_SHOWN = 5  # per message
_WORDS = TypeAdapter(list[Word])


@dataclass(frozen=True)
class PairingIssue:
    """A problem that affects the score, and the ids of the utterances that have it.

    is_error: whether the score is not the one that the user asked for; the command then exits with
    status 1.
    """

    description: str
    ids: tuple[str, ...]
    is_error: bool

    def __str__(self) -> str:
        return f"{len(self.ids)} {self.description}: {_first_ids(self.ids)}"

    def to_dict(self) -> dict[str, Any]:
        return {"description": self.description, "ids": self.ids, "is_error": self.is_error}


@dataclass(frozen=True)
class Paired:
    """Every reference with its hypothesis, in the order of the references."""

    pairs: list[Pair]
    columns: list[dict[str, Any]]  # for each pair, the other columns of the references' file
    issues: list[PairingIssue]
    sources: tuple[str, str]  # descriptions of both files


def pair_files(
    references: str | Path, hypotheses: str | Path, normalization: Normalization
) -> Paired:
    """Join two files (or one table that holds both) by id, and normalize the texts.

    A reference without a hypothesis is scored against an empty hypothesis; leaving it out would
    lower the error rate. Files without ids are joined line by line. Raises `UserError` when the
    files have no id in common.
    """
    normalize = normalizer_of(normalization)
    ref_file = read_texts(references, "reference")
    hyp_file = read_texts(hypotheses, "hypothesis")
    if ref_file.path == hyp_file.path and ref_file.column == hyp_file.column:
        raise UserError(
            f"{ref_file.path}: has only one text for each utterance; give a file to compare it with"
        )
    if hyp_file.words and ref_file.format == "stm":
        hyp_file = split_by_segments(hyp_file, ref_file)
    elif ref_file.numbered or hyp_file.numbered:
        ref_file, hyp_file = _by_line(ref_file, hyp_file)
    reference_of, repeated_references = _by_id(ref_file.texts)
    hypothesis_of, repeated_hypotheses = _by_id(hyp_file.texts)
    if not reference_of.keys() & hypothesis_of.keys():
        raise UserError(
            f"{hyp_file.path}: none of its ids is in {ref_file.path}: it has "
            f"{_first_ids(list(hypothesis_of)[:2])}, the other {_first_ids(list(reference_of)[:2])}"
        )
    ignored = tuple(id for id, text in reference_of.items() if text.text == IGNORED)
    missing = tuple(id for id in reference_of if id not in hypothesis_of and id not in ignored)
    unmatched = tuple(id for id in hypothesis_of if id not in reference_of)
    pairs, columns = [], []
    for id, text in reference_of.items():
        if id in ignored:
            continue
        hypothesis = hypothesis_of[id].text if id in hypothesis_of else ""
        pair = Pair(id, normalize(text.text), normalize(hypothesis), text.speaker)
        pairs.append(pair)
        columns.append(text.columns)
    issues = [
        PairingIssue("references repeat an id, the first is scored", repeated_references, True),
        PairingIssue("hypotheses repeat an id, the first is scored", repeated_hypotheses, True),
        PairingIssue("segments are excluded from scoring by the stm", ignored, False),
        PairingIssue("references have no hypothesis, scored as empty", missing, True),
        PairingIssue("hypotheses have no reference, not scored", unmatched, True),
        *empty_texts(pairs),
    ]
    return Paired(pairs, columns, [i for i in issues if i.ids], (str(ref_file), str(hyp_file)))


def timed_words(paired: Paired) -> dict[str, list[Word]]:
    """The timed hypothesis words that `write_results` stored, by id; ids without any are absent."""
    words_of = {}
    for pair, columns in zip(paired.pairs, paired.columns, strict=True):
        if "words" not in columns:
            continue
        try:
            words = _WORDS.validate_python(columns["words"])
        except ValidationError:  # an unrelated column that has the same name
            continue
        if all(0 <= w.start_s <= w.end_s < math.inf and 0 <= w.confidence <= 1 for w in words):
            words_of[pair.id] = words
    return words_of


def recordings(paired: Paired) -> dict[str, Utterance]:
    """The recordings of the pairs, by id, as far as the file of references names them."""
    return {
        pair.id: Utterance(pair.id, row["audio"], row.get("start_s", 0.0), row.get("duration_s"))
        for pair, row in zip(paired.pairs, paired.columns, strict=True)
        if "audio" in row
    }


def missing_recordings(
    utterances: Mapping[str, Utterance], recognized: Collection[str]
) -> list[PairingIssue]:
    """Recordings that are missing now although the hypotheses were made from them.

    recognized: the ids of the utterances with word times. A model transcribed these, so each had a
    recording, even if the table does not name it.
    """
    missing = [u.id for u in utterances.values() if not os.path.isfile(u.audio)]
    missing += [id for id in recognized if id not in utterances]
    issue = PairingIssue(
        "recordings were not found and are not in the report", tuple(missing), False
    )
    return [issue] if missing else []


def empty_texts(pairs: Iterable[Pair]) -> list[PairingIssue]:
    """References and hypotheses that are empty after normalization."""
    pairs = list(pairs)
    issues = (
        PairingIssue("references are empty", tuple(p.id for p in pairs if not p.reference), False),
        PairingIssue("hypotheses are empty", tuple(p.id for p in pairs if not p.hypothesis), False),
    )
    return [issue for issue in issues if issue.ids]


def _by_id(texts: Sequence[Text]) -> tuple[dict[str, Text], tuple[str, ...]]:
    """The first text of each id, and the ids that occur more than once."""
    first: dict[str, Text] = {}
    repeated = [text.id for text in texts if first.setdefault(text.id, text) is not text]
    return first, tuple(dict.fromkeys(repeated))


def _by_line(ref_file: TextFile, hyp_file: TextFile) -> tuple[TextFile, TextFile]:
    """Give the texts of the file without ids the ids of the other file, line by line.

    If every line begins with an id of the other file, it is read as a Kaldi text file instead.
    """
    plain, other = (hyp_file, ref_file) if hyp_file.numbered else (ref_file, hyp_file)
    if not other.numbered:
        split = [text.text.split(maxsplit=1) for text in plain.texts]
        ids = {text.id for text in other.texts}
        if all(fields and fields[0] in ids for fields in split):
            texts = [Text(id, rest[0] if rest else "") for id, *rest in split]
            plain = replace(plain, format="Kaldi text", texts=texts, numbered=False)
            return (ref_file, plain) if plain.path == hyp_file.path else (plain, hyp_file)
    if len(ref_file.texts) != len(hyp_file.texts):
        raise UserError(
            f"{plain.path}: has no ids and {len(plain.texts)} lines; {other.path} has "
            f"{len(other.texts)} texts, so they cannot be joined line by line"
        )
    numbered = [Text(text.id, by.text) for text, by in zip(other.texts, plain.texts, strict=True)]
    plain = replace(plain, texts=numbered)
    return (ref_file, plain) if hyp_file.numbered else (plain, hyp_file)


def _first_ids(ids: Sequence[str]) -> str:
    return ", ".join(ids[:MAX_IDS_SHOWN]) + (", ..." if len(ids) > MAX_IDS_SHOWN else "")
