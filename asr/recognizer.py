"""The one road from audio to Transcript: validation, scoring, transcription all go this way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr import audio, checkpoint
from asr.checkpoint import Model
from asr.dataset import pad
from asr.decoder.greedy import GreedyDecoder
from asr.errors import UserError
from asr.transcript import Hypothesis, Segment, Transcript, Word


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

    def __init__(self, model: Model, device: torch.device | str | None = None):
        self.device = pick_device() if device is None else torch.device(device)
        self.config = model.config
        self.features = model.features.to(self.device)
        self.acoustic = model.acoustic.to(self.device)
        self.tokenizer = model.tokenizer
        self.rate_hz = model.config.features.rate_hz
        self.frame_s = model.features.hop * model.config.model.subsampling / self.rate_hz
        self.decoder = GreedyDecoder(model.tokenizer.pieces)

    @torch.inference_mode()
    def emissions(self, waveforms: Sequence[np.ndarray | Tensor]) -> Emissions:
        """[(N_i,)] float32 samples at `rate_hz` -> emissions, always in float32."""
        padded, lengths = pad([torch.as_tensor(waveform) for waveform in waveforms])
        training = self.acoustic.training
        self.features.eval()
        self.acoustic.eval()
        try:
            features, frames = self.features(padded.to(self.device), lengths.to(self.device))
            log_probs, frames = self.acoustic(features, frames)
        finally:
            self.features.train(training)
            self.acoustic.train(training)
        return Emissions(log_probs, frames, self.frame_s)

    def recognise(self, waveforms: Sequence[np.ndarray | Tensor]) -> list[list[Hypothesis]]:
        """[(N_i,)] samples at `rate_hz` -> the hypotheses of each, best first."""
        emissions = self.emissions(waveforms)
        return [self.decoder.decode(row, self.frame_s) for row in emissions.rows()]

    def transcribe(self, source: str | Path | np.ndarray) -> Transcript:
        """A file of any format and rate, or float32 samples (N,) at `rate_hz`.

        Raises `UserError` when the file cannot be read.
        """
        if isinstance(source, (str, Path)):
            name, samples = str(source), audio.read(source, self.rate_hz)
        else:
            name, samples = "", np.asarray(source, dtype=np.float32)
        (hypotheses,) = self.recognise([samples])
        return to_transcript(name, len(samples) / self.rate_hz, hypotheses)


def to_transcript(
    name: str, duration_s: float, hypotheses: list[Hypothesis], start_s: float = 0.0
) -> Transcript:
    """Hypotheses of the stretch that begins at `start_s` of a file; times become the file's."""
    end_s = start_s + duration_s
    # The last frame may reach past the last sample by part of a hop.
    words = tuple(
        replace(
            word,
            start_s=min(start_s + word.start_s, end_s),
            end_s=min(start_s + word.end_s, end_s),
        )
        for word in hypotheses[0].words
    )
    segments = (Segment(start_s, end_s, words),) if words else ()
    return Transcript(
        name, duration_s, segments, tuple(hypothesis.text for hypothesis in hypotheses[1:])
    )


def load(path: str | Path, device: str = "auto") -> Recognizer:
    """Open a model file. Raises `UserError` when there is none, or it is damaged."""
    return Recognizer(checkpoint.load_model(path), pick_device(device))


__all__ = ["Emissions", "Recognizer", "Word", "load", "pick_device", "to_transcript"]
