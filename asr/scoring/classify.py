"""A classifier on a test set -> its score; validation and `asr score` use this function."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr import files
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.data.records import Rows, utterances_of
from asr.data.targets import labels_of
from asr.recognition.classifier import Classifier
from asr.recognition.transcribe import Failure
from asr.scoring.class_report import write_class_report
from asr.scoring.classes import ClassRow, ClassScore, score_classes
from asr.scoring.error_analysis import by_column
from asr.scoring.transcript_readers import columns_of
from asr.scoring.wer import Pair


@dataclass(frozen=True)
class ClassEvaluation:
    """The labels that a classifier gave to a test set, and their score."""

    score: ClassScore
    rows: list[ClassRow]
    failures: list[Failure]  # unreadable recordings, which count as errors

    @property
    def rates(self) -> tuple[float, float]:
        """The error rate and the mean cross-entropy, by which training ranks weights."""
        return self.score.error, self.score.cross_entropy

    @staticmethod
    def describe(rates: Sequence[float]) -> str:
        return f"error {rates[0]:.2%}, cross-entropy {rates[1]:.3f}"

    def figures(self) -> dict[str, float]:
        """The figures of a validation, for the monitor."""
        low, high = self.score.interval
        return {
            "error": self.score.error,
            "error_low": low,
            "error_high": high,
            "cross_entropy": self.score.cross_entropy,
            "macro_f1": self.score.macro_f1,
        }

    @property
    def pairs(self) -> list[Pair]:
        """The labels as texts, for the monitor."""
        return [
            Pair(row.id, "; ".join(row.reference), "; ".join(row.hypothesis), row.speaker)
            for row in self.rows
        ]

    @property
    def says_nothing(self) -> bool:
        """Never: unlike texts, labels are not empty in the beginning of training."""
        return False

    @classmethod
    def joined(cls, shares: Sequence[ClassEvaluation], count: int) -> ClassEvaluation:
        """The evaluation of `count` utterances; share k of n has the numbers k, k + n, ..."""
        rows = [shares[i % len(shares)].rows[i // len(shares)] for i in range(count)]
        return cls(score_classes(rows), rows, [f for share in shares for f in share.failures])

    def save(
        self,
        folder: Path,
        title: str,
        config: Any,
        utterances: Mapping[str, Utterance],
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Write score.json, labels.jsonl, report.json and report.html into `folder`.

        details: more figures for score.json and report.json.
        """
        figures = self.score.to_dict() | {"label": config.classify.label} | dict(details or {})
        files.write(folder / "score.json", json.dumps(figures, ensure_ascii=False, indent=1) + "\n")
        lines = []
        for row in self.rows:
            best = sorted(row.probabilities.items(), key=lambda one: -one[1])[:5]
            found = {
                "id": row.id,
                "reference": list(row.reference),
                "labels": list(row.hypothesis),
                "probabilities": {name: round(value, 6) for name, value in best},
            }
            if row.id in utterances:
                found |= manifest.place(utterances[row.id], folder)
            lines.append(json.dumps(found, ensure_ascii=False) + "\n")
        files.write(folder / "labels.jsonl", "".join(lines))
        write_class_report(folder, title, self.rows, figures, utterances)


def scores_by(
    rows: Sequence[ClassRow], utterances: Sequence[Utterance], column: str
) -> dict[str, ClassScore]:
    """The score of each value of a column (see `error_analysis.by_column`).

    utterances: those of the rows, in their order.
    """
    groups = by_column([columns_of(u) for u in utterances], column, lambda: None)
    return {name: score_classes([rows[i] for i in found]) for name, found in groups.items()}


def evaluate_classes(
    classifier: Classifier, rows: Rows, on_progress: Callable[[], None] = lambda: None
) -> ClassEvaluation:
    """Classify every utterance and compare the result with its labels.

    rows: as in `asr.evaluate`; a label that the classifier does not know counts as an error.
    """
    found, failures = [], []
    for utterance, result in classifier.classify_many(utterances_of(rows, "rows")):
        on_progress()
        reference = tuple(labels_of(utterance, classifier.config))
        failed = isinstance(result, Failure)
        if isinstance(result, Failure):
            failures.append(result)
        hypothesis = () if failed else result.labels
        probabilities = {} if failed else result.probabilities
        found.append(
            ClassRow(utterance.id, reference, hypothesis, probabilities, utterance.speaker)
        )
    return ClassEvaluation(score_classes(found), found, failures)
