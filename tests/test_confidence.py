"""Calibration of word confidences: its definition, its extremes, and words against a reference."""

from __future__ import annotations

import numpy as np
import pytest

from asr.decoder.confidence import Bin, calibration, calibration_of_words, right_words
from asr.transcript import Word


def test_by_hand():
    found = calibration([0.1, 0.3, 0.9, 0.95], [False, True, True, False], bins=2)
    assert found.bins == (Bin(2, pytest.approx(0.2), 0.5), Bin(2, pytest.approx(0.925), 0.5))
    assert found.error == pytest.approx((2 * 0.3 + 2 * 0.425) / 4)
    assert found.words == 4


def test_extremes():
    assert calibration([1.0, 1.0, 0.0], [True, True, False]).error == 0
    assert calibration([1.0, 0.0], [False, True]).error == 1


def test_outcomes_drawn_from_the_confidences_are_calibrated():
    rng = np.random.default_rng(0)
    confidences = rng.random(200_000)
    right = rng.random(200_000) < confidences
    assert calibration(confidences, right).error < 0.005
    assert calibration(confidences**2, right).error == pytest.approx(1 / 6, abs=0.01)


def test_senseless_input_is_refused():
    for confidences, right in (([], []), ([0.5], []), ([1.5], [True]), ([np.nan], [True])):
        with pytest.raises(ValueError):
            calibration(confidences, right)


@pytest.mark.parametrize(
    "reference, hypothesis, right",
    [
        ("a b c", "a b c", [True, True, True]),
        ("a b c", "a x c", [True, False, True]),
        ("a c", "a b c", [True, False, True]),
        ("a b c", "c", [True]),
        ("", "a", [False]),
        ("a", "", []),
    ],
)
def test_right_words(reference, hypothesis, right):
    assert right_words(reference, hypothesis) == right


def test_recognised_words():
    words = [Word("a", 0.0, 0.1, 0.9), Word("x", 0.1, 0.2, 0.4)]
    found = calibration_of_words([("a b", words), ("c", [])], bins=1)
    assert found.bins == (Bin(2, pytest.approx(0.65), 0.5),)
