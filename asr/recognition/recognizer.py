"""The one road from audio to Transcript: validation, scoring, transcription all go this way."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.config import parse
from asr.data.manifest import Utterance
from asr.data.padding import pad
from asr.decoder.beam import BeamDecoder
from asr.decoder.confidence import recalibrate
from asr.decoder.greedy import GreedyDecoder
from asr.errors import UserError
from asr.lm.ngram import NGram
from asr.model import model_file
from asr.model.model_file import Model
from asr.model.quantize import quantize
from asr.recognition.transcribe import Failure, transcribe_many, transcript_of
from asr.transcript import Hypothesis, Transcript

DEFAULT_BEAM = 50  # of a language model or hotwords, where nobody chose one


@dataclass
class Emissions:
    """What the acoustic model says of each frame."""

    log_probs: Tensor  # (B, T, V) natural logs, blank = 0
    lengths: Tensor  # (B,) frames
    frame_s: float  # seconds a frame

    def rows(self) -> list[np.ndarray]:
        """One (T_i, V) array an utterance, without padding."""
        log_probs, lengths = self.log_probs.cpu().numpy(), self.lengths.tolist()
        return [log_probs[i, :length] for i, length in enumerate(lengths)]


def pick_device(name: str = "auto") -> torch.device:
    """auto: the first of CUDA, Apple's MPS and the CPU that is there.

    Raises `UserError` for a device that does not exist, or not here.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind in there if there[kind])
    kind = name.partition(":")[0]
    if not there.get(kind, False):
        here = ", ".join(device for device in there if there[device])
        raise UserError(f"device {name!r}: there is no such device here, only {here}")
    return torch.device(name)


class Recognizer:
    """Features, model, tokenizer and decoder, ready to transcribe.

    >>> recognizer = asr.load("model.asr")              # doctest: +SKIP
    >>> recognizer.transcribe("recording.wav").text     # doctest: +SKIP
    'seven three one'
    """

    def __init__(
        self,
        model: Model,
        device: torch.device | str | None = None,
        hotwords: Mapping[str, float] | None = None,
        quantized: bool = False,
    ):
        self.device = pick_device() if device is None else torch.device(device)
        self.quantized = quantized
        self.config = model.config
        self.features = model.features.to(self.device)
        self.acoustic = model.acoustic.to(self.device)
        if quantized:
            self.acoustic = quantize(self.acoustic, self.device)
        self.tokenizer = model.tokenizer
        self.rate_hz = model.config.features.rate_hz
        self.frame_s = model.features.hop * model.config.model.subsampling / self.rate_hz
        self.decoder = build_decoder(model, hotwords)

    def emissions(self, waveforms: Sequence[np.ndarray | Tensor]) -> Emissions:
        """[(N_i,)] float32 samples at `rate_hz` -> emissions, always in float32."""
        training = self.acoustic.training
        self.features.eval()
        self.acoustic.eval()
        try:
            if self.quantized:
                return self._each_alone(waveforms)
            return Emissions(*self._emit(waveforms), self.frame_s)
        finally:
            self.features.train(training)
            self.acoustic.train(training)

    @torch.inference_mode()
    def _emit(self, waveforms: Sequence[np.ndarray | Tensor]) -> tuple[Tensor, Tensor]:
        padded, lengths = pad([torch.as_tensor(waveform) for waveform in waveforms])
        # TF32, cuDNN's default, rounds to 10 bits: enough to see the batch in a transcript.
        with torch.backends.cudnn.flags(allow_tf32=False):
            features, frames = self.features(padded.to(self.device), lengths.to(self.device))
            return self.acoustic(features, frames)

    def _each_alone(self, waveforms: Sequence[np.ndarray | Tensor]) -> Emissions:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as p:
                found = list(p.map(lambda waveform: self._emit([waveform]), waveforms))
        finally:
            torch.set_num_threads(threads)
        rows = [log_probs[0] for log_probs, _ in found]
        lengths = torch.cat([frames for _, frames in found])
        return Emissions(pad_sequence(rows, batch_first=True), lengths, self.frame_s)

    def recognize(self, waveforms: Sequence[np.ndarray | Tensor]) -> list[list[Hypothesis]]:
        """[(N_i,)] samples at `rate_hz` -> the hypotheses of each, best first."""
        rows = self.emissions(waveforms).rows()
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # the beam's loops release the GIL
            return list(pool.map(self.decode, rows))

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """(T, V) log-probabilities of an utterance -> its hypotheses, confidences calibrated."""
        c = self.config.decoder
        return [
            replace(one, words=recalibrate(one.words, c.confidence_scale, c.confidence_shift))
            for one in self.decoder.decode(log_probs, self.frame_s)
        ]

    def transcribe(self, source: str | Path | np.ndarray) -> Transcript:
        """A file of any format, rate and length, or float32 samples (N,) at `rate_hz`.

        Raises `UserError` when the file cannot be read.
        """
        if isinstance(source, (str, Path)):
            utterance = Utterance(Path(source).stem, str(source))
            ((_, result),) = transcribe_many(self, [utterance])
            if isinstance(result, Failure):
                raise UserError(result.reason)
            return result
        samples = np.asarray(source, dtype=np.float32)
        (hypotheses,) = self.recognize([samples])
        return transcript_of("", len(samples) / self.rate_hz, 0.0, [(0.0, hypotheses)])


def build_decoder(
    model: Model, hotwords: Mapping[str, float] | None = None
) -> GreedyDecoder | BeamDecoder:
    """The decoder that a model's configuration asks for: greedy, or a beam with the model's n-gram.

    hotwords: {phrase: weight}.
    """
    c = model.config.decoder
    if c.beam == 1:
        return GreedyDecoder(model.tokenizer.pieces)
    return BeamDecoder(
        model.tokenizer.pieces,
        beam=c.beam,
        lm=model.ngram,
        lm_weight=c.lm_weight,
        word_bonus=c.word_bonus,
        unknown_score=c.unknown_score,
        hotwords=hotwords,
        n_best=c.n_best,
    )


def load(
    path: str | Path,
    device: str = "auto",
    *,
    lm: str | Path | None = None,
    hotwords: Mapping[str, float] | None = None,
    quantized: bool = False,
    **decoder: float,
) -> Recognizer:
    """Open a model file, with other decoder settings where some are given.

    lm: an n-gram file in place of the model's own; hotwords: {phrase: weight} to listen for;
    quantized: int8 weights (`asr.model.quantize`); decoder: fields of `DecoderConfig`, such as
    beam=100. With a language model or hotwords, the beam is 50 unless it was chosen. Raises
    `UserError` if the file is missing or damaged, or if a setting makes no sense.
    """
    model = model_file.load_model(path)
    if lm is not None:
        model.ngram = NGram.load(lm)
    if (model.ngram is not None or hotwords) and model.config.decoder.beam == 1:
        decoder = {"beam": DEFAULT_BEAM} | decoder
    if decoder:
        changes = [f"decoder.{key}={value}" for key, value in decoder.items()]
        model.config = parse(model.config.model_dump(mode="json"), str(path), changes)
    if (lm is not None or hotwords) and model.config.decoder.beam == 1:
        raise UserError("decoder.beam: 1 is greedy, without language model and hotwords; try 50")
    return Recognizer(model, pick_device(device), hotwords, quantized)
