"""Speakers of digits in three sets: no voice of dev or test is similar to one of train."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from asr.audio import resample
from asr.synthesis.engine import VoiceEngine
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
class Speaker(ABC):
    """Somebody who says digits."""

    name: str  # the set, and what tells the speaker from the others of the set
    words: tuple[str, ...]  # the ten digits, as `speak` reads them

    @property
    def split(self) -> str:
        return self.name.partition("-")[0]

    @abstractmethod
    def speak(self, sentence: str, pace: float, rng: np.random.Generator) -> np.ndarray:
        """(N,) float32: one sentence at `RATE_HZ`, trimmed, at an arbitrary level."""


@dataclass(frozen=True)
class HibariSpeaker(Speaker):
    """A voice of hibari; its words are phonemes, so it can have an accent."""

    voice: HibariVoice

    def speak(self, sentence: str, pace: float, rng: np.random.Generator) -> np.ndarray:
        return speak(sentence, self.voice, pace, rng)


@dataclass(frozen=True)
class EngineSpeaker(Speaker):
    """A voice of another engine, which has a pace of its own."""

    engine: VoiceEngine
    voice: str

    def speak(self, sentence: str, pace: float, rng: np.random.Generator) -> np.ndarray:
        samples, rate_hz = self.engine.speak(sentence, self.voice, int(rng.integers(2**31)))
        return cut_to_sound(resample(samples, rate_hz, RATE_HZ), 45, RATE_HZ)


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


def draw_speaker(name: str, rng: np.random.Generator) -> HibariSpeaker:
    voice = draw_voice(rng)
    return HibariSpeaker(name, draw_accent(rng), voice)


def set_sizes(count: int) -> dict[str, int]:
    """The number of speakers of each set, for `count` speakers in training."""
    return {"train": count, "dev": max(1, count // 15), "test": max(1, 2 * count // 15)}


def draw_speakers(seed: int, count: int) -> list[HibariSpeaker]:
    """The speakers of `set_sizes(count)`, in three sets without two that are similar."""
    rng = np.random.default_rng([seed, 0])
    sizes = set_sizes(count)
    dev = [draw_speaker(f"dev-{i:04d}", rng) for i in range(sizes["dev"])]
    test = [draw_speaker(f"test-{i:04d}", rng) for i in range(sizes["test"])]
    held_out = np.stack([speaker.voice.coordinates() for speaker in dev + test])
    train: list[HibariSpeaker] = []
    while len(train) < count:
        speaker = draw_speaker(f"train-{len(train):04d}", rng)
        if (np.abs(held_out - speaker.voice.coordinates()).max(axis=1) >= 1).all():
            train.append(speaker)
    return train + dev + test


def draw_engine_speakers(engine: VoiceEngine, seed: int, count: int) -> list[EngineSpeaker]:
    """The speakers of `set_sizes(count)`, or fewer where the engine has fewer voices.

    Voices of eSpeak NG that differ only in accent are of one variant, and a variant is in one set
    only. An engine of few voices has one for the test and none for dev.
    """
    rng = np.random.default_rng([seed, *engine.name.encode()])
    variants: dict[str, list[str]] = {}
    for voice in engine.voices():
        variants.setdefault(voice.rpartition("+")[2], []).append(voice)
    order = [list(variants)[i] for i in rng.permutation(len(variants))]
    n_test, n_dev = max(1, len(order) // 6), len(order) // 12
    sets = {
        "train": order[n_test + n_dev :],
        "dev": order[n_test : n_test + n_dev],
        "test": order[:n_test],
    }
    speakers = []
    for split, size in set_sizes(count).items():
        voices = [voice for name in sets[split] for voice in variants[name]]
        for i in rng.permutation(len(voices))[:size]:
            name = f"{split}-{engine.name}-{voices[i]}"
            speakers.append(EngineSpeaker(name, DIGITS, engine, voices[i]))
    return speakers


def draw_sentences(
    digits: np.ndarray, names: tuple[str, ...], rng: np.random.Generator
) -> list[str]:
    """The digit string, with these names: fluently, as a list, in groups, or as separate words."""
    words = [names[digit] for digit in digits]
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
    for sentence in draw_sentences(digits, speaker.words, rng):
        if pieces:
            pieces.append(silence(log_uniform(0.03, 0.5, rng)))
        pieces.append(speaker.speak(sentence, pace, rng))
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
