"""Features: frames, shapes, normalization, and batch invariance (contract 1)."""

import math
from typing import get_args

import numpy as np
import pytest
import torch

from asr.config import FeatureConfig
from asr.model.features import LOG_FLOOR, Features, length_mask

KINDS = {"spectrogram": 201, "log_mel": 80, "mfcc": 40}
CMVN = get_args(FeatureConfig.model_fields["cmvn"].annotation)


def batch(*seconds, rate_hz=16000, seed=0):
    draw = torch.Generator().manual_seed(seed)
    waveforms = [0.1 * torch.randn(round(s * rate_hz), generator=draw) for s in seconds]
    lengths = torch.tensor([len(w) for w in waveforms])
    return torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True), lengths


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_lengths(kind):
    features = Features(FeatureConfig(kind=kind)).eval()
    waveforms, lengths = batch(1.0, 0.503, 0.001)
    found, frames = features(waveforms, lengths)
    assert found.shape == (3, 101, KINDS[kind]) and features.size == KINDS[kind]
    assert frames.tolist() == [101, 51, 1]
    assert not found[~length_mask(frames, 101)].any()  # zero past the end


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cmvn", CMVN)
@pytest.mark.parametrize("floor_db", [None, 80.0])
def test_alone_equals_in_a_batch(kind, cmvn, floor_db):
    features = Features(FeatureConfig(kind=kind, cmvn=cmvn, floor_db=floor_db)).eval()
    waveforms, lengths = batch(0.7, 3.1, 0.03)
    together, frames = features(waveforms, lengths)
    for i, length in enumerate(lengths):
        alone, _ = features(waveforms[i : i + 1, :length], lengths[i : i + 1])
        torch.testing.assert_close(alone[0], together[i, : frames[i]], atol=1e-4, rtol=0)


def test_values_in_the_padding_do_not_matter():
    features = Features(FeatureConfig()).eval()
    waveforms, lengths = batch(0.5, 1.0)
    dirty = waveforms.clone()
    dirty[0, lengths[0] :] = 7.0
    assert torch.equal(features(waveforms, lengths)[0], features(dirty, lengths)[0])


def test_utterance_cmvn_gives_mean_0_and_deviation_1():
    found, _ = Features(FeatureConfig(cmvn="utterance")).eval()(*batch(2.0))
    torch.testing.assert_close(found[0].mean(0), torch.zeros(80), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[0].std(0, correction=0), torch.ones(80), atol=1e-3, rtol=0)


def test_scalar_cmvn_gives_mean_0_and_deviation_1_over_all_bins_together():
    found, frames = Features(FeatureConfig(cmvn="scalar")).eval()(*batch(2.0, 0.7))
    for row, length in zip(found, frames.tolist(), strict=True):
        assert row[:length].mean().abs() < 1e-4
        assert row[:length].std(correction=0).item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("cmvn", ["scalar", "level"])
def test_one_mean_for_all_bins_keeps_the_shape_of_the_spectrum(cmvn):
    """The differences between bins equal those of the raw features divided by one number."""
    samples = batch(1.0)
    features = Features(FeatureConfig(cmvn=cmvn, dither=0.0)).eval()
    (raw,), (found,) = features.raw(*samples)[0], features(*samples)[0]
    slopes = found.diff(dim=1) / raw.diff(dim=1)
    clear = raw.diff(dim=1).abs() > 0.1  # the quotient of smaller ones is rounding
    assert slopes[clear].std() < 1e-3 * slopes[clear].mean()


def test_level_cmvn_measures_loud_frames_only():
    waveforms, lengths = batch(1.0)
    quiet = 1e-4 * batch(2.0, seed=3)[0]
    longer = torch.cat([quiet, waveforms, quiet], 1)
    found = {}
    for cmvn in ("scalar", "level"):
        features = Features(FeatureConfig(cmvn=cmvn, dither=0.0)).eval()
        padded, _ = features(longer, torch.tensor([longer.shape[1]]))
        found[cmvn] = (padded[0, 205:296] - features(waveforms, lengths)[0][0, 5:96]).abs().mean()
    assert 10 * found["level"] < found["scalar"], found


@pytest.mark.parametrize("kind", ["spectrogram", "log_mel"])
def test_a_relative_floor_lies_below_the_peak_at_any_level(kind):
    features = Features(FeatureConfig(kind=kind, cmvn="scalar", floor_db=60.0)).eval()
    waveforms, lengths = batch(1.0)
    waveforms[:, 4000:12000] = 0.0
    loud, soft = (features(gain * waveforms, lengths)[0] for gain in (1.0, 0.01))
    torch.testing.assert_close(loud, soft, atol=1e-3, rtol=0)
    for gain in (1.0, 0.01):
        raw, _ = features.raw(gain * waveforms, lengths)
        assert (raw.max() - raw.min()).item() == pytest.approx(6 * math.log(10), abs=1e-2)


def test_the_relative_floor_is_that_of_each_utterance():
    features = Features(FeatureConfig(cmvn="none", floor_db=60.0)).eval()
    waveforms, lengths = batch(1.0, 0.5)
    waveforms[1] *= 1e-3
    waveforms[:, :4000] = 0.0
    raw, frames = features.raw(waveforms, lengths)
    for row, length in zip(raw, frames.tolist(), strict=True):
        spread = row[:length].max() - row[:length].min()
        assert spread.item() == pytest.approx(6 * math.log(10), abs=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_quiet_around_speech_does_not_change_loud_cmvn(kind):
    waveforms, _ = batch(1.0)
    waveforms *= torch.sin(4 * torch.pi * torch.arange(16000) / 16000)  # loud and less loud frames
    quiet = 1e-4 * batch(2.0, seed=3)[0]
    longer = torch.cat([quiet, waveforms, quiet], 1)
    moved = {}
    for cmvn in ("utterance", "loud"):
        features = Features(FeatureConfig(kind=kind, cmvn=cmvn, dither=0.0)).eval()
        alone, _ = features(waveforms, torch.tensor([waveforms.shape[1]]))
        padded, _ = features(longer, torch.tensor([longer.shape[1]]))
        inner = padded[0, 205:296] - alone[0, 5:96]  # two seconds later, away from the seams
        moved[cmvn] = inner.abs().mean().item()
    assert 10 * moved["loud"] < moved["utterance"], moved


def test_global_cmvn_is_measured_over_all_frames():
    features = Features(FeatureConfig(cmvn="global")).eval()
    batches = [batch(1.0, 0.4, seed=1), batch(2.0, seed=2)]
    features.measure(batches)
    frames = torch.cat([f[length_mask(n, f.shape[1])] for f, n in (features(*b) for b in batches)])
    torch.testing.assert_close(frames.mean(0), torch.zeros(80), atol=1e-3, rtol=0)
    torch.testing.assert_close(frames.std(0, correction=0), torch.ones(80), atol=1e-3, rtol=0)


# ---- numeric oracles -----------------------------------------------------------------------------


def power_spectra(samples, n_fft, window, hop):
    """|DFT|^2 by its definition, (T, bins) float64, of frames centered on multiples of the hop."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)  # periodic
    bins = np.arange(n_fft // 2 + 1)
    basis = np.exp(-2j * np.pi * np.outer(bins, np.arange(window)) / n_fft)
    padded = np.concatenate([np.zeros(window // 2), samples.astype(np.float64), np.zeros(window)])
    starts = range(0, len(samples) + 1, hop)
    return np.array([np.abs(basis @ (hann * padded[i : i + window])) ** 2 for i in starts])


def mel_filters(n_mels, n_fft, rate_hz, low_hz, high_hz):
    """(bins, n_mels) triangles of height 1 on the scale mel = 2595 log10(1 + f / 700)."""
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (low_hz, high_hz))
    mels = [low + (high - low) * i / (n_mels + 1) for i in range(n_mels + 2)]
    edges = [700 * (10 ** (mel / 2595) - 1) for mel in mels]
    filters = np.zeros((n_fft // 2 + 1, n_mels))
    for m, (left, center, right) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        for k in range(n_fft // 2 + 1):
            hz = k * rate_hz / n_fft
            rising, falling = (hz - left) / (center - left), (right - hz) / (right - center)
            filters[k, m] = max(0.0, min(rising, falling))
    return filters


def cosines(n_mels, n_mfcc):
    """(n_mels, n_mfcc) of the orthonormal DCT-II."""
    basis = np.zeros((n_mels, n_mfcc))
    for m in range(n_mels):
        for k in range(n_mfcc):
            scale = math.sqrt((1 if k == 0 else 2) / n_mels)
            basis[m, k] = scale * math.cos(math.pi * k * (2 * m + 1) / (2 * n_mels))
    return basis


def speech_like(rate_hz):
    """Decaying harmonics of 120 Hz in noise (N,): all bands have power, each a different one."""
    t = np.arange(rate_hz // 2) / rate_hz
    voice = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20))
    noise = np.random.default_rng(0).standard_normal(len(t))
    return (np.exp(-3 * t) * (0.1 * voice + 0.02 * noise)).astype(np.float32)


def raw(samples, **settings):
    """(T, F) features before CMVN."""
    features = Features(FeatureConfig(cmvn="none", **settings)).eval()
    found, _ = features(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    return found[0].numpy()


@pytest.mark.parametrize(
    ("rate_hz", "window_ms", "n_fft"), [(16000, 25, 512), (8000, 25, 256), (16000, 32, 512)]
)
@pytest.mark.parametrize(("low_hz", "high_hz", "n_mels"), [(20, None, 40), (300, 3400, 23)])
def test_log_mel_and_mfcc_follow_their_formulas(rate_hz, window_ms, n_fft, low_hz, high_hz, n_mels):
    """In float64 from the definitions of the DFT, the mel scale and the DCT; within 2e-3 nepers,
    0.01 dB, in float32."""
    samples = speech_like(rate_hz)
    window, hop = window_ms * rate_hz // 1000, rate_hz // 100
    power = power_spectra(samples, n_fft, window, hop)
    filters = mel_filters(n_mels, n_fft, rate_hz, low_hz, high_hz or rate_hz / 2)
    log_mel = np.log(np.maximum(power @ filters, LOG_FLOOR))
    settings = dict(
        rate_hz=rate_hz, window_ms=window_ms, low_hz=low_hz, high_hz=high_hz, n_mels=n_mels
    )
    np.testing.assert_allclose(raw(samples, kind="log_mel", **settings), log_mel, atol=2e-3, rtol=0)
    mfcc = raw(samples, kind="mfcc", n_mfcc=13, **settings)
    np.testing.assert_allclose(mfcc, log_mel @ cosines(n_mels, 13), atol=5e-3, rtol=0)


def test_the_spectrogram_follows_its_formula():
    samples = speech_like(16000)
    expected = np.log(np.maximum(power_spectra(samples, 320, 320, 160), LOG_FLOOR))
    found = raw(samples, kind="spectrogram", window_ms=20)
    np.testing.assert_allclose(found, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("amplitude", [1.0, 0.1])
def test_a_tone_has_the_power_that_its_window_gives(amplitude):
    """A cosine of amplitude A in bin k gives (A * sum(w) / 2)^2 there, and a quarter of it in the
    neighbors: a Hann window of N samples sums to N / 2, and its DFT has -N / 4 beside N / 2."""
    rate_hz, hz, window = 16000, 1000, 400
    tone = amplitude * np.cos(2 * np.pi * hz * np.arange(rate_hz) / rate_hz).astype(np.float32)
    frame = raw(tone, kind="spectrogram")[50]
    k = hz * window // rate_hz
    peak = math.log((amplitude * window / 4) ** 2)  # ln 10000 = 9.2103 for A = 1
    assert frame[k] == pytest.approx(peak, abs=1e-4)
    assert frame[[k - 1, k + 1]] == pytest.approx(peak - math.log(4), abs=1e-4)
    others = np.delete(frame, [k - 1, k, k + 1])
    assert (others < peak - 10).all()


@pytest.mark.parametrize("hz", [250, 1000, 4000])
def test_a_tone_is_in_the_mel_band_of_its_frequency(hz):
    """1000 Hz are 1000 mel on this scale; 80 bands lie between 20 Hz, 31.7 mel, and 8000 Hz, 2840.0
    mel, each 34.67 mel apart."""
    tone = np.cos(2 * np.pi * hz * np.arange(16000) / 16000).astype(np.float32)
    mel = 2595 * math.log10(1 + hz / 700)
    band = (mel - 31.75) / 34.67 - 1
    assert abs(raw(tone, kind="log_mel")[50].argmax() - band) < 1


def test_the_first_mfcc_is_the_level_and_a_gain_moves_no_other():
    """Of samples g times as loud, ln(g^2) is added to each log-mel, and sqrt(n_mels) times that to
    the first coefficient."""
    samples = speech_like(16000)
    quiet, loud = raw(samples, kind="mfcc"), raw(4 * samples, kind="mfcc")
    moved = loud - quiet
    assert moved[:, 0] == pytest.approx(math.sqrt(80) * math.log(16), abs=1e-3)
    assert np.abs(moved[:, 1:]).max() < 1e-3


def test_digital_silence_is_finite():
    silence = torch.zeros(1, 8000), torch.tensor([8000])
    for floor_db in (80.0, None):
        for cmvn in CMVN:
            found, _ = Features(FeatureConfig(cmvn=cmvn, floor_db=floor_db)).eval()(*silence)
            assert torch.isfinite(found).all()
    assert torch.all(found == np.float32(np.log(LOG_FLOOR)))


def test_dither_is_for_training_only():
    features = Features(FeatureConfig(dither=1e-3))
    waveforms, lengths = batch(0.5)
    a, b = features.train()(waveforms, lengths)[0], features(waveforms, lengths)[0]
    assert not torch.equal(a, b)
    features.eval()
    assert torch.equal(features(waveforms, lengths)[0], features(waveforms, lengths)[0])


def test_window_and_hop_are_in_milliseconds():
    for rate_hz in (8000, 16000, 44100):
        features = Features(FeatureConfig(rate_hz=rate_hz, window_ms=20, hop_ms=12.5)).eval()
        assert features.power.win_length == round(0.02 * rate_hz)
        assert features.frames(10 * rate_hz) == 10 * rate_hz // round(0.0125 * rate_hz) + 1
