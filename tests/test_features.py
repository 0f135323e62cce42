"""Features: frames, shapes, normalization, and batch invariance (contract 1)."""

import numpy as np
import pytest
import torch

from asr.config import FeatureConfig
from asr.model.features import LOG_FLOOR, Features, length_mask

KINDS = {"spectrogram": 201, "log_mel": 80, "mfcc": 40}


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
@pytest.mark.parametrize("cmvn", ["utterance", "loud", "global", "none"])
def test_alone_equals_in_a_batch(kind, cmvn):
    features = Features(FeatureConfig(kind=kind, cmvn=cmvn)).eval()
    waveforms, lengths = batch(0.7, 3.1, 0.03)
    together, frames = features(waveforms, lengths)
    for i, length in enumerate(lengths):
        alone, _ = features(waveforms[i : i + 1, :length], lengths[i : i + 1])
        torch.testing.assert_close(alone[0], together[i, : frames[i]], atol=1e-4, rtol=0)


def test_what_stands_in_the_padding_does_not_matter():
    features = Features(FeatureConfig()).eval()
    waveforms, lengths = batch(0.5, 1.0)
    dirty = waveforms.clone()
    dirty[0, lengths[0] :] = 7.0
    assert torch.equal(features(waveforms, lengths)[0], features(dirty, lengths)[0])


def test_utterance_cmvn_gives_mean_0_and_deviation_1():
    found, _ = Features(FeatureConfig(cmvn="utterance")).eval()(*batch(2.0))
    torch.testing.assert_close(found[0].mean(0), torch.zeros(80), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[0].std(0, correction=0), torch.ones(80), atol=1e-3, rtol=0)


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


def test_a_tone_stands_in_its_own_bin():
    rate_hz, hz = 16000, 1000
    tone = torch.sin(2 * np.pi * hz * torch.arange(rate_hz) / rate_hz)[None]
    found, _ = Features(FeatureConfig(kind="spectrogram", cmvn="none")).eval()(
        tone, torch.tensor([rate_hz])
    )
    assert found[0, 50].argmax() == hz * 400 // rate_hz


def test_digital_silence_is_finite():
    for cmvn in ("utterance", "loud", "none"):
        found, _ = Features(FeatureConfig(cmvn=cmvn)).eval()(
            torch.zeros(1, 8000), torch.tensor([8000])
        )
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
