"""Speakers of digits: voices of hibari, each with an accent, in three sets without a like pair."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from asr.synthesis.hibari import RATE_HZ, HibariVoice, draw_voice, speak
from asr.synthesis.quality import cut_to_sound

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


@dataclass(frozen=True)
class Speaker:
    """A voice with the pronunciation of its digits."""

    name: str
    voice: HibariVoice
    accent: tuple[str, ...]  # phonemes of the ten digits

    @property
    def split(self) -> str:
        return self.name.split("-")[0]


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


def draw_speaker(name: str, rng: np.random.Generator) -> Speaker:
    return Speaker(name, draw_voice(rng), draw_accent(rng))


def draw_speakers(seed: int, count: int) -> list[Speaker]:
    """`count` speakers for training, count / 15 for dev and 2 * count / 15 for test."""
    rng = np.random.default_rng([seed, 0])
    dev = [draw_speaker(f"dev-{i:04d}", rng) for i in range(max(1, count // 15))]
    test = [draw_speaker(f"test-{i:04d}", rng) for i in range(max(1, 2 * count // 15))]
    held_out = np.stack([speaker.voice.coordinates() for speaker in dev + test])
    train: list[Speaker] = []
    while len(train) < count:
        speaker = draw_speaker(f"train-{len(train):04d}", rng)
        if (np.abs(held_out - speaker.voice.coordinates()).max(axis=1) >= 1).all():
            train.append(speaker)
    return train + dev + test


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


def draw_utterance(speaker: Speaker, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """One recording ((N,) int16 at 16 kHz) and its text; 2 in 5 recordings are a single digit."""
    n_digits = 1 if rng.random() < 0.4 else int(rng.integers(2, 8))
    digits = rng.integers(0, 10, n_digits)
    pace = math.exp(rng.normal(0, 0.08))
    pieces: list[np.ndarray] = []
    for sentence in draw_sentences(digits, speaker.accent, rng):
        if pieces:
            pieces.append(silence(log_uniform(0.03, 0.5, rng)))
        pieces.append(speak(sentence, speaker.voice, pace, rng))
    samples = np.concatenate(pieces)
    # Half of the recordings are trimmed tightly, as by a program that takes weak sounds, such as
    # the f of "four", for silence.
    if rng.random() < 0.5:
        samples = cut_to_sound(samples, rng.uniform(15, 40), RATE_HZ)
        around_s = rng.uniform(0.0, 0.03, 2)
    else:
        around_s = [log_uniform(0.02, 1.0, rng) for _ in range(2)]
    samples = np.concatenate([silence(around_s[0]), samples, silence(around_s[1])])
    peak = 32767 * 10 ** (rng.uniform(-34, -1) / 20)
    dither = rng.random(len(samples), np.float32) - rng.random(len(samples), np.float32)
    samples = np.round(samples * (peak / np.abs(samples).max()) + dither).astype(np.int16)
    return samples, " ".join(DIGITS[digit] for digit in digits)
