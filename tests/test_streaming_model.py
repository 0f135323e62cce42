"""A causal model fed in pieces: its emissions, resampling and CMVN are those of the whole file."""

import numpy as np
import pytest
import torch
from conftest import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from test_model import CAUSAL, on_waveforms

from asr.audio import LiveResampler, StreamResampler, resample
from asr.config import FeatureConfig
from asr.model.features import Features
from asr.model.joint_streaming import feed_together

PIECES = st.lists(st.integers(0, 9000), min_size=1, max_size=12)  # samples, repeated to the end


def pieces_of(samples, sizes):
    """The samples cut at `sizes`, over and over; an empty piece where a size is 0."""
    at, number = 0, 0
    while at < len(samples):
        size = sizes[number % len(sizes)] if any(sizes) else len(samples)
        yield samples[at : at + size]
        at, number = at + size, number + 1


def fed(recognizer, samples, sizes):
    stream = recognizer.emission_stream()
    rows = [stream.feed(piece) for piece in pieces_of(samples, sizes)]
    return np.concatenate([*rows, stream.finish()])


@pytest.mark.parametrize("values", CAUSAL, ids=str)
@settings(max_examples=12)
@given(
    sizes=PIECES,
    count=st.one_of(st.integers(1, 900), st.integers(1, 40000)),
    seed=st.integers(0, 99),
)
def test_emissions_in_pieces_are_those_of_the_whole(values, sizes, count, seed):
    recognizer = on_waveforms(values)
    samples = noise(3.0, seed)[:count]
    (expected,) = recognizer.emissions([samples]).rows()
    found = fed(recognizer, samples, sizes)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4


def test_without_samples_there_are_no_frames():
    stream = on_waveforms(CAUSAL[0]).emission_stream()
    assert stream.feed(np.zeros(0, np.float32)).shape == (0, 12)
    assert stream.finish().shape == (0, 12)


def test_a_frame_comes_when_its_look_ahead_has_been_heard():
    recognizer = on_waveforms(CAUSAL[-2])
    stream = recognizer.emission_stream()
    samples = noise(2.0)
    count = 0
    for end in range(160, len(samples) + 1, 160):
        count += len(stream.feed(samples[end - 160 : end]))
        certain_s = end / 16000 - recognizer.look_ahead_s
        assert count == max(0, int(certain_s / recognizer.frame_s + 1 + 1e-6))


@settings(max_examples=200)
@given(
    rates=st.tuples(*[st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000])] * 2),
    sizes=PIECES,
    count=st.one_of(st.integers(0, 50), st.integers(0, 60000)),
)
def test_resampling_in_pieces_is_that_of_the_whole(rates, sizes, count):
    samples = noise(4.0)[:count]
    resampler = StreamResampler(*rates)
    found = [resampler.feed(piece) for piece in pieces_of(samples, sizes)]
    assert np.array_equal(np.concatenate([*found, resampler.finish()]), resample(samples, *rates))


RATES = [8000, 11025, 16000, 22050, 44100, 48000]


@settings(max_examples=200)
@given(
    rates=st.tuples(*[st.sampled_from(RATES)] * 2),
    sizes=PIECES,
    count=st.one_of(st.integers(0, 50), st.integers(0, 60000)),
)
def test_live_resampling_is_that_of_the_whole(rates, sizes, count):
    samples = noise(4.0)[:count]
    resampler = LiveResampler(*rates)
    found = [resampler.feed(piece) for piece in pieces_of(samples, sizes)]
    found = np.concatenate([*found, resampler.finish()])
    expected = resample(samples, *rates)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=3e-6)


@pytest.mark.parametrize("rates", [(48000, 16000), (44100, 16000), (16000, 8000), (8000, 16000)])
def test_live_resampling_lags_by_112_samples_of_the_lower_rate(rates):
    resampler, heard, given = LiveResampler(*rates), 0, 0
    for piece in np.split(noise(4.0), range(160, 64000, 160)):
        heard += len(piece)
        given += len(resampler.feed(piece))
        lag_s = heard / rates[0] - given / rates[1]
        assert lag_s <= min(heard / rates[0], 112 / min(rates)) + 1 / min(rates)


def test_live_resampling_between_any_two_rates():
    resampler = LiveResampler(16001, 16000)
    found = np.concatenate([resampler.feed(noise(1.0)), resampler.finish()])
    np.testing.assert_array_equal(found, resample(noise(1.0), 16001, 16000))


# ---- running CMVN ----------------------------------------------------------------------------


def running(**options) -> Features:
    features = Features(FeatureConfig(cmvn="running", dither=0.0, **options)).eval()
    lengths = torch.tensor([48000, 30000])
    waveforms = torch.stack([torch.from_numpy(noise(3.0, seed)) for seed in (1, 2)])
    features.measure([(waveforms, lengths)])
    return features


def by_definition(features: Features, samples) -> np.ndarray:
    """The formulas of asr/model/running_cmvn.py, one frame after another."""
    raw = features.raw(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))[0][0]
    raw = raw.double().numpy()
    mean, std = features.mean.double().numpy(), features.std.double().numpy()
    square = std**2 + mean**2
    count, peak, center = 100.0, mean.mean(), mean.copy()
    rows = []
    for frame in raw:
        peak = max(peak, frame.mean())
        decibels = 10 / np.log(10) * (frame.mean() - peak)
        weight = 1 / (1 + np.exp(-(decibels + 40) / 3))
        count += weight
        step = weight / min(count, 1500)
        center += step * (frame - center)
        square += step * (frame**2 - square)
        rows.append((frame - center) / np.sqrt(np.maximum(square - center**2, 1e-6)))
    return np.array(rows)


@pytest.mark.parametrize("duration_s", [0.3, 9.0, 30.0])
def test_running_cmvn_by_its_definition(duration_s):
    features = running()
    samples = noise(duration_s, seed=7)
    found, _ = features(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    np.testing.assert_allclose(found[0].numpy(), by_definition(features, samples), atol=1e-3)


def test_silence_does_not_change_running_cmvn_and_a_change_of_level_does():
    features = running()
    speech, later = noise(2.0, seed=3), noise(2.0, seed=4)
    silence = np.zeros(16000 * 60, np.float32)

    def heard(*parts):
        samples = np.concatenate(parts)
        found, _ = features(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
        return found[0, -150:]

    direct = heard(speech, later)
    assert (heard(speech, silence, later) - direct).abs().mean() < 0.05
    soft = (heard(0.1 * speech, 0.1 * later) - direct).abs().mean()
    loud = features.level(features.raw(*one(0.1 * later))[0] - features.raw(*one(later))[0])
    unadapted = (loud.mean() / features.std.mean()).abs()
    assert soft < 0.5 * unadapted


def one(samples):
    return torch.from_numpy(samples)[None], torch.tensor([len(samples)])


@pytest.mark.parametrize("values", [CAUSAL[0], CAUSAL[8], CAUSAL[-2]], ids=str)
@settings(max_examples=10)
@given(sizes=st.lists(st.lists(st.integers(0, 9000), min_size=4, max_size=4), max_size=6))
def test_streams_together_are_the_same_as_alone(values, sizes):
    recognizer = on_waveforms(values)
    waveforms = [noise(2.0, seed) for seed in range(4)]
    streams = [recognizer.emission_stream() for _ in waveforms]
    rows, at = [[] for _ in waveforms], [0] * 4
    for pieces in sizes:
        given = [w[a : a + n] for w, a, n in zip(waveforms, at, pieces, strict=True)]
        at = [a + n for a, n in zip(at, pieces, strict=True)]
        for row, found in zip(rows, feed_together(streams, given), strict=True):
            row.append(found)
    for row, waveform, end, stream in zip(rows, waveforms, at, streams, strict=True):
        row.append(stream.finish())
        alone = recognizer.emission_stream()
        expected = np.concatenate([alone.feed(waveform[:end]), alone.finish()])
        assert np.concatenate(row) == pytest.approx(expected, abs=1e-4)
