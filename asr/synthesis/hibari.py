"""hibari-tts: a small network, whose one voice is changed in pitch, vocal tract and pace.

https://pypi.org/project/hibari-tts (Apache-2.0). The network predicts the fundamental frequency and
the spectral envelope separately, so a voice is defined by changes of both: pitch, vocal tract
length, formant spacing, spectral tilt, breathiness and rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import metadata

import numpy as np
import soxr

from asr.errors import UserError
from asr.synthesis.engine import VoiceEngine, generator
from asr.synthesis.quality import cut_to_sound

RATE_HZ = 16000
# The tested versions of hibari-tts; the outputs of its network are not a stable interface.
TESTED = ((0, 2), (0, 3))
INSTALL = "pip install 'hibari-tts>=0.2,<0.3'"
VOICES = 1000
PAUSE_S = (0.15, 0.5)  # between sentences

LOWEST_VOICED_HZ = 60.0  # a lower F0 marks silence or the edge of a voiced segment
MEAN_F0_HZ = 205.0  # of the unchanged voice of the network
FRAME_BINS = 601  # 0 to 12 kHz in steps of 20 Hz
BIN_HZ = 20.0


@dataclass(frozen=True)
class HibariVoice:
    """The changes that turn the network's own voice into another."""

    f0: float  # factor on the fundamental frequency
    formants: float  # factor on all resonances: above 1 a shorter vocal tract
    rate: float  # speaking rate, relative to the network's own
    liveliness: float  # factor on the deviation of log F0 from its mean
    tilt_db: float  # spectral tilt per octave, relative to 1 kHz
    breath_db: float  # gain of the noise relative to the harmonics
    jitter: float  # relative random deviation of F0 per frame
    warp: tuple[float, ...]  # coefficients of a sine series: relative shift over frequency
    color_db: tuple[float, ...]  # coefficients of a cosine series: gain over the mel scale

    def coordinates(self) -> np.ndarray:
        """(4,) coordinates; voices that differ by less than 1 in all of them sound similar."""
        return np.array(
            [
                math.log(self.f0) / 0.06,
                math.log(self.formants) / 0.03,
                math.log(self.rate) / 0.1,
                self.tilt_db / 1.0,
            ]
        )


class Hibari(VoiceEngine):
    """Voices drawn at random, `0000` to `0999`, half of them with British phonemes."""

    name = "hibari"
    about = "hibari-tts, a small network"
    license = "Apache-2.0"
    install = INSTALL

    def voices(self) -> Sequence[str]:
        return [f"{number:04d}" for number in range(VOICES)]

    def problem(self) -> str:
        return problem()

    def version(self) -> str:
        return metadata.version("hibari-tts")

    def speak(self, text: str, voice: str, seed: int) -> tuple[np.ndarray, int]:
        changes, british = _numbered_voice(voice)
        draw = generator(seed, voice)
        pace = math.exp(draw.normal(0, 0.08))
        pieces: list[np.ndarray] = []
        for phonemes in phonemize(text, british):
            if pieces:
                pieces.append(np.zeros(round(draw.uniform(*PAUSE_S) * RATE_HZ), np.float32))
            pieces.append(speak(phonemes, changes, pace, draw))
        return (np.concatenate(pieces) if pieces else np.zeros(0, np.float32)), RATE_HZ


@lru_cache(maxsize=VOICES)
def _numbered_voice(number: str) -> tuple[HibariVoice, bool]:
    """The voice, and whether it is British."""
    draw = generator("hibari", number)
    return draw_voice(draw), bool(draw.random() < 0.5)


def draw_voice(rng: np.random.Generator) -> HibariVoice:
    """Draw a voice at random; low voices are somewhat more likely."""
    while True:
        highest = 0.75 if rng.random() < 0.5 else 1.4
        f0 = math.exp(rng.uniform(math.log(0.5), math.log(highest)))
        formants = math.exp(rng.uniform(math.log(0.83), math.log(1.2)))
        if f0 > 0.6 or formants > 0.86:  # very low F0 and formants together are unintelligible
            break
    return HibariVoice(
        f0=f0,
        formants=formants,
        rate=math.exp(rng.uniform(math.log(0.75), math.log(1.6))),
        liveliness=rng.uniform(0.2, 1.3),
        tilt_db=rng.uniform(-3.0, 3.0),
        breath_db=rng.uniform(-3.0, 7.0),
        jitter=rng.uniform(0.0, 0.02),
        warp=tuple(rng.normal(0.0, 0.025, 3)),
        color_db=tuple(rng.normal(0.0, 2.5, 6)),
    )


def problem() -> str:
    """Why the package cannot be used; empty if it can."""
    try:
        installed = metadata.version("hibari-tts")
    except metadata.PackageNotFoundError:
        return "hibari-tts is not installed"
    low, high = TESTED
    if not low <= tuple(int(n) for n in installed.split(".")[:2]) < high:
        return f"hibari-tts {installed} is installed, which is not tested"
    return ""


@cache
def synthesizer():
    """The network, loaded once per process; raises `UserError` if it is missing or untested."""
    wrong = problem()
    if wrong:
        raise UserError(f"{wrong}; install it with: {INSTALL}")
    from hibari import Hibari as Network

    return Network()


@cache
def _british():
    """A second network, whose phonemizer knows how words are pronounced in Britain."""
    from hibari.g2p import G2P

    return type(synthesizer())(g2p=G2P(british=True))


def phonemize(text: str, british: bool) -> list[str]:
    """The phonemes of each sentence, in the alphabet of misaki."""
    return (_british() if british else synthesizer()).phonemize(text)


def smooth_steps(n_frames: int, spread: float, rng: np.random.Generator) -> np.ndarray:
    """(n_frames,) a slowly varying log-rate: a random value every 0.25 s, linearly interpolated."""
    knots = rng.normal(0.0, spread, 2 + n_frames // 20)
    return np.interp(np.arange(n_frames) / 20, np.arange(len(knots)), knots)


def sample_frames(a: np.ndarray, at: np.ndarray) -> np.ndarray:
    """`a` (..., F) read at fractional frames `at` (F',) by linear interpolation."""
    left = np.minimum(at.astype(np.int64), a.shape[-1] - 2)
    weight = (at - left).astype(np.float32)
    return a[..., left] * (1 - weight) + a[..., left + 1] * weight


@lru_cache(maxsize=2)
def envelope_change(voice: HibariVoice) -> tuple[np.ndarray, np.ndarray]:
    """(FRAME_BINS,) the source bin of each bin in the network's spectrum, and its gain, nepers."""
    hz = np.arange(FRAME_BINS) * BIN_HZ
    shift = sum(b * np.sin(np.pi * (k + 1) * hz / 6000) for k, b in enumerate(voice.warp))
    source = np.maximum.accumulate(np.arange(FRAME_BINS) / voice.formants * (1 + shift))
    mel = np.log1p(hz / 700) / np.log1p(8000 / 700)
    gain_db = sum(c * np.cos(np.pi * (k + 1) * mel) for k, c in enumerate(voice.color_db))
    gain_db = gain_db + voice.tilt_db * np.log2(np.clip(hz, 125, 8000) / 1000)
    return np.minimum(source, FRAME_BINS - 1.001), (gain_db / 8.686).astype(np.float32)


def speak(phonemes: str, voice: HibariVoice, pace: float, rng: np.random.Generator) -> np.ndarray:
    """(N,) float32: one sentence in this voice at 16 kHz, trimmed, at an arbitrary level."""
    from hibari import dsp

    tts = synthesizer()
    half_rate = math.sqrt(voice.rate * pace)  # the network alone cannot speak fast enough
    outputs = tts.sess.run(
        None,
        {
            "ids": np.asarray([tts.ids(phonemes)], np.int64),
            "speed": np.asarray([half_rate], np.float32),
        },
    )
    # Harmonic log magnitude, its phase, noise log magnitude, free-phase log magnitude and phase:
    # (601, F) each; f0 (F,) in hertz
    *spectra, f0 = (output[0] for output in outputs)

    # Silence at both ends is not synthesized; it is added later.
    voiced = f0 > LOWEST_VOICED_HZ
    loudness = np.maximum(
        spectra[3][:400].max(axis=0), np.where(voiced, spectra[0][:400].max(axis=0), -9)
    )
    loud = np.flatnonzero(loudness > loudness.max() - 6)
    first, last = max(0, loud[0] - 4), min(len(f0) - 1, loud[-1] + 4)

    # Time: the rate varies within the sentence.
    rate = half_rate * np.exp(smooth_steps(3 * (last - first), 0.12, rng))
    at = first + np.concatenate([[0.0], np.cumsum(rate)])
    at = at[at < last]
    nearest = np.round(at).astype(np.int64)
    voiced = voiced[nearest]

    # Frequency: the resonances are shifted, then gains are applied to the spectrum.
    source, gain = envelope_change(voice)
    theta, phi = spectra[1][:, nearest], spectra[4][:, nearest]
    bins = np.round(source).astype(np.int64)
    harmonic, noise, free = (
        sample_frames(sample_frames(spectra[i], at).T, source).T + gain[:, None] for i in (0, 2, 3)
    )
    theta, phi = theta[bins], phi[bins]
    breath = voice.breath_db / 8.686
    noise[:, voiced] += breath
    free[:, voiced] += breath
    harmonic += 0.5 * math.log(voice.f0)  # keeps the power: the number of harmonics is ~ 1 / F0
    # The free phases of voiced frames still contain the original pitch, so they are randomized.
    phi[:, voiced] = rng.uniform(-np.pi, np.pi, (FRAME_BINS, int(voiced.sum())))

    # Pitch: shifted, with a scaled contour and a rise or fall over the sentence.
    octaves = np.log2(np.maximum(sample_frames(f0, at), LOWEST_VOICED_HZ) / MEAN_F0_HZ)
    octaves = octaves * voice.liveliness + rng.normal(0, 0.15) * np.linspace(-1, 1, len(at))
    pitch = MEAN_F0_HZ * voice.f0 * 2**octaves * np.exp(rng.normal(0, voice.jitter, len(at)))
    pitch = np.where(voiced, np.clip(pitch, LOWEST_VOICED_HZ, 500), 0)

    samples = dsp.synth(harmonic, theta, noise, free, phi, pitch.astype(np.float32), rng)
    return cut_to_sound(soxr.resample(samples, dsp.SR, RATE_HZ, quality="HQ"), 45, RATE_HZ)
