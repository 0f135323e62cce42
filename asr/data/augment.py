"""Augmentation of waveforms in training.

The modules take samples (N,) at `rate_hz` and a random generator. The generator is seeded for each
utterance and epoch, so that the result does not depend on the process that computes it.
"""

from __future__ import annotations

import io
import math
from concurrent.futures import ThreadPoolExecutor

import soundfile
import torch
import torchaudio
from torch import Tensor, nn

from asr import audio
from asr.audio import audio_files
from asr.config import AugmentConfig
from asr.errors import UserError

SPEED_OF_SOUND_M_S = 343.0
TINY = 1e-20  # added to the power of silence, so that a division by it is finite


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _cut(samples: Tensor, n: int) -> Tensor:
    """The samples cut or padded to (n,); resampling there and back may change the length by one."""
    return nn.functional.pad(samples, (0, n - len(samples)))


def _power(samples: Tensor) -> float:
    return samples.square().mean().item()


def change_speed(samples: Tensor, factor: float, rate_hz: int) -> Tensor:
    """Play faster by `factor`, which also shifts pitch and formants (Ko et al. 2015)."""
    played_hz = round(rate_hz * factor)
    return torch.from_numpy(audio.resample(samples.numpy(), played_hz, rate_hz))


class SilencePadding(nn.Module):
    """Add up to `pad_silence_s` seconds of noise, 30 to 80 dB below the utterance, at both edges.

    Recordings and the chunks of long recordings have such pauses. Each edge is padded with
    probability `p`. With p = 1 the model never sees recordings without pauses at their edges, and
    then misrecognizes short words there.
    """

    def __init__(self, pad_silence_s: float, rate_hz: int, p: float = 1.0):
        super().__init__()
        self.most, self.p = round(pad_silence_s * rate_hz), p

    def forward(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        added = torch.randint(self.most + 1, (2,), generator=generator)
        if self.p < 1:
            added = added * (torch.rand(2, generator=generator) < self.p)
        before, after = added.tolist()
        level = math.sqrt(_power(samples)) * 10 ** (-_uniform(30.0, 80.0, generator) / 20)
        out = colored(before + len(samples) + after, generator)
        out *= level / math.sqrt(_power(out) + TINY)
        out[before : before + len(samples)] = samples
        return out


class Gain(nn.Module):
    """Change the level by a random number of decibels between -`decibels` and `decibels`."""

    def __init__(self, decibels: float):
        super().__init__()
        self.decibels = decibels

    def forward(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        return samples * 10 ** (_uniform(-self.decibels, self.decibels, generator) / 20)


class Recordings:
    """The audio files below a folder, with their durations.

    setting: its name, for messages. Raises `UserError`, which names the setting, if the folder has
    no audio or a file cannot be read.
    """

    def __init__(self, folder: str, rate_hz: int, setting: str):
        self.rate_hz = rate_hz
        try:
            self.paths = audio_files(folder)
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(audio.info, self.paths))
        except UserError as error:
            raise UserError(f"{setting}: {error}") from None
        self.durations_s = [one.duration_s for one in found]

    def whole(self, generator: torch.Generator) -> Tensor:
        """The first channel of a random file, (N,).

        Channels are not averaged, because those of a microphone array are shifted in time.
        """
        index = torch.randint(len(self.paths), (), generator=generator)
        found = audio.read(self.paths[index], self.rate_hz, channel=0)
        if not found.any():
            raise UserError(f"{self.paths[index]}: all its samples are zero")
        return torch.from_numpy(found)

    def segment(self, n: int, generator: torch.Generator) -> Tensor:
        """A random segment of a random file, (n,); a file that is too short is repeated."""
        index = torch.randint(len(self.paths), (), generator=generator)
        left_s = self.durations_s[index] - n / self.rate_hz
        start_s = _uniform(0.0, max(0.0, left_s), generator)
        duration_s = n / self.rate_hz if left_s > 0 else None
        found = torch.from_numpy(audio.read(self.paths[index], self.rate_hz, start_s, duration_s))
        first = 0
        if left_s <= 0:
            first = int(torch.randint(len(found), (), generator=generator))
        return found[(first + torch.arange(n)) % len(found)]


class Noise(nn.Module):
    """Add noise at a random signal-to-noise ratio in the range `snr_db`.

    The ratio is power of the whole utterance / power of the noise. The noise is a segment of a
    recording, or `colored` noise if there are no recordings.
    """

    def __init__(self, snr_db: tuple[float, float], recordings: Recordings | None):
        super().__init__()
        self.snr_db, self.recordings = snr_db, recordings

    def forward(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        draw = self.recordings.segment if self.recordings else colored
        noise = draw(len(samples), generator)
        snr = 10 ** (_uniform(*self.snr_db, generator) / 10)
        return samples + noise * math.sqrt(_power(samples) / (snr * _power(noise) + TINY))


def colored(n: int, generator: torch.Generator) -> Tensor:
    """Stationary noise (n,) with power proportional to 1 / f^k for a random k in [0, 2)."""
    size = fast_length(n)
    slope = _uniform(0.0, 2.0, generator)
    # The spectrum of white noise is white noise, so drawing the spectrum saves a transform.
    spectrum = torch.randn(size // 2 + 1, generator=generator, dtype=torch.complex64)
    bins = torch.arange(len(spectrum)).clamp(min=max(1, size // 400))  # flat below 40 Hz at 16 kHz
    return torch.fft.irfft(spectrum * bins.float() ** (-slope / 2), size)[:n]


class Reverb(nn.Module):
    """Convolve with the impulse response of a room, recorded or `simulated`.

    The direct sound stays at the same time, and the level of the utterance does not change.
    """

    def __init__(self, fade_s: tuple[float, float], rate_hz: int, recordings: Recordings | None):
        super().__init__()
        self.fade_s, self.rate_hz, self.recordings = fade_s, rate_hz, recordings

    def forward(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        if self.recordings:
            room = self.recordings.whole(generator)
        else:
            room = simulated(_uniform(*self.fade_s, generator), self.rate_hz, generator)
        direct = int(room.abs().argmax())  # the direct sound is the loudest
        n = len(samples)
        size = fast_length(n + len(room) - 1)
        reverberant = torch.fft.irfft(
            torch.fft.rfft(samples, size) * torch.fft.rfft(room, size), size
        )
        reverberant = reverberant[direct : direct + n]
        return reverberant * math.sqrt(_power(samples) / (_power(reverberant) + TINY))


def simulated(fade_s: float, rate_hz: int, generator: torch.Generator) -> Tensor:
    """A room impulse response (N,): direct sound, and echoes that fall by 60 dB in `fade_s`."""
    time_s = torch.arange(max(1, round(fade_s * rate_hz))) / rate_hz
    room = torch.randn(len(time_s), generator=generator) * 10 ** (-3 * time_s / fade_s)
    first = round(_uniform(1.0, 5.0, generator) / SPEED_OF_SOUND_M_S * rate_hz)
    room[: first + 1] = 0.0  # the first wall is meters away
    direct_to_echo = 10 ** (_uniform(0.0, 15.0, generator) / 20)
    room = room / (room.norm() * direct_to_echo + TINY)
    room[0] = 1.0
    return room


def fast_length(n: int) -> int:
    """The smallest length of at least n that is 2^i times 1, 3, 5, 9 or 15.

    Its FFT is about five times as fast as that of a length with a large prime factor
    (tools/bench_augment.py).
    """
    return min(k << max(0, math.ceil(n / k) - 1).bit_length() for k in (1, 3, 5, 9, 15))


class Telephone(nn.Module):
    """A land line: 8 kHz, the band of about 300 to 3400 Hz, 8-bit mu-law (ITU-T G.711)."""

    RATE_HZ = 8000

    def __init__(self, rate_hz: int):
        super().__init__()
        self.rate_hz = rate_hz

    def forward(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        narrow = torch.from_numpy(audio.resample(samples.numpy(), self.rate_hz, self.RATE_HZ))
        low_hz = _uniform(50.0, 350.0, generator)
        high_hz = _uniform(3000.0, 3700.0, generator)
        narrow = torchaudio.functional.highpass_biquad(narrow, self.RATE_HZ, low_hz)
        narrow = torchaudio.functional.lowpass_biquad(narrow, self.RATE_HZ, high_hz)
        peak = narrow.abs().max().clamp(min=1e-6)
        coded = torchaudio.functional.mu_law_encoding(narrow / peak, 256)
        narrow = torchaudio.functional.mu_law_decoding(coded, 256) * peak
        wide = audio.resample(narrow.numpy(), self.RATE_HZ, self.rate_hz)
        return _cut(torch.from_numpy(wide), len(samples))


class Codec(nn.Module):
    """Encode as Ogg Vorbis, Ogg Opus or MP3 at a low quality, and decode.

    libsndfile removes the delay of the encoders, so times do not change.
    """

    RATES_HZ = (8000, 12000, 16000, 24000, 48000)  # rates that all three codecs support
    KINDS = (  # container, codec, range of libsndfile's compression level: 0 to 1, the worst
        ("OGG", "VORBIS", 0.7, 1.0),  # 24 to 45 kbit/s at 16 kHz
        ("OGG", "OPUS", 0.9, 1.0),  # 6 to 32 kbit/s
        ("MP3", "MPEG_LAYER_III", 0.6, 0.99),  # libsndfile refuses 1
    )

    def __init__(self, rate_hz: int):
        super().__init__()
        self.rate_hz = rate_hz
        self.coded_hz = min(self.RATES_HZ, key=lambda hz: abs(hz - rate_hz))

    def forward(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        container, codec, least, most = self.KINDS[
            torch.randint(len(self.KINDS), (), generator=generator)
        ]
        level = _uniform(least, most, generator)
        loudest = max(1.0, samples.abs().max().item())  # samples above 1 would be clipped
        plain = audio.resample((samples / loudest).numpy(), self.rate_hz, self.coded_hz)
        with io.BytesIO() as file:
            soundfile.write(
                file, plain, self.coded_hz, codec, format=container, compression_level=level
            )
            file.seek(0)
            coded, _ = soundfile.read(file, dtype="float32")
        coded = audio.resample(coded, self.coded_hz, self.rate_hz)
        return _cut(torch.from_numpy(coded), len(samples)) * loudest


class WaveformAugment(nn.Module):
    """All configured changes, in the order of a real recording: voice, room, noise, line.

    The speed is an argument of `forward`, because batches are planned by the lengths after the
    change of speed. Raises `UserError` if a folder of recordings cannot be used.
    """

    def __init__(self, config: AugmentConfig, rate_hz: int):
        super().__init__()
        self.rate_hz = rate_hz

        def recordings(name: str) -> Recordings | None:
            folder = getattr(config, name)
            return Recordings(folder, rate_hz, f"augment.{name}") if folder else None

        steps: list[tuple[float, nn.Module]] = []  # probability, module
        if config.pad_silence_s:
            padding = SilencePadding(config.pad_silence_s, rate_hz, config.pad_silence_p)
            steps.append((1.0, padding))
        if config.reverb_p:
            rooms = recordings("reverb_folder")
            steps.append((config.reverb_p, Reverb(config.reverb_s, rate_hz, rooms)))
        if config.noise_p:
            steps.append((config.noise_p, Noise(config.noise_snr_db, recordings("noise_folder"))))
        if config.telephone_p:
            steps.append((config.telephone_p, Telephone(rate_hz)))
        if config.codec_p:
            steps.append((config.codec_p, Codec(rate_hz)))
        if config.gain_db:
            steps.append((1.0, Gain(config.gain_db)))
        self.probabilities = [probability for probability, _ in steps]
        self.steps = nn.ModuleList(module for _, module in steps)

    def forward(self, samples: Tensor, generator: torch.Generator, speed: float = 1.0) -> Tensor:
        if speed != 1.0:
            samples = change_speed(samples, speed, self.rate_hz)
        for probability, step in zip(self.probabilities, self.steps, strict=True):
            if torch.rand((), generator=generator) < probability:
                samples = step(samples, generator)
        return samples
