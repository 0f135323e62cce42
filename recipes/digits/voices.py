"""Synthetic voices, and how they speak: one network's voice, changed in pitch, tract and accent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata

import numpy as np
import soxr

from asr.errors import Failed, UserError

RATE_HZ = 16000
HIBARI_RANGE = (
    (0, 2),
    (0, 3),
)  # the network's outputs are no stable interface: tested versions only

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# In the phoneme alphabet of hibari (that of misaki), with symbols its American training data has.
AMERICAN = ("zˈɪɹO", "wˈʌn", "tˈu", "θɹˈi", "fˈɔɹ", "fˈIv", "sˈɪks", "sˈɛvən", "ˈAt", "nˈIn")
BRITISH = ("zˈɪəɹəʊ", "wˈʌn", "tˈu", "θɹˈi", "fˈɔ", "fˈIv", "sˈɪks", "sˈɛvᵊn", "ˈAt", "nˈIn")
# What speakers of other languages make of them: th-stopping and -fronting, final devoicing,
# r-dropping, b or w for v, tense for lax vowels, voiced initial s, monophthongs for diphthongs.
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

LOWEST_VOICED_HZ = 60.0  # below it the network means silence or an edge, not a creaky voice
MEAN_F0_HZ = 205.0  # of the network's own voice
FRAME_BINS = 601  # 0 to 12 kHz in steps of 20 Hz
BIN_HZ = 20.0


@dataclass(frozen=True)
class Voice:
    """How the network's own voice is changed into another."""

    name: str
    f0: float  # factor on the fundamental frequency
    formants: float  # factor on all resonances: above 1 a shorter vocal tract
    rate: float  # 1 is the network's own pace
    liveliness: float  # factor on the movement of F0, in octaves
    tilt_db: float  # an octave, added to the spectrum around 1 kHz
    breath_db: float  # noise against the harmonics
    jitter: float  # relative, a frame
    warp: tuple[float, ...]  # sine series: relative shift of the resonances over frequency
    colour_db: tuple[float, ...]  # cosine series: gain over the mel scale
    accent: tuple[str, ...]  # phonemes of the ten digits

    @property
    def split(self) -> str:
        return self.name.split("-")[0]

    def place(self) -> np.ndarray:
        """Coordinates in which two voices less than 1 apart, in every one, sound nearly alike."""
        return np.array(
            [
                math.log(self.f0) / 0.06,
                math.log(self.formants) / 0.03,
                math.log(self.rate) / 0.1,
                self.tilt_db / 1.0,
            ]
        )


def draw_accent(rng: np.random.Generator) -> tuple[str, ...]:
    """Phonemes of each digit: two voices in three are native, the others keep some of their own."""
    native = AMERICAN if rng.random() < 0.6 else BRITISH
    if rng.random() < 0.65:
        return native
    strength = rng.uniform(0.2, 0.5)
    return tuple(
        str(rng.choice(foreign)) if rng.random() < strength else own
        for own, foreign in zip(native, FOREIGN, strict=True)
    )


def draw_voice(name: str, rng: np.random.Generator) -> Voice:
    """Anyone within the ranges, low voices somewhat preferred."""
    while True:
        highest = 0.75 if rng.random() < 0.5 else 1.4
        f0 = math.exp(rng.uniform(math.log(0.5), math.log(highest)))
        formants = math.exp(rng.uniform(math.log(0.83), math.log(1.2)))
        if f0 > 0.6 or formants > 0.86:  # a very low voice in a very long tract is not understood
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
        colour_db=tuple(rng.normal(0.0, 2.5, 6)),
        accent=draw_accent(rng),
    )


def draw_voices(seed: int, count: int) -> list[Voice]:
    """`count` voices to train on, a fifteenth of that for dev, two fifteenths for test."""
    rng = np.random.default_rng([seed, 0])
    dev = [draw_voice(f"dev-{i:04d}", rng) for i in range(max(1, count // 15))]
    test = [draw_voice(f"test-{i:04d}", rng) for i in range(max(1, 2 * count // 15))]
    held_out = np.stack([voice.place() for voice in dev + test])
    train: list[Voice] = []
    while len(train) < count:
        voice = draw_voice(f"train-{len(train):04d}", rng)
        if (np.abs(held_out - voice.place()).max(axis=1) >= 1).all():
            train.append(voice)
    return train + dev + test


@lru_cache(maxsize=1)
def synthesiser():
    """The network, once a process; raises `UserError` where it is missing or untested."""
    low, high = (".".join(map(str, version)) for version in HIBARI_RANGE)
    mend = f"install it with: pip install 'hibari-tts>={low},<{high}'"
    try:
        installed = metadata.version("hibari-tts")
        from hibari import Hibari
    except ImportError as error:
        raise UserError(
            f"the digits recipe speaks with hibari-tts, which is missing; {mend}"
        ) from error
    if not HIBARI_RANGE[0] <= tuple(int(n) for n in installed.split(".")[:2]) < HIBARI_RANGE[1]:
        raise UserError(
            f"hibari-tts {installed} is installed, which this recipe does not know; {mend}"
        )
    return Hibari()


def smooth_steps(n_frames: int, spread: float, rng: np.random.Generator) -> np.ndarray:
    """A slowly wandering log-rate, (n_frames,): a random value every 0.25 s, lines between them."""
    knots = rng.normal(0.0, spread, 2 + n_frames // 20)
    return np.interp(np.arange(n_frames) / 20, np.arange(len(knots)), knots)


def sample_frames(a: np.ndarray, at: np.ndarray) -> np.ndarray:
    """`a` (..., F) read at fractional frames `at` (F',) by linear interpolation."""
    left = np.minimum(at.astype(np.int64), a.shape[-1] - 2)
    weight = (at - left).astype(np.float32)
    return a[..., left] * (1 - weight) + a[..., left + 1] * weight


@lru_cache(maxsize=2)
def envelope_change(voice: Voice) -> tuple[np.ndarray, np.ndarray]:
    """For each of the bins: the bin of the network's voice to read, and the gain in nepers."""
    hz = np.arange(FRAME_BINS) * BIN_HZ
    shift = sum(b * np.sin(np.pi * (k + 1) * hz / 6000) for k, b in enumerate(voice.warp))
    source = np.maximum.accumulate(np.arange(FRAME_BINS) / voice.formants * (1 + shift))
    mel = np.log1p(hz / 700) / np.log1p(8000 / 700)
    gain_db = sum(c * np.cos(np.pi * (k + 1) * mel) for k, c in enumerate(voice.colour_db))
    gain_db = gain_db + voice.tilt_db * np.log2(np.clip(hz, 125, 8000) / 1000)
    return np.minimum(source, FRAME_BINS - 1.001), (gain_db / 8.686).astype(np.float32)


def speak(phonemes: str, voice: Voice, pace: float, rng: np.random.Generator) -> np.ndarray:
    """One sentence in this voice, 16 kHz, cut to the sound (float32, any level)."""
    from hibari import dsp

    tts = synthesiser()
    half_rate = math.sqrt(voice.rate * pace)  # the network alone stops short of fast speech
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

    # Silence at both ends is not worth synthesising: ours is added later.
    voiced = f0 > LOWEST_VOICED_HZ
    loudness = np.maximum(
        spectra[3][:400].max(axis=0), np.where(voiced, spectra[0][:400].max(axis=0), -9)
    )
    loud = np.flatnonzero(loudness > loudness.max() - 6)
    first, last = max(0, loud[0] - 4), min(len(f0) - 1, loud[-1] + 4)

    # Time: neither all digits nor all their parts are spoken at one pace.
    rate = half_rate * np.exp(smooth_steps(3 * (last - first), 0.12, rng))
    at = first + np.concatenate([[0.0], np.cumsum(rate)])
    at = at[at < last]
    nearest = np.round(at).astype(np.int64)
    voiced = voiced[nearest]

    # Frequency: resonances move, then the spectrum is colored.
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
    harmonic += 0.5 * math.log(voice.f0)  # as many harmonics fewer or more: keeps their power
    # The free phases of voiced frames still carry the pitch that the network meant.
    phi[:, voiced] = rng.uniform(-np.pi, np.pi, (FRAME_BINS, int(voiced.sum())))

    # Pitch: moved, flattened or exaggerated, with a rise or a fall over the sentence.
    octaves = np.log2(np.maximum(sample_frames(f0, at), LOWEST_VOICED_HZ) / MEAN_F0_HZ)
    octaves = octaves * voice.liveliness + rng.normal(0, 0.15) * np.linspace(-1, 1, len(at))
    pitch = MEAN_F0_HZ * voice.f0 * 2**octaves * np.exp(rng.normal(0, voice.jitter, len(at)))
    pitch = np.where(voiced, np.clip(pitch, LOWEST_VOICED_HZ, 500), 0)

    samples = dsp.synth(harmonic, theta, noise, free, phi, pitch.astype(np.float32), rng)
    return cut_to_sound(soxr.resample(samples, dsp.SR, RATE_HZ, quality="HQ"), 45)


def cut_to_sound(samples: np.ndarray, range_db: float) -> np.ndarray:
    """From the first to the last 10 ms within so many dB of the loudest; raises on silence."""
    block = RATE_HZ // 100
    samples = samples[: len(samples) // block * block]
    power = (samples.reshape(-1, block) ** 2).mean(axis=1)
    if not np.isfinite(power).all() or len(power) == 0 or power.max() < 1e-8:
        raise Failed("the synthesiser gave silence or no numbers")
    loud = np.flatnonzero(power > power.max() * 10 ** (-range_db / 10))
    cut = samples[loud[0] * block : (loud[-1] + 1) * block].copy()
    fade = np.linspace(0, 1, block // 2, dtype=np.float32)
    cut[: len(fade)] *= fade
    cut[-len(fade) :] *= fade[::-1]
    return cut


def draw_sentences(
    digits: np.ndarray, accent: tuple[str, ...], rng: np.random.Generator
) -> list[str]:
    """The string in phonemes: in one go, as a list, in groups (telephone), or word by word."""
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
    """One recording (int16, 16 kHz) and its text; two in five are a single digit."""
    n_digits = 1 if rng.random() < 0.4 else int(rng.integers(2, 8))
    digits = rng.integers(0, 10, n_digits)
    pace = math.exp(rng.normal(0, 0.08))
    pieces: list[np.ndarray] = []
    for sentence in draw_sentences(digits, voice.accent, rng):
        if pieces:
            pieces.append(silence(log_uniform(0.03, 0.5, rng)))
        pieces.append(speak(sentence, voice, pace, rng))
    samples = np.concatenate(pieces)
    # Half of the recordings are cut tight: by hand, or by a program that takes weak sounds, such as
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
