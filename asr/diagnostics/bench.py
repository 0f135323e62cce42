"""Benchmark a model: the real-time factor of each stage, latency, speed and memory of batches."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile
import torch

from asr import audio
from asr.errors import UserError
from asr.model.memory import peak_bytes, reset_peak
from asr.model.model_file import load_model
from asr.recognition.recognizer import Recognizer
from asr.recognition.transcribe import transcript_of
from asr.transcript.writers import FORMATS

CLIP_S = 3.0  # a short recording, such as a voice command, for the latency
NOISE_S = 30.0  # duration of the recording that is generated when none is given
ROUNDS = 3  # repetitions, of which the median is taken
LENGTHS_S, BATCHES = (2.0, 8.0, 30.0), (1, 4, 16)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Stage:
    """The time of one stage of recognition; RTF = seconds / duration of the audio."""

    name: str
    seconds: float
    rtf: float


@dataclass(frozen=True)
class Growth:
    """Time and memory of computing the emissions of one batch: features and acoustic model."""

    length_s: float  # duration of each recording
    batch: int  # number of recordings
    seconds: float
    times_real_time: float  # batch * length_s / seconds
    # Peak memory of the process during this batch; without Linux or CUDA, since it started.
    peak_mib: float


@dataclass(frozen=True)
class Bench:
    """The result of `bench`."""

    parameters: int
    file_mib: float
    load_s: float
    first_s: float  # latency of the first short clip, with kernel selection and compilation
    latency_s: float  # median latency of the short clip after that
    audio_s: float  # duration of the recording whose stages were timed
    stages: tuple[Stage, ...]
    growth: tuple[Growth, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def bench(
    model: str | Path,
    load: Callable[[], Recognizer],
    recording: str | Path | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Bench:
    """Measure a model on one recording, or on generated noise; times are medians of `ROUNDS`.

    load: opens the model with the settings to measure; progress: called after each of the
    2 + len(BATCHES) * len(LENGTHS_S) parts. Raises `UserError` for a recording that cannot be read
    or is shorter than `CLIP_S`.
    """
    started = time.perf_counter()
    recognizer = load()
    load_s = time.perf_counter() - started
    # Count the parameters in the file, because quantized layers do not expose theirs.
    parameters = load_model(model).acoustic.parameter_count()
    with tempfile.TemporaryDirectory() as folder:
        if recording is None:
            recording = Path(folder) / "noise.wav"
            samples = noise(NOISE_S, recognizer.rate_hz)
            soundfile.write(recording, samples, recognizer.rate_hz)
        else:
            samples = audio.read(recording, recognizer.rate_hz)
            if len(samples) < CLIP_S * recognizer.rate_hz:
                raise UserError(f"{recording}: shorter than {CLIP_S:g} s; give a longer recording")
        clip = Path(folder) / "clip.wav"
        soundfile.write(clip, samples[: round(CLIP_S * recognizer.rate_hz)], recognizer.rate_hz)
        first_s = _seconds(lambda: recognizer.transcribe(clip))
        latencies = [_seconds(lambda: recognizer.transcribe(clip)) for _ in range(2 * ROUNDS)]
        progress()
        rounds = [_stages(recognizer, recording) for _ in range(ROUNDS)]
        progress()
    audio_s = len(samples) / recognizer.rate_hz
    medians = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    medians["total"] = sum(medians.values())
    return Bench(
        parameters=parameters,
        file_mib=Path(model).stat().st_size / 2**20,
        load_s=load_s,
        first_s=first_s,
        latency_s=statistics.median(latencies),
        audio_s=audio_s,
        stages=tuple(Stage(name, took, took / audio_s) for name, took in medians.items()),
        growth=tuple(_growth(recognizer, progress)),
    )


def noise(seconds: float, rate_hz: int) -> np.ndarray:
    """(N,) float32 noise, amplitude-modulated at 4 Hz, about the syllable rate of speech."""
    draw = np.random.default_rng(0)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    loudness = 0.1 * np.abs(np.sin(4 * np.pi * t))
    return (loudness * draw.standard_normal(len(t))).astype(np.float32)


def _stages(recognizer: Recognizer, recording: str | Path) -> dict[str, float]:
    """The seconds of each stage for one recording, which is recognized as a whole."""
    seconds: dict[str, float] = {}

    def timed(name: str, call: Callable[[], Value]) -> Value:
        started = time.perf_counter()
        value = call()
        if recognizer.emitter.device.type == "cuda":
            torch.cuda.synchronize()
        seconds[name] = time.perf_counter() - started
        return value

    samples = timed("read", lambda: audio.read(recording, recognizer.rate_hz))
    whole = torch.as_tensor(samples).to(recognizer.emitter.device)[None]
    lengths = torch.tensor([len(samples)], device=recognizer.emitter.device)
    with torch.inference_mode():
        recognizer.emitter.features.eval()
        recognizer.emitter.acoustic.eval()
        features, frames = timed("features", lambda: recognizer.emitter.features(whole, lengths))
        log_probs, _ = timed("model", lambda: recognizer.emitter.acoustic(features, frames))
    rows = log_probs[0].cpu().numpy()
    hypotheses = timed("decode", lambda: recognizer.decode(rows))
    duration_s = len(samples) / recognizer.rate_hz
    timed(
        "format",
        lambda: FORMATS["json"](
            transcript_of(str(recording), duration_s, 0.0, [(0.0, hypotheses)])
        ),
    )
    return seconds


def _growth(recognizer: Recognizer, progress: Callable[[], None]) -> Iterator[Growth]:
    for batch in BATCHES:
        for length_s in LENGTHS_S:
            waveforms = [noise(length_s, recognizer.rate_hz)] * batch
            reset_peak(recognizer.emitter.device)
            seconds = statistics.median(
                _seconds(lambda w=waveforms: recognizer.emissions(w).rows()) for _ in range(ROUNDS)
            )
            progress()
            peak_mib = peak_bytes(recognizer.emitter.device) / 2**20
            yield Growth(length_s, batch, seconds, batch * length_s / seconds, peak_mib)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
