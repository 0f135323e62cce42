"""The object that turns audio into transcripts, in validation, scoring and transcription alike."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from asr import audio
from asr.audio import AudioInput
from asr.config import override, parse
from asr.data.manifest import Utterance
from asr.decoder.confidence import recalibrate
from asr.errors import UserError
from asr.lm.grammar import Grammar, GrammarSource
from asr.lm.ngram import NGram
from asr.model.shipped import english
from asr.recognition.alignment import align_recording
from asr.recognition.decoding import (
    DEFAULT_BEAM,
    Hotwords,
    build_decoder,
    decoder_name,
    hotword_weights,
)
from asr.recognition.emissions import Emissions, EmissionStream
from asr.recognition.endpoint import COMMAND_RULES, ENDPOINT_RULES, EndpointRule
from asr.recognition.model import RecognitionModel, read_model
from asr.recognition.segments import DecodedSegment, Segmenter
from asr.recognition.stream import RecognizerStream
from asr.recognition.transcribe import Failure, transcribe_many
from asr.transcript import Hypothesis, Transcript


class Recognizer:
    """Features, acoustic model, tokenizer and decoder, ready to transcribe.

    `rate_hz` is the sampling rate of the model, `frame_s` the duration of a frame of its emissions
    in seconds, `look_ahead_s` how far beyond the time of a frame a causal model reads the audio,
    `config` all settings of the model.

    >>> recognizer = asr.load("model.asr")              # doctest: +SKIP
    >>> recognizer.transcribe("recording.wav").text     # doctest: +SKIP
    'seven three one'
    """

    def __init__(
        self,
        model: RecognitionModel,
        device: Any = None,
        hotwords: Hotwords | None = None,
        quantized: bool = False,
    ):
        self.config, self.tokenizer = model.config, model.tokenizer
        self.ngram, self.grammar = model.ngram, model.grammar
        self.emitter = model.emitter("auto" if device is None else device, quantized)
        self.quantized = self.emitter.quantized
        # Without a reference to the model, the memory of the float32 weights is free.
        self._model: Any = None if quantized else model
        features = model.config.features
        self.rate_hz = features.rate_hz
        hop = round(features.rate_hz * features.hop_ms / 1000)  # samples
        self.frame_s = hop * model.config.model.subsampling / self.rate_hz
        # A frame of features reads half a window after its time.
        half_window_s = features.window_ms / 2000
        self.look_ahead_s = half_window_s + model.config.lookahead_frames * self.frame_s
        self.hotwords = hotword_weights(hotwords, self)
        self.decoder = build_decoder(self, self.hotwords)

    def __repr__(self) -> str:
        tokens, kind = len(self.tokenizer.pieces), self.config.tokenizer.kind
        count, bits = self.emitter.parameter_count, " in int8" if self.quantized else ""
        size = f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} k"
        decoder = decoder_name(self, self.hotwords)
        return (
            f"<Recognizer: {self.rate_hz} Hz, {tokens} tokens ({kind}), {decoder}, "
            f"{size} parameters{bits} on {self.emitter.device}>"
        )

    @overload
    def transcribe(
        self,
        source: list[Any] | tuple[Any, ...],
        rate_hz: float | None = None,
        *,
        grammar: Grammar | GrammarSource | None = None,
    ) -> list[Transcript]: ...

    @overload
    def transcribe(
        self,
        source: AudioInput,
        rate_hz: float | None = None,
        *,
        grammar: Grammar | GrammarSource | None = None,
    ) -> Transcript: ...

    def transcribe(
        self,
        source: AudioInput | list[Any] | tuple[Any, ...],
        rate_hz: float | None = None,
        *,
        grammar: Grammar | GrammarSource | None = None,
    ) -> Transcript | list[Transcript]:
        """Transcribe a recording, or each of a list of recordings.

        source: a path, a binary file object, the bytes of an audio file, or an array or tensor of
        samples: (N,), or (N, C) or (C, N) for C channels, of which the mean is taken. Floats have
        full scale 1.0; int16, int32 and uint8 are scaled as WAV files are. Any format, rate and
        length works, and the same audio gives the same transcript from every kind of source.

        rate_hz: the sample rate of an array. Without it, an array is taken to be at the rate of the
        model, and a warning is logged once. It must not be given for other sources, because they
        state their own rate.

        grammar: the only sentences that may be said, for this call; see `asr.Grammar`. For many
        calls with one grammar, `with_decoder(grammar=...)` compiles it once.

        Raises `UserError` if a source cannot be read, is empty, or has samples that are not finite.
        To continue with the rest of a list after such an error, use
        `asr.recognition.transcribe.transcribe_many`.
        """
        if grammar is not None:
            return self.with_decoder(grammar=grammar).transcribe(source, rate_hz)
        if isinstance(source, (list, tuple)):
            return self._transcribe_all(source, rate_hz)
        (transcript,) = self._transcribe_all([source], rate_hz)
        return transcript

    def _transcribe_all(
        self, sources: Sequence[AudioInput], rate_hz: float | None
    ) -> list[Transcript]:
        opened = [audio.source_of(source, rate_hz, self.rate_hz) for source in sources]
        utterances = [Utterance(str(number), one) for number, one in enumerate(opened)]
        transcripts = []
        for _, result in transcribe_many(self, utterances):
            if isinstance(result, Failure):
                raise UserError(result.reason)
            transcripts.append(result)
        return transcripts

    @property
    def streams(self) -> bool:
        """Whether it can transcribe audio while it comes in: a causal model in float32.

        The files that such a recognizer transcribes take the same way as a stream.
        """
        return not self.config.model.bidirectional and not self.quantized

    def stream(
        self,
        rate_hz: float,
        *,
        endpoints: Sequence[EndpointRule] | None = None,
        keep_transcript: bool = True,
    ) -> RecognizerStream:
        """Transcribe audio while it comes in.

        rate_hz: the rate of the samples, any whole number of Hz; endpoints: the rules that end an
        utterance, () for none, by default those of `segmenter`; keep_transcript: whether `finish`
        returns the transcript of all the audio, for which the words are kept. Without it, memory
        does not grow at all.

        >>> stream = recognizer.stream(16000)            # doctest: +SKIP
        >>> stream.feed(samples).text                    # doctest: +SKIP
        'seven thr'
        >>> stream.finish().text                         # doctest: +SKIP
        'seven three one'

        Raises `UserError` if the model reads its audio in both directions, or has int8 weights.
        """
        return RecognizerStream(self, rate_hz, endpoints, keep_transcript)

    def align(
        self, source: AudioInput, text: str | Sequence[str], rate_hz: float | None = None
    ) -> Transcript:
        """Find when each word of a known text is spoken in a recording of any length.

        source, rate_hz: as in `transcribe`; text: one sentence on each line, or a list of
        sentences, where a word `*` matches any speech. Returns a transcript with one segment for
        each sentence. Raises `UserError` if the recording cannot be read, or if the text is empty,
        too long for it, or has characters that the model lacks.
        """
        lines = text.splitlines() if isinstance(text, str) else list(text)
        sentences = [line.strip() for line in lines if line.strip()]
        if not sentences:
            raise UserError("align: the text is empty; give the words of the recording")
        opened = audio.source_of(source, rate_hz, self.rate_hz)
        utterance = Utterance("recording", opened)
        transcript, _ = align_recording(self, utterance, sentences)
        return transcript

    def save(self, path: str | Path) -> None:
        """Write a model file with the weights, the settings and the language model in use.

        Hotwords are not part of it. Raises `UserError` if the weights are int8, or if the file
        cannot be written.
        """
        if self._model is None:
            raise UserError(
                f"{path}: int8 weights cannot be saved; load the model without quantized=True"
            )
        self._model.save(path)

    def with_decoder(
        self,
        hotwords: Hotwords | None = None,
        *,
        grammar: Grammar | GrammarSource | None = None,
        **decoder: Any,
    ) -> Recognizer:
        """A recognizer with the same model, whose weights both share, and another decoder.

        hotwords: favored besides those of this recognizer; grammar: a grammar, or the source of
        one, used instead of that of this recognizer; decoder: settings of
        `asr.config.DecoderConfig`. With hotwords or several hypotheses, the beam is 50 where it
        would be 1. Raises `UserError` if a setting or a hotword is invalid.
        """
        other = copy.copy(self)
        needs_beam = bool(hotwords) or int(decoder.get("n_best", 1)) > 1
        if needs_beam and self.config.decoder.beam == 1:
            decoder = {"beam": DEFAULT_BEAM} | decoder
        if decoder:
            changes = [override(f"decoder.{key}", value) for key, value in decoder.items()]
            settings = self.config.model_dump(mode="json")
            other.config = parse(settings, self.config.name, changes)
        if grammar is not None:
            other.grammar = grammar if isinstance(grammar, Grammar) else Grammar(grammar)
        other.hotwords = self.hotwords | hotword_weights(hotwords, self)
        other.decoder = build_decoder(other, other.hotwords)
        if self._model is not None:
            other._model = replace(self._model, config=other.config, grammar=other.grammar)
        return other

    def emissions(
        self, source: AudioInput | Sequence[AudioInput], rate_hz: float | None = None
    ) -> Emissions:
        """The log-probabilities of the tokens in each frame, always in float32.

        source: a recording or a list of them, as in `transcribe`. Each goes through the model as a
        whole, so the memory needed grows with its length.
        """
        sources: Sequence[Any] = source if isinstance(source, (list, tuple)) else [source]
        waveforms = [self._waveform(one, rate_hz) for one in sources]
        return Emissions(*self.emitter.emissions(waveforms), self.frame_s)

    def _waveform(self, source: AudioInput, rate_hz: float | None) -> np.ndarray:
        """(N,) float32 samples at the rate of the model."""
        if isinstance(source, np.ndarray) and source.ndim == 1 and source.dtype == np.float32:
            if len(source) and rate_hz in (None, self.rate_hz):
                return source
        return audio.read(audio.source_of(source, rate_hz, self.rate_hz), self.rate_hz)

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """(T, V) log-probabilities -> hypotheses, best first, with calibrated confidences."""
        return self.calibrated(self.decoder.decode(log_probs, self.frame_s))

    def decode_segments(self, log_probs: np.ndarray) -> list[DecodedSegment]:
        """(T, V) log-probabilities -> the utterances in them.

        A recognizer that streams ends them at its end points; otherwise there is one.
        """
        if not self.streams:
            return [DecodedSegment(0, len(log_probs), self.decode(log_probs), "")]
        segmenter = self.segmenter()
        return [*segmenter.feed(log_probs), *segmenter.finish()]

    def segmenter(self, endpoints: Sequence[EndpointRule] | None = None) -> Segmenter:
        """What decodes emissions in pieces, utterance by utterance.

        endpoints: by default `ENDPOINT_RULES`, or `COMMAND_RULES` with a grammar.
        """
        if endpoints is None:
            endpoints = ENDPOINT_RULES if self.grammar is None else COMMAND_RULES
        return Segmenter(self.decoder, self.frame_s, endpoints, self.calibrated)

    def emission_stream(self) -> EmissionStream:
        """What computes the emissions of samples in pieces; only if `streams`."""
        return self.emitter.stream()

    def calibrated(self, hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
        """The hypotheses with the confidences that the settings of the decoder ask for."""
        c = self.config.decoder
        return [
            replace(one, words=recalibrate(one.words, c.confidence_scale, c.confidence_shift))
            for one in hypotheses
        ]


def load(
    path: str | Path | None = None,
    device: str = "auto",
    *,
    lm: str | Path | NGram | None = None,
    grammar: Grammar | GrammarSource | None = None,
    hotwords: Hotwords | None = None,
    quantized: bool = False,
    **decoder: Any,
) -> Recognizer:
    """`asr.load` for a model that transcribes; raises `UserError` if the model classifies."""
    path = path or english()
    return recognizer_of(
        read_model(path),
        path,
        device,
        lm=lm,
        grammar=grammar,
        hotwords=hotwords,
        quantized=quantized,
        **decoder,
    )


def recognizer_of(
    model: RecognitionModel,
    path: str | Path,
    device: str = "auto",
    *,
    lm: str | Path | NGram | None = None,
    grammar: Grammar | GrammarSource | None = None,
    hotwords: Hotwords | None = None,
    quantized: bool = False,
    **decoder: Any,
) -> Recognizer:
    """The recognizer of a model with the settings of `asr.load`. path: its file, for messages."""
    if model.config.task == "classify":
        raise UserError(f"{path}: this model classifies recordings and writes no text")
    if lm is not None:
        model.ngram = lm if isinstance(lm, NGram) else NGram.load(lm)
    if grammar is not None:
        model.grammar = grammar if isinstance(grammar, Grammar) else Grammar(grammar)
    hotwords = hotword_weights(hotwords, model)
    if (model.ngram is not None or hotwords) and model.config.decoder.beam == 1:
        decoder = {"beam": DEFAULT_BEAM} | decoder
    if decoder:
        changes = [override(f"decoder.{key}", value) for key, value in decoder.items()]
        model.config = parse(model.config.model_dump(mode="json"), str(path), changes)
    if (lm is not None or hotwords) and model.config.decoder.beam == 1:
        raise UserError(
            "decoder.beam: 1 is greedy decoding, which uses no language model or hotwords; try 50"
        )
    return Recognizer(model, device, hotwords, quantized)
