"""Transcripts of the recordings that are put into a folder, as they arrive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asr.data.manifest import Utterance
from asr.data.watch import POLL_S, watch
from asr.recognition.outputs import Outputs
from asr.recognition.protocol import RecognizerProtocol
from asr.recognition.transcribe import Failure, transcribe_many
from asr.transcript import Transcript


@dataclass
class ArrivalCounts:
    """The number of recordings so far by outcome."""

    transcribed: int = 0
    failed: int = 0
    finished_before: int = 0


def transcribe_arrivals(
    recognizer: RecognizerProtocol,
    folder: str | Path,
    counts: ArrivalCounts,
    finished: Outputs | None = None,
    vad: str = "auto",
    poll_s: float = POLL_S,
) -> Iterator[tuple[Utterance, Transcript | Failure]]:
    """Transcribe the recordings below `folder`, then each new one as it arrives, without end.

    finished: recordings whose output files exist there are counted and not transcribed again; vad:
    see `transcribe_many`; poll_s: seconds between two scans of the folder. The id of an utterance
    is its path in the folder without the suffix. `counts` is updated before each result is yielded.
    Raises `UserError` if the folder is missing.
    """
    folder = Path(folder)
    for paths in watch(folder, poll_s):
        for path in paths:
            utterance = Utterance(str(path.relative_to(folder).with_suffix("")), str(path))
            if finished is not None and finished.finished(utterance):
                counts.finished_before += 1
                continue
            ((_, result),) = transcribe_many(recognizer, [utterance], vad=vad)
            if isinstance(result, Failure):
                counts.failed += 1
            else:
                counts.transcribed += 1
            yield utterance, result
