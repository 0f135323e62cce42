"""How well each text fits its audio, by a model: the worst are likely wrong transcripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappush, heappushpop

from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.alignment import align_recording
from asr.recognition.protocol import RecognizerProtocol

WORST = 10


@dataclass
class Fits:
    """The utterances whose texts fit their audio worst."""

    worst: list[tuple[float, str, str]]  # (score, id, text), the lowest score first
    failed: list[tuple[str, str]] = field(default_factory=list)  # (id, why it cannot be aligned)


def worst_fits(
    recognizer: RecognizerProtocol,
    utterances: Iterable[Utterance],
    count: int = WORST,
    progress: Callable[[], None] = lambda: None,
) -> Fits:
    """Align each utterance with its text; keep the `count` with the lowest scores.

    The score is that of `asr.recognition.alignment.segment`: the mean log-probability of the worst
    second. Speech before and after the text is not counted. Memory holds one utterance.
    """
    heap: list[tuple[float, str, str]] = []  # the root is the best of the worst: scores negated
    fits = Fits([])
    for utterance in utterances:
        progress()
        try:
            _, (found,) = align_recording(recognizer, utterance, [utterance.text or ""])
        except UserError as error:
            fits.failed.append((utterance.id, str(error)))
            continue
        item = (-found.extra["score"], utterance.id, utterance.text or "")
        if len(heap) < count:
            heappush(heap, item)
        elif item > heap[0]:
            heappushpop(heap, item)
    fits.worst = [(-negated, name, text) for negated, name, text in sorted(heap, reverse=True)]
    return fits
