"""References and hypotheses joined by id; what does not fit is counted and named."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from asr.config import TextConfig
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.scoring.transcript_readers import IGNORED, Text, Texts, cut_as, read_texts
from asr.scoring.wer import Pair
from asr.text.normalize import normalize
from asr.transcript import Word

NAMED = 5  # ids in a line
_WORDS = TypeAdapter(list[Word])


@dataclass(frozen=True)
class PairingIssue:
    """Utterances that somebody who reads the figure should know of."""

    what: str
    ids: tuple[str, ...]
    fault: bool  # the figure is not what was asked for: exit status 1

    def __str__(self) -> str:
        return f"{len(self.ids)} {self.what}: {_named(self.ids)}"

    def to_dict(self) -> dict[str, Any]:
        return {"what": self.what, "ids": self.ids, "fault": self.fault}


@dataclass(frozen=True)
class Paired:
    """Every reference with its hypothesis, in the order of the references."""

    pairs: list[Pair]
    columns: list[dict[str, Any]]  # of each pair: what the references' file tells of it
    findings: list[PairingIssue]
    sources: tuple[str, str]  # the files, in words


def pair_files(references: str | Path, hypotheses: str | Path, config: TextConfig) -> Paired:
    """Join two files (or one table that holds both) by id, normalized.

    A reference without a hypothesis is scored as if nothing had been recognized; leaving it out
    would flatter the figure. Files without ids are joined by line. Raises `UserError` when the
    files have nothing in common.
    """
    said, heard = read_texts(references, "reference"), read_texts(hypotheses, "hypothesis")
    if said.path == heard.path and said.column == heard.column:
        raise UserError(f"{said.path}: holds one text for each utterance; name a file to compare")
    if heard.words and said.format == "stm":
        heard = cut_as(heard, said)
    elif said.numbered or heard.numbered:
        said, heard = _by_line(said, heard)
    findings = []
    known, twice = _by_id(said.texts)
    findings.append(PairingIssue("references stand twice, the first counts", twice, True))
    found, twice = _by_id(heard.texts)
    findings.append(PairingIssue("hypotheses stand twice, the first counts", twice, True))
    if not known.keys() & found.keys():
        raise UserError(
            f"{heard.path}: no id is in {said.path} too: {_named(list(found)[:2])} here, "
            f"{_named(list(known)[:2])} there"
        )
    ignored = tuple(id for id, text in known.items() if text.text == IGNORED)
    findings.append(PairingIssue("segments are not to be scored, as the stm says", ignored, False))
    missing = tuple(id for id in known if id not in found and id not in ignored)
    findings.append(PairingIssue("references have no hypothesis, scored as empty", missing, True))
    alone = tuple(id for id in found if id not in known)
    findings.append(PairingIssue("hypotheses have no reference, not scored", alone, True))
    pairs, columns = [], []
    for id, text in known.items():
        if id in ignored:
            continue
        hypothesis = found[id].text if id in found else ""
        pair = Pair(id, normalize(text.text, config), normalize(hypothesis, config), text.speaker)
        pairs.append(pair)
        columns.append(text.columns)
    findings += empty(pairs)
    return Paired(pairs, columns, [f for f in findings if f.ids], (str(said), str(heard)))


def words_in(paired: Paired) -> dict[str, list[Word]]:
    """By id: the words with times that `asr score --to` wrote beside the texts, where it did."""
    found = {}
    for pair, columns in zip(paired.pairs, paired.columns, strict=True):
        if "words" in columns:
            try:
                words = _WORDS.validate_python(columns["words"])
            except ValidationError:  # somebody's own column of this name
                continue
            if all(0 <= w.start_s <= w.end_s < math.inf and 0 <= w.confidence <= 1 for w in words):
                found[pair.id] = words
    return found


def recordings_in(paired: Paired) -> dict[str, Utterance]:
    """By id: where the recordings are, of the pairs whose references tell it."""
    return {
        pair.id: Utterance(pair.id, row["audio"], row.get("start_s", 0.0), row.get("duration_s"))
        for pair, row in zip(paired.pairs, paired.columns, strict=True)
        if "audio" in row
    }


def gone(utterances: Mapping[str, Utterance], words: Collection[str]) -> list[PairingIssue]:
    """Recordings that are not where they were when they were heard.

    words: ids of what was heard by a model, which had a recording even where none is told.
    """
    lost = [u.id for u in utterances.values() if not os.path.isfile(u.audio)]
    lost += [id for id in words if id not in utterances]
    finding = PairingIssue(
        "recordings were not found, the report is without them", tuple(lost), False
    )
    return [finding] if lost else []


def empty(pairs: Iterable[Pair]) -> list[PairingIssue]:
    """References and hypotheses with nothing in them, once normalized."""
    pairs = list(pairs)
    found = (
        PairingIssue("references are empty", tuple(p.id for p in pairs if not p.reference), False),
        PairingIssue("hypotheses are empty", tuple(p.id for p in pairs if not p.hypothesis), False),
    )
    return [finding for finding in found if finding.ids]


def _by_id(texts: Sequence[Text]) -> tuple[dict[str, Text], tuple[str, ...]]:
    """The first text of each id, and the ids that stand again."""
    first: dict[str, Text] = {}
    twice = [text.id for text in texts if first.setdefault(text.id, text) is not text]
    return first, tuple(dict.fromkeys(twice))


def _by_line(said: Texts, heard: Texts) -> tuple[Texts, Texts]:
    """Two files of which one has no ids, or a Kaldi text without its name, told by the other's."""
    plain, other = (heard, said) if heard.numbered else (said, heard)
    if not other.numbered:
        split = [text.text.split(maxsplit=1) for text in plain.texts]
        ids = {text.id for text in other.texts}
        if all(fields and fields[0] in ids for fields in split):
            texts = [Text(id, rest[0] if rest else "") for id, *rest in split]
            plain = replace(plain, format="Kaldi text", texts=texts, numbered=False)
            return (said, plain) if plain.path == heard.path else (plain, heard)
    if len(said.texts) != len(heard.texts):
        raise UserError(
            f"{plain.path}: has no ids and {len(plain.texts)} lines; {other.path} has "
            f"{len(other.texts)} texts, so they cannot be joined line by line"
        )
    numbered = [Text(text.id, by.text) for text, by in zip(other.texts, plain.texts, strict=True)]
    plain = replace(plain, texts=numbered)
    return (said, plain) if heard.numbered else (plain, heard)


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:NAMED]) + (", ..." if len(ids) > NAMED else "")
