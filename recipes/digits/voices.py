"""Synthetic voices: the voice of one network, changed in pitch, vocal tract and accent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata

import numpy as np
import soxr

from asr.errors import Failed, UserError

RATE_HZ = 16000
# The tested versions of hibari-tts; the outputs of its network are not a stable interface.
HIBARI_RANGE = ((0, 2), (0, 3))

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# In the phoneme alphabet of hibari (that of misaki), with symbols that its training data contains.
AMERICAN = ("zˈɪɹO", "wˈʌn", "tˈu", "θɹˈi", "fˈɔɹ", "fˈIv", "sˈɪks", "sˈɛvən", "ˈAt", "nˈIn")
BRITISH = ("zˈɪəɹəʊ", "wˈʌn", "tˈu", "θɹˈi", "fˈɔ", "fˈIv", "sˈɪks", "sˈɛvᵊn", "ˈAt", "nˈIn")
# Pronunciations with a foreign accent: th-stopping and -fronting, final devoicing, r-dropping, b or
# w for v, tense for lax vowels, voiced initial s, monophthongs for diphthongs.
FOREIGN = (
    ("zˈiɹO", "sˈɪɹO", "zˈɛɹO", "zˈɛɹɔ", "ʤˈɪɹO"),
    ("wˈɑn", "wˈɔn", "vˈʌn", "wˈæn", "ˈʌn"),
    ("tˈʊ", "ʧˈu", "dˈu", "tˈuə"),
    ("tɹˈi", "sɹˈi", "fɹˈi", "θˈɹɪ", "tɹˈɪ"),
    ("fˈɔ", "fˈOɹ", "fˈO", "fˈʊɹ", "fˈɔə"),
    ("fˈIf", "fˈɑv", "fˈæɪv", "fˈIb", "fˈIw"),
    ("sˈiks", "sˈɪs", "zˈɪks", "sˈɛks"),
    ("sˈɛvɛn", "sˈɛfən", "sˈɛbən", "sˈɛwən", "zˈɛvən"),
    ("ˈɛt", "ˈAd", "hˈAt", "ˈIt", "ˈɛɪt"),
    ("nˈɑn", "nˈæɪn", "nˈIn", "nˈIɪn"),
)

LOWEST_VOICED_HZ = 60.0  # a lower F0 marks silence or the edge of a voiced segment
MEAN_F0_HZ = 205.0  # of the unchanged voice of the network
FRAME_BINS = 601  # 0 to 12 kHz in steps of 20 Hz
BIN_HZ = 20.0


@dataclass(frozen=True)
class Voice:
    """The changes that turn the network's own voice into another."""

    name: str
    f0: float  # factor on the fundamental frequency
    formants: float  # factor on all resonances: above 1 a shorter vocal tract
    rate: float  # speaking rate, relative to the network's own
    liveliness: float  # factor on the deviation of log F0 from its mean
    tilt_db: float  # spectral tilt per octave, relative to 1 kHz
    breath_db: float  # gain of the noise relative to the harmonics
    jitter: float  # relative random deviation of F0 per frame
    warp: tuple[float, ...]  # coefficients of a sine series: relative shift over frequency
    color_db: tuple[float, ...]  # coefficients of a cosine series: gain over the mel scale
    accent: tuple[str, ...]  # phonemes of the ten digits

    @property
    def split(self) -> str:
        return self.name.split("-")[0]

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


def draw_accent(rng: np.random.Generator) -> tuple[str, ...]:
    """Phonemes of each digit; about two voices in three are native, the others have an accent."""
    native = AMERICAN if rng.random() < 0.6 else BRITISH
    if rng.random() < 0.65:
        return native
    strength = rng.uniform(0.2, 0.5)
    return tuple(
        str(rng.choice(foreign)) if rng.random() < strength else own
        for own, foreign in zip(native, FOREIGN, strict=True)
    )


def draw_voice(name: str, rng: np.random.Generator) -> Voice:
    """Draw a voice at random; low voices are somewhat more likely."""
    while True:
        highest = 0.75 if rng.random() < 0.5 else 1.4
        f0 = math.exp(rng.uniform(math.log(0.5), math.log(highest)))
        formants = math.exp(rng.uniform(math.log(0.83), math.log(1.2)))
        if f0 > 0.6 or formants > 0.86:  # very low F0 and formants together are unintelligible
            break
    return Voice(
        name=name,
        f0=f0,
        formants=formants,
        rate=math.exp(rng.uniform(math.log(0.75), math.log(1.6))),
        liveliness=rng.uniform(0.2, 1.3),
        tilt_db=rng.uniform(-3.0, 3.0),
        breath_db=rng.uniform(-3.0, 7.0),
        jitter=rng.uniform(0.0, 0.02),
        warp=tuple(rng.normal(0.0, 0.025, 3)),
        color_db=tuple(rng.normal(0.0, 2.5, 6)),
        accent=draw_accent(rng),
    )


def draw_voices(seed: int, count: int) -> list[Voice]:
    """`count` voices for training, count / 15 for dev and 2 * count / 15 for test."""
    rng = np.random.default_rng([seed, 0])
    dev = [draw_voice(f"dev-{i:04d}", rng) for i in range(max(1, count // 15))]
    test = [draw_voice(f"test-{i:04d}", rng) for i in range(max(1, 2 * count // 15))]
    held_out = np.stack([voice.coordinates() for voice in dev + test])
    train: list[Voice] = []
    while len(train) < count:
        voice = draw_voice(f"train-{len(train):04d}", rng)
        if (np.abs(held_out - voice.coordinates()).max(axis=1) >= 1).all():
            train.append(voice)
    return train + dev + test


@lru_cache(maxsize=1)
def synthesizer():
    """The network, loaded once per process; raises `UserError` if it is missing or untested."""
    low, high = (".".join(map(str, version)) for version in HIBARI_RANGE)
    fix = f"install it with: pip install 'hibari-tts>={low},<{high}'"
    try:
        installed = metadata.version("hibari-tts")
        from hibari import Hibari
    except ImportError as error:
        raise UserError(
            f"the digits recipe needs hibari-tts, which is not installed; {fix}"
        ) from error
    if not HIBARI_RANGE[0] <= tuple(int(n) for n in installed.split(".")[:2]) < HIBARI_RANGE[1]:
        raise UserError(
            f"hibari-tts {installed} is installed, with which the recipe is not tested; {fix}"
        )
    return Hibari()


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
def envelope_change(voice: Voice) -> tuple[np.ndarray, np.ndarray]:
    """(FRAME_BINS,) the source bin of each bin in the network's spectrum, and its gain, nepers."""
    hz = np.arange(FRAME_BINS) * BIN_HZ
    shift = sum(b * np.sin(np.pi * (k + 1) * hz / 6000) for k, b in enumerate(voice.warp))
    source = np.maximum.accumulate(np.arange(FRAME_BINS) / voice.formants * (1 + shift))
    mel = np.log1p(hz / 700) / np.log1p(8000 / 700)
    gain_db = sum(c * np.cos(np.pi * (k + 1) * mel) for k, c in enumerate(voice.color_db))
    gain_db = gain_db + voice.tilt_db * np.log2(np.clip(hz, 125, 8000) / 1000)
    return np.minimum(source, FRAME_BINS - 1.001), (gain_db / 8.686).astype(np.float32)


def speak(phonemes: str, voice: Voice, pace: float, rng: np.random.Generator) -> np.ndarray:
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
    return cut_to_sound(soxr.resample(samples, dsp.SR, RATE_HZ, quality="HQ"), 45)


def cut_to_sound(samples: np.ndarray, range_db: float) -> np.ndarray:
    """Trim to the first and last 10 ms block within `range_db` of the loudest one.

    Raises `Failed` for silence or non-finite samples.
    """
    block = RATE_HZ // 100
    samples = samples[: len(samples) // block * block]
    power = (samples.reshape(-1, block) ** 2).mean(axis=1)
    if not np.isfinite(power).all() or len(power) == 0 or power.max() < 1e-8:
        raise Failed("the synthesizer gave silence or samples that are not finite")
    loud = np.flatnonzero(power > power.max() * 10 ** (-range_db / 10))
    cut = samples[loud[0] * block : (loud[-1] + 1) * block].copy()
    fade = np.linspace(0, 1, block // 2, dtype=np.float32)
    cut[: len(fade)] *= fade
    cut[-len(fade) :] *= fade[::-1]
    return cut


def draw_sentences(
    digits: np.ndarray, accent: tuple[str, ...], rng: np.random.Generator
) -> list[str]:
    """The digit string in phonemes: fluently, as a list, in groups, or as separate words."""
    words = [accent[digit] for digit in digits]
    manner = rng.choice(["run", "list", "groups", "apart"], p=[0.35, 0.25, 0.2, 0.2])
    ending = str(rng.choice([".", "", "?", ",", "!"], p=[0.6, 0.1, 0.1, 0.15, 0.05]))
    if manner == "apart":
        return [word + ending for word in words]
    if manner == "list":
        return [", ".join(words) + ending]
    size = len(words) if manner == "run" else int(rng.integers(2, 5))
    groups = [" ".join(words[i : i + size]) for i in range(0, len(words), size)]
    return [", ".join(groups) + ending]


def log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def silence(duration_s: float) -> np.ndarray:
    return np.zeros(round(duration_s * RATE_HZ), np.float32)


def draw_utterance(voice: Voice, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """One recording ((N,) int16 at 16 kHz) and its text; 2 in 5 recordings are a single digit."""
    n_digits = 1 if rng.random() < 0.4 else int(rng.integers(2, 8))
    digits = rng.integers(0, 10, n_digits)
    pace = math.exp(rng.normal(0, 0.08))
    pieces: list[np.ndarray] = []
    for sentence in draw_sentences(digits, voice.accent, rng):
        if pieces:
            pieces.append(silence(log_uniform(0.03, 0.5, rng)))
        pieces.append(speak(sentence, voice, pace, rng))
    samples = np.concatenate(pieces)
    # Half of the recordings are trimmed tightly, as by a program that takes weak sounds, such as
    # the f of "four", for silence.
    if rng.random() < 0.5:
        samples = cut_to_sound(samples, rng.uniform(15, 40))
        around_s = rng.uniform(0.0, 0.03, 2)
    else:
        around_s = [log_uniform(0.02, 1.0, rng) for _ in range(2)]
    samples = np.concatenate([silence(around_s[0]), samples, silence(around_s[1])])
    peak = 32767 * 10 ** (rng.uniform(-34, -1) / 20)
    dither = rng.random(len(samples), np.float32) - rng.random(len(samples), np.float32)
    samples = np.round(samples * (peak / np.abs(samples).max()) + dither).astype(np.int16)
    return samples, " ".join(DIGITS[digit] for digit in digits)
