"""Emissions -> the utterances in them, each decoded up to its end point, whatever the pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from asr.decoder.words import complete_words
from asr.recognition.endpoint import Endpointer, EndpointRule
from asr.text.tokenizer import BLANK
from asr.transcript import Hypothesis


class DecoderStream(Protocol):
    """An utterance that is decoded while its emissions come in."""

    def feed(self, log_probs: np.ndarray, /) -> None: ...
    def best(self) -> Hypothesis: ...
    def settled(self) -> int: ...
    def end_cost(self) -> float: ...
    def finish(self) -> list[Hypothesis]: ...


class StreamingDecoder(Protocol):
    """What a segmenter needs of a decoder."""

    @property
    def pieces(self) -> Sequence[str]: ...

    def stream(self, frame_s: float, /) -> DecoderStream: ...


@dataclass(frozen=True)
class DecodedSegment:
    """An utterance of a stream: its frames from `start` up to `end`, and its hypotheses."""

    start: int  # frames of the stream
    end: int
    hypotheses: list[Hypothesis]
    rule: str  # that ended it; "" at the end of the stream
    said: bool = True  # whether a frame of it was not silent


class Segmenter:
    """Decodes a stream of emissions utterance by utterance.

    Each frame is tested for an end point by itself, so the result does not depend on the sizes of
    the pieces. At an end point the decoder's state is dropped; that of the model goes on.
    """

    def __init__(
        self,
        decoder: StreamingDecoder,
        frame_s: float,
        rules: Sequence[EndpointRule],
        calibrated: Callable[[Sequence[Hypothesis]], list[Hypothesis]],
    ):
        self._decoder, self._frame_s, self._rules = decoder, frame_s, rules
        self._calibrated = calibrated
        self._start = 0  # frame of the stream
        self._begin()

    def _begin(self) -> None:
        self._stream = self._decoder.stream(self._frame_s)
        self._endpointer = Endpointer(self._rules, self._frame_s)

    def feed(self, log_probs: np.ndarray) -> list[DecodedSegment]:
        """Decode the next frames (T, V); returns the utterances that end in them."""
        ended, fed = [], 0
        silent = log_probs.argmax(axis=1) == BLANK if len(log_probs) else np.zeros(0, bool)
        for t, is_silent in enumerate(silent.tolist(), start=1):
            rules = self._endpointer.advance(is_silent)
            if not rules:
                continue
            self._stream.feed(log_probs[fed:t])
            fed = t
            cost = self._stream.end_cost()
            rule = next((rule for rule in rules if cost <= rule.max_cost), None)
            if rule is not None:
                ended.append(self._end(rule.name))
        self._stream.feed(log_probs[fed:])
        return ended

    def finish(self) -> list[DecodedSegment]:
        """The utterance at the end of the stream, if it has a frame."""
        return [self._end("")] if self._endpointer.frames else []

    def _end(self, rule: str) -> DecodedSegment:
        end = self._start + self._endpointer.frames
        hypotheses = self._calibrated(self._stream.finish())
        segment = DecodedSegment(self._start, end, hypotheses, rule, self._endpointer.said)
        self._start = end
        self._begin()
        return segment

    def partial(self) -> tuple[int, Hypothesis, int]:
        """The first frame of the utterance under way, its best hypothesis so far, and how many
        words of that no later audio can change."""
        (best,) = self._calibrated([self._stream.best()])
        settled = best.tokens[: self._stream.settled()]
        return self._start, best, complete_words(settled, self._decoder.pieces)


def timed(
    segments: Sequence[DecodedSegment], frame_s: float
) -> list[tuple[float, list[Hypothesis]]]:
    """The start in seconds and the hypotheses of each segment in which something was said.

    With a grammar, what it refused was said too. If nothing was said at all, all segments count.
    """
    chosen = [one for one in segments if _is_said(one)] or segments
    return [(segment.start * frame_s, segment.hypotheses) for segment in chosen]


def _is_said(segment: DecodedSegment) -> bool:
    best = segment.hypotheses[0]
    return bool(best.words or (best.command is not None and segment.rule != "nothing_said"))
