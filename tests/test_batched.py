"""The batched search: the same texts and scores as one utterance after the other."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_beam import CHARACTERS, FRAME_S, FUSIONS, SUBWORDS, emissions

from asr.decoder.batched import BatchedBeamDecoder
from asr.decoder.beam import BeamDecoder

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def padded(utterances) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(one) for one in utterances])
    # What stands in the padding must not matter.
    batch = torch.full((len(utterances), int(lengths.max()), utterances[0].shape[1]), math.nan)
    for row, one in zip(batch, utterances, strict=True):
        row[: len(one)] = torch.from_numpy(one)
    return batch, lengths


def assert_the_same(decoder: BeamDecoder, utterances, device: str) -> None:
    found = BatchedBeamDecoder(decoder, device).decode_batch(*padded(utterances), FRAME_S)
    for one, hypotheses in zip(utterances, found, strict=True):
        expected = decoder.decode(one, FRAME_S)
        assert [h.text for h in hypotheses] == [h.text for h in expected]
        assert [h.tokens for h in hypotheses] == [h.tokens for h in expected]
        assert [h.score for h in hypotheses] == pytest.approx([h.score for h in expected], abs=1e-5)
        assert [len(h.words) for h in hypotheses] == [len(h.words) for h in expected]


@pytest.mark.parametrize("device", DEVICES)
@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    seed=st.integers(0, 2**32),
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    pieces=st.sampled_from([CHARACTERS, SUBWORDS]),
    fusion=st.sampled_from(sorted(FUSIONS)),
    sharpness=st.sampled_from([0.3, 1.0, 3.0, 8.0]),
    beam=st.sampled_from([1, 2, 3, 8, 30]),
    token_min_logp=st.sampled_from([-1.0, -2.5, -5.0, -math.inf]),
    tokens_per_frame=st.sampled_from([1, 2, 40]),
    beam_margin=st.sampled_from([1.0, 4.0, math.inf]),
)
def test_a_batch_equals_one_by_one(
    device, seed, lengths, pieces, fusion, sharpness, beam, **limits
):
    if fusion == "token lm":
        pieces = CHARACTERS
    rng = np.random.default_rng(seed)
    utterances = [emissions(rng, length, len(pieces), sharpness) for length in lengths]
    decoder = BeamDecoder(pieces, beam=beam, n_best=beam, **limits, **FUSIONS[fusion])
    assert_the_same(decoder, utterances, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_long_utterances(device, fusion):
    rng = np.random.default_rng(11)
    pieces = CHARACTERS if fusion == "token lm" else SUBWORDS
    utterances = [emissions(rng, n, len(pieces), 3.0) for n in (150, 40, 151, 0)]
    decoder = BeamDecoder(pieces, beam=16, n_best=4, **FUSIONS[fusion])
    assert_the_same(decoder, utterances, device)


@pytest.mark.parametrize("device", DEVICES)
def test_times_are_those_of_the_likeliest_path(device):
    rng = np.random.default_rng(2)
    utterances = [emissions(rng, 30, 5, 4.0) for _ in range(20)]
    decoder = BeamDecoder(CHARACTERS, beam=200, token_min_logp=-math.inf)
    found = BatchedBeamDecoder(decoder, device).decode_batch(*padded(utterances), FRAME_S)
    for one, (hypothesis,) in zip(utterances, found, strict=True):
        assert hypothesis.words == decoder.decode(one, FRAME_S)[0].words


def test_a_batch_of_nothing():
    decoder = BatchedBeamDecoder(BeamDecoder(CHARACTERS))
    assert decoder.decode_batch(torch.zeros(0, 7, 5), torch.zeros(0, dtype=int), FRAME_S) == []


def test_impossible_frames():
    with np.errstate(divide="ignore"):
        one_hot = np.log(np.eye(5, dtype=np.float32)[[2, 2, 0, 2, 3]])
    dead = [one_hot.copy() for _ in range(3)]
    for utterance, frame in zip(dead, (0, 2, 4), strict=True):
        utterance[frame] = -np.inf
    assert_the_same(BeamDecoder(CHARACTERS), [one_hot, *dead], "cpu")
    assert_the_same(BeamDecoder(CHARACTERS, **FUSIONS["all"]), [one_hot, *dead], "cpu")


def test_a_lexicon_that_the_utterance_breaks_off_leaves_the_whole_words():
    log_probs = np.log(np.full((4, 5), 0.001, np.float32))
    for t, token in enumerate([2, 1, 4, 2]):  # a ▁ c a
        log_probs[t, token] = np.log(0.996)
    assert_the_same(BeamDecoder(CHARACTERS, beam=1, lexicon=["a", "cab"]), [log_probs], "cpu")


def test_emissions_of_another_shape_or_nan_are_refused():
    decoder = BatchedBeamDecoder(BeamDecoder(CHARACTERS))
    with pytest.raises(ValueError, match=r"\(1, 3, 4\)"):
        decoder.decode_batch(torch.zeros(1, 3, 4), torch.tensor([3]), FRAME_S)
    with pytest.raises(ValueError, match="NaN"):
        decoder.decode_batch(torch.full((1, 3, 5), math.nan), torch.tensor([3]), FRAME_S)
