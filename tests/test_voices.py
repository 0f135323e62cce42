"""Voices made of features: what each module does to signals whose answer is known; then the laws
of all of them: zero strength is the identity, a seed decides every draw, padding has no effect."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import AugmentConfig, FeatureConfig, parse
from asr.data.loader import Batch
from asr.data.sampler import BatchSampler
from asr.errors import UserError
from asr.model.features import Features
from asr.model.voices import Equalizer, NoiseFloor, Pitch, VocalTract, Voices, change_tempo

RATE_HZ = 8000
EIGHT_KHZ = FeatureConfig(rate_hz=RATE_HZ, n_mels=40, dither=0.0)
ALL = AugmentConfig(
    pitch=0.3, vtlp=0.25, equalizer_db=4, noise_floor_p=0.7, tempo_variation=0.3, tilt_db=13
)


def bin_of(hertz: float, config: FeatureConfig) -> float:
    """The fractional mel bin that a frequency stands in."""
    low, at, high = (
        2595 * math.log10(1 + hz / 700) for hz in (config.low_hz, hertz, config.rate_hz / 2)
    )
    return (at - low) / (high - low) * (config.n_mels + 1) - 1


def tones(*hertz: float, seconds: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """One pure tone for each row, and the lengths."""
    time_s = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    waves = torch.stack([0.3 * torch.sin(2 * math.pi * hz * time_s) for hz in hertz])
    return waves, torch.full((len(hertz),), waves.shape[1])


def fix_factor(monkeypatch, factor: float) -> None:
    """Draw `factor` for every utterance."""
    fixed = lambda most, batch: torch.full((batch, 1), factor)  # noqa: E731
    monkeypatch.setattr("asr.model.voices._factors", fixed)


# ---- tempo --------------------------------------------------------------------------------------


def test_tempo_keeps_the_ends_and_interpolates_evenly():
    lengths, factors = torch.tensor([200, 120, 7, 1]), torch.tensor([1.3, 0.6, 1.0, 1.5])
    ramp = torch.arange(200.0)[None, :, None].expand(4, -1, 3)
    paced, after = change_tempo(ramp, lengths, factors)
    assert after.tolist() == [154, 200, 7, 1] and paced.shape == (4, 200, 3)
    for row, before, length in zip(paced, lengths.tolist(), after.tolist(), strict=True):
        expected = torch.linspace(0, before - 1, length)
        torch.testing.assert_close(row[:length, 0], expected, atol=1e-3, rtol=0)


@given(
    st.lists(st.tuples(st.integers(1, 60), st.floats(0.5, 2)), min_size=1, max_size=6),
    st.integers(0, 10),
)
@settings(derandomize=True, deadline=None, max_examples=50)
def test_tempo_in_a_batch_is_that_of_each_alone(utterances, seed):
    torch.manual_seed(seed)
    lengths = torch.tensor([n for n, _ in utterances])
    factors = torch.tensor([factor for _, factor in utterances])
    features = torch.randn(len(lengths), int(lengths.max()), 4)
    paced, after = change_tempo(features, lengths, factors)
    assert after.tolist() == [math.ceil(n / f) for n, f in zip(lengths, factors, strict=True)]
    for i, length in enumerate(after.tolist()):
        own = features[i : i + 1, : lengths[i]]
        alone, _ = change_tempo(own, lengths[i : i + 1], factors[i : i + 1])
        torch.testing.assert_close(paced[i, :length], alone[0], atol=1e-5, rtol=0)
        assert own.amin() <= alone.amin() and alone.amax() <= own.amax()


def test_a_varying_tempo_keeps_ends_length_and_limits():
    torch.manual_seed(0)
    lengths = torch.tensor([200, 120, 7, 1])
    factors = torch.tensor([1.0, 0.6, 1.3, 1.0])
    ramp = torch.arange(200.0)[None, :, None].expand(4, -1, 3)
    varied, after = change_tempo(ramp, lengths, factors, variation=0.5)
    assert after.tolist() == [200, 200, 6, 1]
    for row, before, length in zip(varied, lengths.tolist(), after.tolist(), strict=True):
        own = row[:length, 0]
        assert own[0] == 0 and own[-1].item() == pytest.approx(before - 1, abs=1e-3)
        # Two paces differ by at most a factor of 1.5 ** 2, so each differs no more from the mean.
        steps = own.diff() * (length - 1) / max(1, before - 1)
        assert ((1 / 1.5**2 < steps) & (steps < 1.5**2)).all()
    long = varied[0, :, 0].diff()
    assert long.max() / long.min() > 1.2  # the pace does vary


def test_a_varying_tempo_needs_no_change_of_the_mean_tempo():
    varying, plain = AugmentConfig(tempo_variation=0.5), AugmentConfig()
    (found, frames), (expected, untouched) = hear(varying), hear(plain)
    assert torch.equal(frames, untouched) and not torch.allclose(found, expected)


def test_batches_are_planned_by_the_tempo():
    durations_s = np.random.default_rng(0).uniform(1, 6, 400)
    plan = BatchSampler(durations_s, 40.0, 1, added_s=0.2, tempo=(0.6, 1.5)).batches(3)
    tempos = np.array([place.tempo for batch in plan for place in batch])
    assert len(tempos) == 400 and 0.6 <= min(tempos) < 0.65 and 1.4 < max(tempos) <= 1.5
    assert np.median(np.log(tempos)) == pytest.approx(math.log(0.9) / 2, abs=0.05)  # log-uniform
    heard_s = [[(durations_s[p.index] + 0.2) / p.tempo for p in batch] for batch in plan]
    padded_s = [len(batch) * max(batch) for batch in heard_s]
    assert max(padded_s) <= 40.0
    assert sum(padded_s) < 1.2 * sum(map(sum, heard_s))


def test_the_padding_that_is_logged_is_that_at_the_new_tempo():
    lengths, tokens = torch.tensor([8000, 4000]), torch.ones(2, 1, dtype=torch.long)
    batch = Batch(["a", "b"], 2, 1.0, torch.zeros(2, 8000), lengths, tokens, torch.ones(2))
    assert batch.seconds(RATE_HZ) == (1.5, 0.5)
    batch.tempo = torch.tensor([2.0, 1.0])
    assert batch.seconds(RATE_HZ) == (1.0, 0.0)
    batch.tempo = torch.tensor([0.5, 1.0])
    assert batch.seconds(RATE_HZ) == (2.5, 1.5)


# ---- pitch --------------------------------------------------------------------------------------


def harmonics(pitch_hz: float, formant_hz: float = 1100) -> torch.Tensor:
    """(1, bins, 1) the power spectrum of a voice: ripples 200 Hz apart below a broad formant."""
    hz = torch.arange(129) * RATE_HZ / 2 / 128
    envelope = -(((hz - formant_hz) / 500) ** 2)
    return (envelope + 2 * torch.cos(2 * math.pi * hz / pitch_hz)).exp()[None, :, None]


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_pitch_moves_the_harmonics_and_leaves_the_formant(factor, monkeypatch):
    fix_factor(monkeypatch, factor)
    moved = Pitch(0.3, RATE_HZ, 129)(harmonics(200.0)).log()[0, :, 0]
    expected, before = (harmonics(hz).log()[0, :, 0] for hz in (200 * factor, 200.0))
    inner = slice(16, 90)  # away from both edges of the band
    error = (moved - expected)[inner].abs().mean()
    assert error < 0.35 * (before - expected)[inner].abs().mean()


def test_pitch_of_factor_1_changes_nothing(monkeypatch):
    fix_factor(monkeypatch, 1.0)
    power = harmonics(200.0)
    torch.testing.assert_close(Pitch(0.3, RATE_HZ, 129)(power), power)


# ---- vocal tract --------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
@pytest.mark.parametrize("hertz", [700, 1500, 2300])
def test_the_vocal_tract_moves_a_pure_tone_by_its_factor(hertz, factor, monkeypatch):
    fix_factor(monkeypatch, factor)
    features = Features(EIGHT_KHZ).eval()
    raw, _ = features.raw(*tones(hertz))
    moved = VocalTract(0.25, EIGHT_KHZ)(raw)
    loudest = moved[0].mean(0).argmax().item()
    assert abs(loudest - bin_of(hertz / factor, EIGHT_KHZ)) <= 1


def test_the_warped_band_stays_in_order_and_filled_to_its_edges():
    torch.manual_seed(0)
    ramp = torch.arange(40.0).expand(100, 2, 40)
    warped = VocalTract(0.25, EIGHT_KHZ)(ramp)
    assert (warped.diff(dim=2) >= 0).all()
    assert warped[:, :, -1].min() > 37.5 and warped[:, :, 0].max() < 1.0
    assert (warped[:, 0] - warped[:, 1]).abs().max() == 0  # all frames alike
    assert (warped[0] - warped[1]).abs().max() > 0.5  # each utterance its own


# ---- equalizer and noise floor ------------------------------------------------------------------


def test_the_equalizer_is_one_smooth_curve_an_utterance():
    torch.manual_seed(0)
    gains = Equalizer(6.0)(torch.zeros(2000, 3, 40))
    assert torch.equal(gains[:, 0], gains[:, 2])
    decibels = gains[:, 0] * 10 / math.log(10)
    assert decibels[:, 0].std() == pytest.approx(6.0, rel=0.1)
    assert abs(decibels.mean()) < 0.2
    bends = decibels.diff(n=2, dim=1).abs() > 1e-3
    assert bends.sum(1).max() <= 6  # straight but for the two bins around each inner knot


def test_the_tilt_is_a_straight_line_with_uniform_ends():
    torch.manual_seed(0)
    gains = Equalizer(0.0, tilt_db=13.0)(torch.zeros(2000, 3, 40))
    assert torch.equal(gains[:, 0], gains[:, 2])
    decibels = gains[:, 0] * 10 / math.log(10)
    assert decibels.diff(n=2, dim=1).abs().max() < 1e-4 and decibels.mean(1).abs().max() < 1e-4
    ends = decibels[:, -1] - decibels[:, 0]
    assert 12.8 < ends.max() <= 13.001 and -13.001 <= ends.min() < -12.8
    assert ends.std().item() == pytest.approx(13 / 3**0.5, rel=0.05)


def test_the_noise_floor_hides_only_what_is_softer():
    torch.manual_seed(0)
    lengths = torch.tensor([50, 30])
    features = torch.full((2, 50, 40), -40.0)
    features[:, 10, 20] = 0.0
    features[1, 30:] = 100.0  # past the end
    noisy = NoiseFloor(1.0, (30.0, 30.0))(features, lengths)
    for row in noisy[:, :10]:  # 30 dB below the peak, with a spectrum of 4.3 dB deviation
        assert row.mean().item() == pytest.approx(-3 * math.log(10), abs=2.5)
    assert noisy[0, 10, 20].item() == pytest.approx(0.0, abs=0.2)


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_the_noise_floor_meets_its_share_of_utterances(p):
    torch.manual_seed(0)
    features, lengths = torch.randn(1000, 3, 8), torch.full((1000,), 3)
    changed = (NoiseFloor(p, (0.0, 0.0))(features, lengths) != features).flatten(1)
    assert torch.equal(changed.any(1), changed.all(1))
    assert changed.any(1).float().mean().item() == pytest.approx(p, abs=0.05)


# ---- all of them --------------------------------------------------------------------------------


def hear(config: AugmentConfig, seed: int = 0, waves=None, views: int = 1, tempo=None):
    features = Features(EIGHT_KHZ).eval()
    torch.manual_seed(seed)
    waves = waves or tones(700, 1500, 2300)
    return Voices(config, features)(*waves, tempo, views)


def test_default_settings_change_nothing():
    waves = tones(700, 1500, 2300)
    found, frames = hear(AugmentConfig(), waves=waves, tempo=torch.ones(3))
    raw, lengths = Features(EIGHT_KHZ).eval().raw(*waves)
    assert torch.equal(found, raw) and torch.equal(frames, lengths)


def test_a_seed_decides_all_draws():
    first, again, other = (hear(ALL, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    "part",
    [{"pitch": 0.3}, {"vtlp": 0.2}, {"equalizer_db": 4}, {"tilt_db": 13}, {"noise_floor_p": 1}],
    ids=str,
)
def test_each_view_is_another_voice_at_the_same_pace(part):
    tempo = torch.tensor([0.8, 1.0, 1.3])
    voices = AugmentConfig(**part)
    found, frames = hear(voices, views=2, tempo=tempo)
    plain, lengths = hear(AugmentConfig(), views=2, tempo=tempo)
    assert frames.tolist() == lengths.tolist() == [64, 51, 40, 64, 51, 40]
    assert found.shape == plain.shape and torch.equal(plain[:3], plain[3:])
    for a, b, length in zip(found[:3], found[3:], frames.tolist(), strict=False):
        assert (a[:length] - b[:length]).abs().max() > 0.05


def test_samples_past_the_end_change_no_frame():
    waves, _ = tones(700, 1500)
    lengths, found = torch.tensor([4000, 2500]), []
    for beyond in (0.0, 0.9):
        waves[1, 2500:] = beyond
        made, frames = hear(ALL, waves=(waves, lengths), tempo=torch.tensor([0.8, 1.3]))
        found.append([row[:length] for row, length in zip(made, frames.tolist(), strict=True)])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


# ---- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "needle"),
    [
        ({"features": {"kind": "mfcc"}, "augment": {"vtlp": 0.1}}, "augment.vtlp 0.1 has no"),
        ({"augment": {"tempo": [1.1, 1.3]}}, "min <= 1 <= max"),
        ({"augment": {"tempo": [0.2, 1.3]}}, "0.25 <= min"),
        ({"features": {"kind": "mfcc"}, "augment": {"tilt_db": 3}}, "augment.tilt_db 3"),
        ({"augment": {"noise_floor_p": 1, "noise_floor_db": [9, 1]}}, "[9, 1] is empty"),
        ({"augment": {"noise_floor_db": [1, 9]}}, "noise_floor_p above 0"),
        ({"augment": {"strength": "huge"}}, "augment.strength"),
        ({"augment": {"tempo": [0.5, 1]}, "train": {"batch_s": 40}}, "at speed 0.5"),
    ],
    ids=str,
)
def test_settings_without_effect_or_range_are_refused(values, needle):
    with pytest.raises(UserError) as error:
        parse({"name": "a", **values}, "here")
    assert needle in str(error.value)


def test_a_policy_fills_what_is_not_given():
    plain = parse({"name": "a"}, "here").augment
    strong = parse({"name": "a", "augment": {"strength": "strong", "vtlp": 0.1}}, "here").augment
    assert strong.vtlp == 0.1 and strong.tempo == (0.5, 1.3) and strong.strength is None
    assert plain.pad_silence_s == 0.3 and plain.tempo == (1, 1)
    none = parse({"name": "a", "augment": {"strength": "none"}}, "here").augment
    assert none.pad_silence_s == 0 and none.pace == (1, 1)


def test_an_override_of_the_policy_replaces_the_values_of_the_file():
    file = {"name": "a", "augment": {"vtlp": 0.1, "noise_p": 0.5, "noise_snr_db": [1, 2]}}
    assert parse(file, "here", ["augment.strength=light"]).augment.noise_p == 0.5
    light = parse(file, "here", ["augment.vtlp=0.2", "augment.strength=light"]).augment
    assert (light.vtlp, light.equalizer_db, light.noise_snr_db) == (0.2, 3.0, (1, 2))
    none = parse(file, "here", ["augment.strength=none"]).augment
    assert (none.vtlp, none.noise_p, none.noise_snr_db) == (0, 0, (5, 30))
    mfcc = {"name": "a", "augment": {"strength": "strong"}}
    assert parse(mfcc, "here", ["features.kind=mfcc"]).augment.vtlp == 0
