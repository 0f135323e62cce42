"""Score a recognizer on utterances. Validation during training and `asr score` both call this."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from asr.config import TextConfig
from asr.data.manifest import Utterance
from asr.recognition.recognizer import Recognizer
from asr.recognition.transcribe import Failure, transcribe_many
from asr.scoring.wer import Pair, Score, score
from asr.text.normalize import normalize
from asr.transcript import Word


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    failures: utterances whose audio cannot be read; they are scored with an empty hypothesis.
    words: the normalized hypothesis words of each utterance, by id, with their times in the file.
    """

    score: Score
    pairs: list[Pair]
    failures: list[Failure]
    words: dict[str, list[Word]] = field(default_factory=dict)


def evaluate(
    recognizer: Recognizer,
    utterances: Iterable[Utterance],
    progress: Callable[[], None] = lambda: None,
    text: TextConfig | None = None,
) -> Evaluation:
    """Transcribe every utterance and compare the transcript with its reference text.

    progress: called after each utterance; text: how reference and hypothesis are normalized, by
    default as the model's training texts were.
    """
    text = text or recognizer.config.text
    pairs, failures, words = [], [], {}
    for utterance, result in transcribe_many(recognizer, utterances):
        progress()
        hypothesis = ""
        if isinstance(result, Failure):
            failures.append(result)
        else:
            hypothesis = normalize(result.text, text)
            normalized = [replace(word, text=normalize(word.text, text)) for word in result.words]
            words[utterance.id] = [word for word in normalized if word.text]
        reference = normalize(utterance.text or "", text)
        pairs.append(Pair(utterance.id, reference, hypothesis, utterance.speaker))
    return Evaluation(score(pairs), pairs, failures, words)
