"""A recognizer on a test set -> its error rates; validation and `asr score` use this function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr.config import Config
from asr.data.manifest import Utterance
from asr.data.records import Rows, utterances_of
from asr.recognition.recognizer import Recognizer
from asr.recognition.transcribe import Failure, transcribe_many
from asr.scoring.normalization import Normalization, normalizer_of
from asr.scoring.report import write_report
from asr.scoring.wer import Pair, Score, score, write_results
from asr.text.normalize import describe
from asr.transcript import Word


@dataclass(frozen=True)
class Evaluation:
    """The hypotheses of a recognizer for a test set, and their error rates."""

    score: Score
    pairs: list[Pair]
    failures: list[Failure]  # unreadable recordings, which are scored with an empty hypothesis
    # The normalized words of each hypothesis, with times in the recording, by utterance id. A
    # hypothesis whose normalization merges words has none. If several processes evaluate together,
    # only those of this process.
    words: dict[str, list[Word]] = field(default_factory=dict)

    @property
    def wer(self) -> float:
        """The word error rate as a share: 0.05 is 5%."""
        return self.score.wer

    @property
    def cer(self) -> float:
        """The character error rate as a share."""
        return self.score.cer

    @property
    def rates(self) -> tuple[float, float]:
        """WER and CER, by which training ranks weights."""
        return self.score.wer, self.score.cer

    @staticmethod
    def describe(rates: Sequence[float]) -> str:
        return f"WER {rates[0]:.2%}, CER {rates[1]:.2%}"

    def figures(self) -> dict[str, float]:
        """The figures of a validation, for the monitor."""
        found = self.score.to_dict()
        low, high = found["wer_interval_95"]
        return {"wer": found["wer"], "wer_low": low, "wer_high": high, "cer": found["cer"]}

    @property
    def says_nothing(self) -> bool:
        """Whether every hypothesis is empty, as at the beginning of CTC training."""
        return not any(pair.hypothesis for pair in self.pairs)

    @classmethod
    def joined(cls, shares: Sequence[Evaluation], count: int) -> Evaluation:
        """The evaluation of `count` utterances; share k of n has the numbers k, k + n, ..."""
        pairs = [shares[i % len(shares)].pairs[i // len(shares)] for i in range(count)]
        return cls(score(pairs), pairs, [f for share in shares for f in share.failures])

    def save(
        self, folder: Path, title: str, config: Config, utterances: Mapping[str, Utterance]
    ) -> None:
        """Write score.json, hypotheses.jsonl, report.json and report.html into `folder`."""
        details = {"normalization": "recipe", "normalized": describe(config.text)}
        write_results(folder, self.pairs, self.score, details, self.words, utterances)
        figures = self.score.to_dict() | details
        write_report(folder, title, self.pairs, figures, utterances, self.words)

    def __repr__(self) -> str:
        failures = f"; {len(self.failures)} recordings failed" if self.failures else ""
        return f"<Evaluation: {' '.join(str(self.score).split())}{failures}>"


def evaluate(
    recognizer: Recognizer,
    rows: Rows,
    on_progress: Callable[[], None] = lambda: None,
    text: Normalization | None = None,
) -> Evaluation:
    """Transcribe every utterance and compare the result with its text.

    rows: utterances, dicts or a data frame with the columns of a manifest, or the path of a
    manifest (`asr.data.records.utterances_of`); on_progress: called after each utterance; text: the
    normalization of both texts, by default that of the model. Raises `UserError` if there are no
    rows or one is invalid.
    """
    normalize = normalizer_of(text or recognizer.config.text)
    pairs, failures, words = [], [], {}
    for utterance, result in transcribe_many(recognizer, utterances_of(rows, "rows")):
        on_progress()
        hypothesis = ""
        if isinstance(result, Failure):
            failures.append(result)
        else:
            hypothesis = normalize(result.text)
            normalized = [replace(word, text=normalize(word.text)) for word in result.words]
            words[utterance.id] = [word for word in normalized if word.text]
            if " ".join(word.text for word in words[utterance.id]) != hypothesis:
                del words[utterance.id]  # "twenty one" -> "21": the times belong to no word
        reference = normalize(utterance.text or "")
        pairs.append(Pair(utterance.id, reference, hypothesis, utterance.speaker))
    return Evaluation(score(pairs), pairs, failures, words)
