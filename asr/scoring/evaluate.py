"""A recognizer on a manifest -> score. Validation in training and `asr score` are this function."""

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
    score: Score
    pairs: list[Pair]
    failures: list[Failure]  # unreadable audio: scored as if nothing had been heard
    # By id: what was heard, normalized, with times in the file; not gathered from other processes
    words: dict[str, list[Word]] = field(default_factory=dict)


def evaluate(
    recognizer: Recognizer,
    utterances: Iterable[Utterance],
    progress: Callable[[], None] = lambda: None,
    text: TextConfig | None = None,
) -> Evaluation:
    """Transcribe every utterance and compare it with its text.

    text: how both are normalized; as in training when not given.
    """
    text = text or recognizer.config.text
    pairs, failures, words = [], [], {}
    for utterance, result in transcribe_many(recognizer, utterances):
        progress()
        heard = ""
        if isinstance(result, Failure):
            failures.append(result)
        else:
            heard = normalize(result.text, text)
            spoken = [replace(word, text=normalize(word.text, text)) for word in result.words]
            words[utterance.id] = [word for word in spoken if word.text]
        said = normalize(utterance.text or "", text)
        pairs.append(Pair(utterance.id, said, heard, utterance.speaker))
    return Evaluation(score(pairs), pairs, failures, words)
