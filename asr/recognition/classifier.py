"""The object that classifies recordings, in validation, scoring and classification alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, overload

import numpy as np

from asr import audio
from asr.audio import AudioInput
from asr.config import override, parse
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.classification import Classification, classification
from asr.recognition.emissions import Emissions
from asr.recognition.model import RecognitionModel, read_model
from asr.recognition.protocol import RecognizerProtocol
from asr.recognition.transcribe import BATCH_S, Failure, emissions_of_many


class Classifier:
    """Features, model and class names, ready to classify.

    `labels` are the names of the classes, `rate_hz` is the sampling rate of the model, `config` has
    all its settings.

    >>> classifier = asr.load("keywords.asr")                 # doctest: +SKIP
    >>> found = classifier.classify("recording.wav")          # doctest: +SKIP
    >>> found.label, found.confidence                         # doctest: +SKIP
    ('seven', 0.98)
    """

    streams = False  # an utterance is classified as a whole

    def __init__(self, model: RecognitionModel, device: Any = None, quantized: bool = False):
        if model.config.task != "classify":
            raise UserError("this model transcribes and has no classes; use asr.load")
        self.config, self.tokenizer = model.config, model.tokenizer
        self.labels = list(model.tokenizer.pieces)
        self.emitter: Any = model.emitter("auto" if device is None else device, quantized)
        self.rate_hz = model.config.features.rate_hz
        self.frame_s = 0.0  # of its emissions: the one frame of an utterance has no duration
        self._model: Any = None if quantized else model

    def __repr__(self) -> str:
        named = ", ".join(self.labels[:5]) + (", ..." if len(self.labels) > 5 else "")
        return f"<Classifier: {self.rate_hz} Hz, {len(self.labels)} classes ({named})>"

    @classmethod
    def load(cls, path: str | Path, device: str = "auto", quantized: bool = False) -> Classifier:
        """Open the model file of a classifier.

        Raises `UserError` if it is missing or damaged, or if the model transcribes.
        """
        model = read_model(path)
        if model.config.task != "classify":
            raise UserError(f"{path}: this model transcribes and has no classes")
        return cls(model, device, quantized)

    @overload
    def classify(
        self, source: list[Any] | tuple[Any, ...], rate_hz: float | None = None
    ) -> list[Classification]: ...

    @overload
    def classify(self, source: AudioInput, rate_hz: float | None = None) -> Classification: ...

    def classify(
        self, source: AudioInput | list[Any] | tuple[Any, ...], rate_hz: float | None = None
    ) -> Classification | list[Classification]:
        """Classify a recording as a whole, or each of a list of recordings.

        source, rate_hz: as in `Recognizer.transcribe`. `windows` classifies the parts of a long
        recording. Raises `UserError` if a source cannot be read.
        """
        sources = source if isinstance(source, (list, tuple)) else [source]
        opened = [audio.source_of(one, rate_hz, self.rate_hz) for one in sources]
        found = []
        for _, result in self.classify_many(Utterance(str(n), one) for n, one in enumerate(opened)):
            if isinstance(result, Failure):
                raise UserError(result.reason)
            found.append(result)
        return found if isinstance(source, (list, tuple)) else found[0]

    def classify_many(
        self, utterances: Iterable[Utterance], batch_s: float = BATCH_S
    ) -> Iterator[tuple[Utterance, Classification | Failure]]:
        """Classify utterances, in order; one that cannot be read yields a `Failure`."""
        for utterance, found in emissions_of_many(
            cast(RecognizerProtocol, self), utterances, batch_s
        ):
            if isinstance(found, Failure):
                yield utterance, found
                continue
            start_s = utterance.start_s
            end_s = start_s + (utterance.duration_s or audio.info(utterance.audio).duration_s)
            yield utterance, self.classification(found[0], start_s, end_s)

    def classification(self, log_probs: np.ndarray, start_s: float, end_s: float) -> Classification:
        """(C,) natural logs of the probabilities -> the classification of a part of a recording."""
        return classification(log_probs, self.labels, self.config, start_s, end_s)

    def emissions(
        self, source: AudioInput | Sequence[AudioInput], rate_hz: float | None = None
    ) -> Emissions:
        """The log-probabilities of the classes, (B, 1, C), one frame for each recording."""
        log_probs, lengths = self.emitter.emissions(self._waveforms(source, rate_hz))
        return Emissions(log_probs, lengths, self.frame_s)

    def embedding(self, source: AudioInput, rate_hz: float | None = None) -> np.ndarray:
        """(E,) float32: the vector of a recording that the last layer reads, of length 1.

        Recordings of the same class have similar vectors, also of classes that training did not
        have, such as the voices of other speakers.
        """
        (found,) = self.emitter.embeddings(self._waveforms([source], rate_hz))
        return found / max(float(np.linalg.norm(found)), 1e-9)

    def enrol(self, sources: Sequence[AudioInput], rate_hz: float | None = None) -> np.ndarray:
        """(E,) float32 of length 1: the mean embedding of recordings of one speaker."""
        if not len(sources):
            raise UserError("enrol: give at least one recording")
        mean = np.mean([self.embedding(source, rate_hz) for source in sources], axis=0)
        return mean / max(float(np.linalg.norm(mean)), 1e-9)

    def verify(
        self, enrolled: np.ndarray, source: AudioInput, rate_hz: float | None = None
    ) -> float:
        """The similarity of a recording and an enrolled speaker, -1 to 1: the cosine.

        `asr.scoring.verification` finds the threshold from which it is the same speaker.
        """
        return float(enrolled @ self.embedding(source, rate_hz))

    def _waveforms(self, source: Any, rate_hz: float | None) -> list[np.ndarray]:
        """(N,) float32 samples at the rate of the model, of each recording."""
        sources = source if isinstance(source, (list, tuple)) else [source]
        return [
            one
            if isinstance(one, np.ndarray) and one.dtype == np.float32 and rate_hz is None
            else audio.read(audio.source_of(one, rate_hz, self.rate_hz), self.rate_hz)
            for one in sources
        ]

    def with_reject(self, reject: float) -> Classifier:
        """A classifier with the same weights and another `classify.reject`.

        Raises `UserError` if it is not a probability.
        """
        settings = self.config.model_dump(mode="json")
        config = parse(settings, self.config.name, [override("classify.reject", reject)])
        other = object.__new__(Classifier)
        other.__dict__.update(self.__dict__, config=config)
        if self._model is not None:
            other._model = replace(self._model, config=config)
        return other

    def save(self, path: str | Path) -> None:
        """Write a model file. Raises `UserError` if the weights are int8."""
        if self._model is None:
            raise UserError(f"{path}: int8 weights cannot be saved; load the model without them")
        self._model.save(path)
