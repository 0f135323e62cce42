"""Pictures of the augmentation of waveforms and of features during training."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from asr.config import AugmentConfig
from asr.data.augment import WaveformAugment, change_speed
from asr.model.features import Features
from asr.model.spec_augment import SpecAugment
from asr.model.voices import Voices
from asr.plotting.recording import drawing
from asr.plotting.recording.batch import as_batch
from asr.plotting.recording.drawing import Picture
from asr.plotting.recording.excerpt import DB, Excerpt

SEED = 37  # fixed, so that pictures are reproducible
VOICES = {
    "tempo_variation": "tempo variation",
    "pitch": "pitch",
    "vtlp": "vocal tract",
    "equalizer_db": "equalizer",
    "tilt_db": "tilt",
    "noise_floor_p": "noise floor",
}


def augment(excerpt: Excerpt) -> Picture:
    """Waveform and log-mel of the original and of each kind of waveform augmentation alone."""
    config, samples = excerpt.augment, torch.from_numpy(excerpt.samples)
    augmented = {"original": samples}
    for factor in [factor for factor in config.speed if factor != 1][:1]:
        augmented[f"speed {factor:g}"] = change_speed(samples, factor, excerpt.rate_hz)
    for step in WaveformAugment(config, excerpt.rate_hz).steps:
        draw = torch.Generator().manual_seed(SEED)
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(step).__name__).lower()
        augmented[name] = step(samples, draw)
    versions = {name: replace(excerpt, samples=one.numpy()) for name, one in augmented.items()}
    figure, rows = drawing.stacked([1.0] * len(versions), columns=2)
    longest_s = max(one.end_s for one in versions.values())
    peak = 1.05 * max(1e-4, *(np.abs(one.samples).max() for one in versions.values()))
    loudest = excerpt.log_mel.max()
    facts = []
    for (name, one), (left, right) in zip(versions.items(), rows, strict=True):
        length_s = one.end_s - one.start_s
        power, before = (np.square(each.samples).mean() + 1e-20 for each in (one, excerpt))
        level = DB * np.log(power / before)
        level = round(float(level), 1) + 0.0  # adding 0.0 turns -0.0 into 0.0
        facts.append(f"{name} {length_s:.2f} s {level:+.1f} dB")
        drawing.wave(left, one)
        left.set_ylim(-peak, peak)
        drawing.title(left, f"{name}: {length_s:.2f} s, level {level:+.1f} dB")
        drawing.decibels(right, one, one.log_mel, loudest=loudest, scale=False)
        drawing.mel_axis(right, one, drawing.FEW_HZ)
        for axes in (left, right):
            axes.set_xlim(excerpt.start_s, longest_s)
        drawing.label(right, y="hertz")
    for axes in rows[-1]:
        drawing.label(axes, "seconds")
    return Picture(figure, ", ".join(facts))


def voices(excerpt: Excerpt) -> Picture:
    """Log-mels of the original and of each kind of augmentation of features alone."""
    log_mel = excerpt.features.model_copy(update={"kind": "log_mel", "cmvn": "none"})
    features = Features(log_mel).eval()
    made = {"original": excerpt.log_mel}
    for name, config, tempo in _single_voices(excerpt.augment):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            one, _ = Voices(config, features)(*as_batch(excerpt.samples), torch.tensor([tempo]))
        made[name] = DB * one[0].numpy()
    figure, rows = drawing.stacked([1.3] * len(made))
    longest_s = max(len(one) for one in made.values()) * excerpt.hop_s
    facts = []
    for (name, one), axes in zip(made.items(), rows, strict=True):
        length_s = (len(one) - 1) * excerpt.hop_s
        facts.append(f"{name} {length_s:.2f} s")
        if len(one) == len(excerpt.log_mel):
            facts[-1] += f" {np.abs(one - excerpt.log_mel).mean():.1f} dB"
        drawing.title(axes, f"{name}: {length_s:.2f} s")
        drawing.decibels(axes, excerpt, one, loudest=excerpt.log_mel.max(), scale=False)
        drawing.mel_axis(axes, excerpt, drawing.FEW_HZ)
        axes.set_xlim(excerpt.start_s, excerpt.start_s + longest_s)
        drawing.label(axes, y="hertz")
    drawing.label(axes, "seconds")
    return Picture(figure, f"mean change of a value: {', '.join(facts)}")


def _single_voices(config: AugmentConfig) -> Iterator[tuple[str, AugmentConfig, float]]:
    """(name, configuration with this kind alone, tempo) of each kind that `config` asks for."""
    for factor in config.tempo:
        if factor != 1:
            yield f"tempo {factor:g}", AugmentConfig(), factor
    for name in VOICES:
        value = getattr(config, name)
        if value and name == "noise_floor_p":
            below_db = config.noise_floor_db
            yield VOICES[name], AugmentConfig(noise_floor_p=1, noise_floor_db=below_db), 1.0
        elif value:
            yield VOICES[name], AugmentConfig(**{name: value}), 1.0


def spec_augment(excerpt: Excerpt) -> Picture:
    """The model's input in training: features normalized per utterance, then with SpecAugment."""
    config = excerpt.features.model_copy(update={"cmvn": "utterance"})
    features, frames = Features(config).eval()(*as_batch(excerpt.samples))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        masked = SpecAugment(excerpt.spec_augment)(features, frames)
    figure, (before, after) = drawing.stacked([1.8, 1.8])
    for axes, rows in ((before, features), (after, masked)):
        drawing.normalized(axes, excerpt, rows[0].numpy(), excerpt.hop_s)
        drawing.label(axes, y=drawing.bins_name(config.kind))
    drawing.title(before, "normalized: each bin has mean 0 and standard deviation 1")
    drawing.title(after, "with SpecAugment: masked spans of time and bands of frequency")
    drawing.label(after, "seconds")
    masked_share = (masked != features).float().mean().item()
    return Picture(figure, f"SpecAugment masks {masked_share:.0%} of {features[0].numel()} values")
