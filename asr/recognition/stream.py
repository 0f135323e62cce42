"""Audio that is still coming in -> its text so far, and its transcript at the end.

Whatever the sizes of the pieces, the transcript is the one that `Recognizer.transcribe` gives for
the whole recording: resampling, features, model, decoder and end points all continue exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.audio import LiveResampler
from asr.audio.source import as_floats, checked_rate
from asr.errors import UserError
from asr.recognition.endpoint import EndpointRule
from asr.recognition.segments import DecodedSegment, timed
from asr.recognition.transcribe import transcript_of
from asr.transcript import Hypothesis, SpokenCommand, Transcript, Word

if TYPE_CHECKING:
    from asr.recognition.recognizer import Recognizer

NAME = "stream"  # of the audio, in errors and transcripts


@dataclass(frozen=True)
class FinishedUtterance:
    """An utterance of a stream that an end point has closed; its text does not change any more."""

    start_s: float  # seconds of the stream, at the end point before
    end_s: float  # at the end point
    words: tuple[Word, ...]  # none if nothing was said
    alternatives: tuple[str, ...]  # the texts of the other hypotheses, in order
    rule: str  # the name of the rule that closed it, "" at the end of the stream
    # All of the decoder, best first, with times of the stream; () if only their texts are known
    hypotheses: tuple[Hypothesis, ...] = ()
    command: SpokenCommand | None = None  # with a grammar
    said: bool = True  # whether a frame of it was not silent

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def refused(self) -> bool:
        """Whether something was said that the grammar refused."""
        command = self.command
        return self.said and command is not None and not command.accepted


@dataclass(frozen=True)
class Partial:
    """The text of the utterance under way, and the utterances that ended since the last call."""

    stable: str  # no later audio changes these words
    unstable: str  # the words after them, as far as they are known
    words: tuple[Word, ...]  # of both; times may still move by a few frames
    finished: tuple[FinishedUtterance, ...]

    @property
    def text(self) -> str:
        return " ".join(filter(None, (self.stable, self.unstable)))


class RecognizerStream:
    """A recording that a recognizer transcribes while it comes in (`Recognizer.stream`)."""

    def __init__(
        self,
        recognizer: Recognizer,
        rate_hz: float,
        endpoints: Sequence[EndpointRule] | None,
        keep_transcript: bool,
    ):
        _require_streaming(recognizer)
        self._recognizer = recognizer
        self._resampler = LiveResampler(checked_rate(rate_hz, NAME), recognizer.rate_hz)
        self.emissions = recognizer.emission_stream()  # the step between: samples -> emissions
        self._segmenter = recognizer.segmenter(endpoints)
        self._keep = keep_transcript
        self._segments: list[DecodedSegment] = []  # of the transcript
        self._samples = 0  # at the rate of the model
        self._ended = False

    @property
    def duration_s(self) -> float:
        """The seconds of audio that the model has received; resampling holds a few ms back."""
        return round(self._samples / self._recognizer.rate_hz, 6)

    def feed(self, samples: Any) -> Partial:
        """Hear the next samples; returns the text so far.

        samples: (N,) for mono, or (N, C) for C channels, of which the mean is taken; N from 0 up;
        floats with full scale 1.0, or int16, int32 or uint8 as WAV files have them. Raises
        `UserError` for another type or shape, for values that are not finite, and after the end.
        """
        return self.decode(self.emissions.feed(self.resample(samples)))

    def resample(self, samples: Any) -> np.ndarray:
        """The first step of `feed`: samples as it takes them -> (N,) at the rate of the model."""
        self._check_open()
        found = self._resampler.feed(mono(samples))
        self._samples += len(found)
        return found

    def decode(self, log_probs: np.ndarray) -> Partial:
        """The last step of `feed`: the next emissions (T, V) -> the text so far."""
        return self._partial(self._segmenter.feed(log_probs))

    def end(self) -> Partial:
        """The end of the audio: the utterance under way is finished."""
        self._check_open()
        self._ended = True
        rest = self._resampler.finish()
        self._samples += len(rest)
        ended = self._segmenter.feed(self.emissions.feed(rest))
        if self._samples:
            ended += self._segmenter.feed(self.emissions.finish())
            ended += self._segmenter.finish()
        return self._partial(ended)

    def finish(self) -> Transcript:
        """The end of the audio: its transcript, which is that of the whole recording.

        Without `keep_transcript`, it has only what no call of `feed` has returned as finished.
        """
        self.end()
        parts = timed(self._segments, self._recognizer.frame_s)
        return transcript_of(NAME, self.duration_s, 0.0, parts)

    def _check_open(self) -> None:
        if self._ended:
            raise UserError(f"{NAME}: it has ended; open another with recognizer.stream(rate_hz)")

    def _partial(self, ended: list[DecodedSegment]) -> Partial:
        if self._keep or self._ended:
            self._segments += ended
        start, best, complete = self._segmenter.partial()
        words = self._in_stream(start, best.words)
        return Partial(
            stable=" ".join(word.text for word in words[:complete]),
            unstable=" ".join(word.text for word in words[complete:]),
            words=words,
            finished=tuple(self._finished(segment) for segment in ended),
        )

    def _in_stream(self, start: int, words: Sequence[Word]) -> tuple[Word, ...]:
        """Words of an utterance with times of the stream."""
        offset_s = start * self._recognizer.frame_s
        return tuple(
            replace(
                word,
                start_s=self._at_most_end(offset_s + word.start_s),
                end_s=self._at_most_end(offset_s + word.end_s),
            )
            for word in words
        )

    def _at_most_end(self, time_s: float) -> float:
        """The last frame may extend past the last sample by part of a hop."""
        return min(time_s, self.duration_s) if self._ended else time_s

    def _finished(self, segment: DecodedSegment) -> FinishedUtterance:
        best, *others = segment.hypotheses
        frame_s = self._recognizer.frame_s
        return FinishedUtterance(
            segment.start * frame_s,
            self._at_most_end(segment.end * frame_s),
            self._in_stream(segment.start, best.words),
            tuple(other.text for other in others),
            segment.rule,
            tuple(
                replace(one, words=self._in_stream(segment.start, one.words))
                for one in segment.hypotheses
            ),
            best.command,
            segment.said,
        )


def _require_streaming(recognizer: Recognizer) -> None:
    if recognizer.config.model.bidirectional:
        raise UserError(
            f"model {recognizer.config.name}: it reads each utterance in both directions, so it "
            "cannot transcribe before the end; train with model.streaming=true"
        )
    if recognizer.quantized:
        raise UserError(
            "int8 weights: their emissions depend on the pieces in which the audio comes; load "
            "the model without quantized=True"
        )


def mono(samples: Any) -> np.ndarray:
    """(N,) or (N, C) of any type -> (N,) float32."""
    found = as_floats(samples, NAME)
    if found.ndim == 2 and found.shape[1]:
        found = found.mean(axis=1)
    if found.ndim != 1:
        raise UserError(f"{NAME}: samples of shape {found.shape}; give (N,) or (N, channels)")
    if not np.isfinite(found).all():
        raise UserError(f"{NAME}: holds samples that are not finite numbers (NaN or infinity)")
    return np.ascontiguousarray(found)
