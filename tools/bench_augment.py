"""The cost of each augmentation: milliseconds on one thread per second of audio.

    python tools/bench_augment.py [--rate-hz 16000] [--seconds 10]

Each augmentation runs many times with new random choices (of a codec, a room), which determine its
cost; the median is printed. "Recorded" noise and impulse responses are generated WAV files.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from asr.config import AugmentConfig, FeatureConfig, SpecAugmentConfig
from asr.data.augment import WaveformAugment, change_speed, colored, fast_length, simulated
from asr.model.features import Features
from asr.model.spec_augment import SpecAugment
from asr.model.voices import Equalizer, NoiseFloor, Pitch, VocalTract, change_tempo


def median_ms(work: Callable[[int], object], rounds: int) -> float:
    took = []
    for round_ in range(rounds + 1):
        started = time.perf_counter()
        work(round_)
        took.append(time.perf_counter() - started)
    return 1000 * statistics.median(took[1:])  # the first one warms up


def record(folder: Path, rate_hz: int) -> tuple[Path, Path]:
    """Write a folder with a minute of noise, and one with the impulse response of a room."""
    draw = torch.Generator().manual_seed(0)
    sounds = {"noises": colored(60 * rate_hz, draw), "rooms": simulated(0.5, rate_hz, draw)}
    for name, samples in sounds.items():
        (folder / name).mkdir()
        path = folder / name / "a.wav"
        soundfile.write(path, (samples / samples.abs().max()).numpy(), rate_hz)
    return folder / "noises", folder / "rooms"


def bench_voices(features: torch.Tensor, lengths: torch.Tensor, options) -> None:
    """Print the cost of each voice augmentation on the batch for SpecAugment."""
    config = FeatureConfig(rate_hz=options.rate_hz, n_mels=features.shape[2])
    bins = Features(config).power.n_fft // 2 + 1
    power = torch.rand(len(features), bins, features.shape[1])
    factors = torch.linspace(0.8, 1.25, len(features))
    pitch, tract = Pitch(0.3, options.rate_hz, bins), VocalTract(0.25, config)
    equalizer, noise_floor = Equalizer(4.0), NoiseFloor(0.7, (15.0, 60.0))
    kinds = {
        "pitch": lambda _: pitch(power),
        "tempo": lambda _: change_tempo(features, lengths, factors),
        "vocal tract": lambda _: tract(features),
        "equalizer": lambda _: equalizer(features),
        "noise floor": lambda _: noise_floor(features, lengths),
    }
    for name, work in kinds.items():
        took = median_ms(work, options.rounds) / options.seconds / len(features)
        print(f"{name:20} {took:7.3f} ms per second of audio")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate-hz", type=int, default=16000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each utterance")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in a worker
    rate_hz, n = options.rate_hz, round(options.seconds * options.rate_hz)
    draw = np.random.default_rng(0)
    samples = torch.from_numpy(0.1 * draw.standard_normal(n).astype(np.float32))
    with tempfile.TemporaryDirectory() as folder:
        noises, rooms = record(Path(folder), rate_hz)
        kinds = {
            "gain": {"gain_db": 6},
            "noise, generated": {"noise_p": 1},
            "noise, recorded": {"noise_p": 1, "noise_folder": str(noises)},
            "reverb, simulated": {"reverb_p": 1},
            "reverb, recorded": {"reverb_p": 1, "reverb_folder": str(rooms)},
            "telephone": {"telephone_p": 1},
            "codec": {"codec_p": 1},
        }
        took = median_ms(lambda _: change_speed(samples, 0.9, rate_hz), options.rounds)
        print(f"{'speed':20} {took / options.seconds:7.3f} ms per second of audio")
        for name, values in kinds.items():
            augment = WaveformAugment(AugmentConfig(**values), rate_hz)
            took = median_ms(
                lambda seed, augment=augment: augment(samples, torch.Generator().manual_seed(seed)),
                options.rounds,
            )
            print(f"{name:20} {took / options.seconds:7.3f} ms per second of audio")
    features = torch.randn(16, round(options.seconds * 100), 80)
    lengths = torch.full((16,), features.shape[1])
    mask = SpecAugment(SpecAugmentConfig())
    took = median_ms(lambda _: mask(features, lengths), options.rounds)
    print(f"{'SpecAugment':20} {took / options.seconds / 16:7.3f} ms per second of audio")
    bench_voices(features, lengths, options)

    odd = n + 1
    while any(odd % factor == 0 for factor in range(2, int(odd**0.5) + 1)):
        odd += 1
    padded = fast_length(odd)
    noise = torch.randn(odd)
    slow = median_ms(lambda _: torch.fft.irfft(torch.fft.rfft(noise), odd), options.rounds)
    fast = median_ms(
        lambda _: torch.fft.irfft(torch.fft.rfft(noise, padded), padded), options.rounds
    )
    print(
        f"Fourier transform and back: {odd} samples (a prime) {slow:.2f} ms, padded to {padded} "
        f"{fast:.2f} ms, {slow / fast:.1f} times as fast"
    )


if __name__ == "__main__":
    main()
