"""Other voices, microphones and rooms, made of a batch's features before CMVN.

These modules change a whole batch on its device, where those of `asr.data.augment` change the
waveform of one utterance in a worker. All of them draw from torch's CPU generator, whatever the
device, and the training step seeds it. What lies past an utterance's length has no influence on its
own frames.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchaudio.functional import create_dct

from asr.config import AugmentConfig, FeatureConfig
from asr.model.features import Features, length_mask

NATS = math.log(10) / 10  # a decibel of power as a difference of natural logarithms
SYLLABLE_FRAMES = 25  # the distance of the knots of a varying tempo: one or two syllables


def change_tempo(
    features: Tensor, lengths: Tensor, factors: Tensor, variation: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Make speech faster (factor > 1) or slower at the same pitch.

    (B, T, F), (B,) frames, (B,) factors -> (B, T', F), (B,) ceil(frames / factor). Frame t reads
    position t * (frames - 1) / (frames' - 1), interpolated linearly between two frames. Speed
    perturbation of the waveform (Ko et al. 2015) moves the pitch as well; it is `augment.speed`.

    With `variation`, the tempo also changes within each utterance, and its length does not: see
    `_varying_positions`.
    """
    before, factors = lengths.cpu(), factors.cpu()
    if not variation and bool((factors == 1).all()):
        return features, lengths
    after = (before / factors).ceil().long()
    last = (after - 1).clamp(min=1)[:, None]
    if variation:
        at = _varying_positions(last, int(after.max()), math.log1p(variation))
        at = at * ((before - 1)[:, None] / last)
    else:
        at = torch.arange(int(after.max())) * ((before - 1)[:, None] / last)  # (B, T')
    at = torch.minimum(at, (before - 1)[:, None].float())
    left = at.long()
    right = torch.minimum(left + 1, before[:, None] - 1)
    weight = (at - left)[:, :, None].to(features)
    index = torch.stack([left, right])[..., None].to(features.device)  # (2, B, T', 1)
    first, second = (features.gather(1, one.expand(-1, -1, features.shape[2])) for one in index)
    return torch.lerp(first, second, weight), after.to(lengths.device)


def _varying_positions(last: Tensor, size: int, most: float) -> Tensor:
    """(B, 1) last frames -> (B, size) positions that rise from 0 to `last` at a varying pace.

    The logarithm of the pace is uniform in -most to most at knots SYLLABLE_FRAMES apart, and
    straight lines lie between.
    """
    knots = most * (2 * torch.rand(len(last), 1, size // SYLLABLE_FRAMES + 2) - 1)
    pace = nn.functional.interpolate(knots, size, mode="linear", align_corners=True)[:, 0].exp()
    at = pace.cumsum(1) - pace[:, :1]  # (B, size)
    ends = at.gather(1, last.clamp(max=size - 1)).clamp(min=1e-3)
    return at * (last / ends)


class Pitch(nn.Module):
    """Change the pitch and leave formants and tempo: (B, bins, T) power spectra -> the same shape.

    The log spectrum is the sum of an envelope, its lowest cepstral coefficients, and a remainder
    that holds the harmonics (Oppenheim and Schafer 1968). The remainder is stretched along the
    frequency axis by a factor that is log-uniform in 1 / (1 + share) to 1 + share. Harmonics are
    separated from the envelope for pitches below 1 / ENVELOPE_S = 400 Hz.
    """

    ENVELOPE_S = 2.5e-3  # quefrencies below are the envelope
    FLOOR = 1e-10  # of the power, before its logarithm

    def __init__(self, share: float, rate_hz: int, bins: int):
        super().__init__()
        self.most = math.log1p(share)
        # Coefficient k of a DCT over 0 to rate / 2 stands for the quefrency k / rate.
        coefficients = min(bins, max(2, round(self.ENVELOPE_S * rate_hz)))
        dct = create_dct(coefficients, bins, norm="ortho")  # (bins, coefficients)
        self.register_buffer("smooth", dct @ dct.T, persistent=False)  # (bins, bins)

    def forward(self, power: Tensor) -> Tensor:
        batch, bins, _ = power.shape
        factors = _factors(self.most, batch)
        log = power.clamp(min=self.FLOOR).log()
        envelope = self.smooth @ log
        read = _interpolation(torch.arange(bins) / factors, bins).to(power)  # (B, bins in, out)
        return (envelope + read.transpose(1, 2) @ (log - envelope)).exp()


class VocalTract(nn.Module):
    """Vocal tract length perturbation (Jaitly and Hinton 2013): (B, T, F) log-mels -> the same.

    The frequency axis is warped by a factor a that is log-uniform in 1 / (1 + share) to 1 + share:
    what stood at a * f hertz moves to f. Above `BEND` of the band (BEND / a for a > 1) the map is
    the straight line to the upper edge, so that the whole band stays filled. Mel bins are
    interpolated linearly.
    """

    BEND = 0.8

    def __init__(self, share: float, features: FeatureConfig):
        super().__init__()
        self.most = math.log1p(share)
        self.high_hz = features.high_hz or features.rate_hz / 2
        self.low_mel = _mel(torch.tensor(features.low_hz))
        high_mel = _mel(torch.tensor(self.high_hz))
        self.spacing_mel = (high_mel - self.low_mel) / (features.n_mels + 1)
        mel = self.low_mel + self.spacing_mel * torch.arange(1, features.n_mels + 1)
        self.centers_hz = 700 * (10 ** (mel / 2595) - 1)  # (F,) on the CPU, as the draws are

    def forward(self, features: Tensor) -> Tensor:
        batch, _, bins = features.shape
        read = _interpolation(self.positions(_factors(self.most, batch)), bins)
        return features @ read.to(features)  # (B, F in, F out)

    def positions(self, factors: Tensor) -> Tensor:
        """(B, 1) factors -> (B, F) the fractional bin that each bin reads."""
        bend_hz = self.BEND * self.high_hz / factors.clamp(min=1.0)  # (B, 1)
        slope = (self.high_hz - factors * bend_hz) / (self.high_hz - bend_hz)
        above_hz = self.high_hz - slope * (self.high_hz - self.centers_hz)
        read_hz = torch.where(self.centers_hz < bend_hz, factors * self.centers_hz, above_hz)
        return (_mel(read_hz) - self.low_mel) / self.spacing_mel - 1


class Equalizer(nn.Module):
    """Add a random gain curve: (B, T, F) log-mels -> the same shape.

    This is FilterAugment of the linear kind (Nam et al. 2022): `KNOTS` gains at equal distances on
    the mel scale, normal with a standard deviation of `decibels`, and straight lines between. A
    tilt is added to it: a straight line over the whole band whose ends differ by a value that is
    uniform in -tilt_db to tilt_db.
    """

    KNOTS = 5

    def __init__(self, decibels: float, tilt_db: float = 0.0):
        super().__init__()
        self.nats, self.tilt_nats = decibels * NATS, tilt_db * NATS

    def forward(self, features: Tensor) -> Tensor:
        batch, _, bins = features.shape
        gains = self.nats * _curves(batch, self.KNOTS, bins)  # (B, F)
        if self.tilt_nats:
            tilts = self.tilt_nats * (2 * torch.rand(batch, 1) - 1)
            gains = gains + tilts * torch.linspace(-0.5, 0.5, bins)
        return features + gains[:, None, :].to(features)


class NoiseFloor(nn.Module):
    """Add the power of stationary noise to a share `p` of utterances.

    (B, T, F) log-mels, (B,) frames -> (B, T, F). The noise lies a distance drawn from `below_db`
    under the loudest bin of the utterance; its spectrum is a random curve with a standard deviation
    of 4.3 dB, and each of its values scatters by `SCATTER`, as the power of noise in one bin and
    frame does.
    """

    KNOTS = 4
    SCATTER = 0.5  # standard deviation, in natural logarithms

    def __init__(self, p: float, below_db: tuple[float, float]):
        super().__init__()
        self.p, self.below_db = p, below_db

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        batch, time, bins = features.shape
        has = torch.rand(batch) < self.p
        low, high = self.below_db
        below = NATS * (low + (high - low) * torch.rand(batch))  # (B,)
        color = _curves(batch, self.KNOTS, bins)  # (B, F)
        level = torch.where(has[:, None], color - below[:, None], -torch.inf).to(features)
        outside = ~length_mask(lengths, time)[:, :, None]  # (B, T, 1)
        peak = features.masked_fill(outside, -torch.inf).amax((1, 2), keepdim=True)  # (B, 1, 1)
        scatter = self.SCATTER * torch.randn(batch, time, bins).to(features)
        return torch.logaddexp(features, peak + level[:, None, :] + scatter)


class Voices(nn.Module):
    """Waveforms -> features before CMVN, with what `augment` asks for on the way.

    Pitch, tempo, vocal tract, equalizer and noise floor follow one another as in a recording: the
    voice, then the line, then noise.
    """

    def __init__(self, config: AugmentConfig, features: Features):
        super().__init__()
        self.features = features
        rate_hz, bins = features.config.rate_hz, features.power.n_fft // 2 + 1
        self.pitch = Pitch(config.pitch, rate_hz, bins) if config.pitch else None
        self.vocal_tract = VocalTract(config.vtlp, features.config) if config.vtlp else None
        gains_db = config.equalizer_db, config.tilt_db
        self.equalizer = Equalizer(*gains_db) if any(gains_db) else None
        self.tempo_variation = config.tempo_variation
        p, below_db = config.noise_floor_p, config.noise_floor_db
        self.noise_floor = NoiseFloor(p, below_db) if p else None

    def forward(
        self, waveforms: Tensor, lengths: Tensor, tempo: Tensor | None = None, views: int = 1
    ) -> tuple[Tensor, Tensor]:
        """(B, N) samples, (B,) -> (views * B, T, F) features and their lengths in frames.

        tempo: (B,) factors of `change_tempo`, None to leave it; views: how often the batch is
        repeated, the second view after all of the first. Each view has voices of its own; the tempo
        is common to all, so that they say the same at the same time.
        """
        power, frames = self.features.spectra(waveforms, lengths)  # (B, bins, T)
        if self.pitch is not None:
            power = self.pitch(power.repeat(views, 1, 1))
            frames, views, tempo = _repeated(frames, views), 1, _repeated(tempo, views)
        features = self.features.from_spectra(power, frames)  # (B, T, F)
        if self.tempo_variation and tempo is None:
            tempo = torch.ones(len(frames))
        if tempo is not None:
            features, frames = change_tempo(features, frames, tempo, self.tempo_variation)
        features, frames = features.repeat(views, 1, 1), _repeated(frames, views)
        if self.vocal_tract is not None:
            features = self.vocal_tract(features)
        if self.equalizer is not None:
            features = self.equalizer(features)
        if self.noise_floor is not None:
            features = self.noise_floor(features, frames)
        return features, frames


def _repeated(values: Tensor | None, count: int) -> Tensor | None:
    return None if values is None else values.repeat(count)


def _factors(most: float, batch: int) -> Tensor:
    """(B, 1) factors, log-uniform in exp(-most) to exp(most)."""
    return (most * (2 * torch.rand(batch, 1) - 1)).exp()


def _mel(hertz: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + hertz / 700)


def _interpolation(at: Tensor, bins: int) -> Tensor:
    """(B, F) fractional positions -> (B, bins, F) matrices that read them, linearly between bins;
    positions beyond the first and the last bin read that bin."""
    at = at.clamp(0, bins - 1)
    return (1 - (at[:, None, :] - torch.arange(bins)[None, :, None]).abs()).clamp(min=0)


def _curves(batch: int, knots: int, bins: int) -> Tensor:
    """(B, bins) straight lines between `knots` standard normal values at equal distances."""
    drawn = torch.randn(batch, 1, knots)
    return nn.functional.interpolate(drawn, bins, mode="linear", align_corners=True)[:, 0]
