"""A recognizer on a test set -> its error rates; validation and `asr score` use this function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from asr.data.records import Rows, utterances_of
from asr.recognition.recognizer import Recognizer
from asr.recognition.transcribe import Failure, transcribe_many
from asr.scoring.normalization import Normalization, normalizer_of
from asr.scoring.wer import Pair, Score, score
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
