"""CTC compared with the sum over all paths, and the number of frames that a text needs."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.model.ctc import ctc_loss, frames_needed
from asr.text.tokenizer import BLANK


def collapse(path):
    return tuple(token for token, _ in itertools.groupby(path) if token != BLANK)


def sum_over_paths(log_probs, tokens):
    """ln P(tokens), by enumerating all V ** T paths."""
    time, vocabulary = log_probs.shape
    total = 0.0
    for path in itertools.product(range(vocabulary), repeat=time):
        if collapse(path) == tuple(tokens):
            total += math.exp(sum(log_probs[t, v].item() for t, v in enumerate(path)))
    return math.log(total) if total else -math.inf


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(1, 6), st.lists(st.integers(1, 3), min_size=0, max_size=4), st.integers(0, 99))
def test_loss_is_the_sum_over_all_paths(time, tokens, seed):
    log_probs = torch.randn(1, time, 4, generator=torch.Generator().manual_seed(seed)).log_softmax(
        2
    )
    expected = -sum_over_paths(log_probs[0], tokens)
    found = ctc_loss(
        log_probs,
        torch.tensor([time]),
        torch.tensor([tokens], dtype=torch.long).reshape(1, -1),
        torch.tensor([len(tokens)]),
    ).item()
    assert found == pytest.approx(expected, abs=1e-4)
    assert math.isinf(found) == (frames_needed(tokens) > time)


def test_the_loss_is_a_sum():
    """The loss is a sum over utterances without padding; a step divides it by its tokens."""
    log_probs = torch.randn(2, 9, 5).log_softmax(2)
    lengths, targets = torch.tensor([9, 6]), torch.tensor([[1, 2, 3], [4, 0, 0]])
    found = ctc_loss(log_probs, lengths, targets, torch.tensor([3, 1]))
    a = ctc_loss(log_probs[:1], lengths[:1], targets[:1], torch.tensor([3]))
    b = ctc_loss(log_probs[1:, :6], lengths[1:], targets[1:, :1], torch.tensor([1]))
    torch.testing.assert_close(found, a + b)


def test_half_precision_emissions_are_summed_in_float32():
    log_probs = torch.randn(1, 50, 5).log_softmax(2).bfloat16()
    arguments = torch.tensor([50]), torch.tensor([[1, 2, 1]]), torch.tensor([3])
    found = ctc_loss(log_probs, *arguments)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, ctc_loss(log_probs.float(), *arguments))


@pytest.mark.parametrize(
    ("tokens", "frames"), [([], 0), ([1], 1), ([1, 1], 3), ([1, 2, 1], 3), ([1, 1, 1, 2, 2], 8)]
)
def test_frames_needed(tokens, frames):
    assert frames_needed(tokens) == frames
