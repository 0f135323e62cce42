"""Calibration of word confidences: its definition, its extremes, and words against a reference."""

from __future__ import annotations

import numpy as np
import pytest

from asr.decoder.confidence import (
    FLATTEST,
    Bin,
    calibration,
    calibration_of_words,
    fit_logit,
    logit,
    recalibrate,
    right_words,
)
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


def test_recognized_words():
    words = [Word("a", 0.0, 0.1, 0.9), Word("x", 0.1, 0.2, 0.4)]
    found = calibration_of_words([("a b", words), ("c", [])], bins=1)
    assert found.bins == (Bin(2, pytest.approx(0.65), 0.5),)


# ---- calibration by scale and shift --------------------------------------------------------------


def words_of(confidences) -> list[Word]:
    return [Word("a", 0.0, 0.1, float(confidence)) for confidence in confidences]


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.4, -0.7), (2.0, 1.0), (0.1, 2.0)])
def test_the_scale_and_shift_that_spoilt_confidences_are_found(scale, shift):
    rng = np.random.default_rng(0)
    spoilt = rng.uniform(0.01, 0.99, 50_000)
    true = 1 / (1 + np.exp(-(scale * logit(spoilt) + shift)))
    right = rng.random(50_000) < true
    found = fit_logit(spoilt, right)
    assert found == pytest.approx((scale, shift), abs=0.05)
    mended = [word.confidence for word in recalibrate(words_of(spoilt), *found)]
    assert calibration(mended, right).error < 0.01


def test_extreme_confidences_stay_finite_and_in_order():
    words = recalibrate(words_of([0.0, 1e-9, 0.3, 1.0]), 3.0, -2.0)
    values = [word.confidence for word in words]
    assert values == sorted(values) and 0 < values[0] and values[-1] <= 1
    assert recalibrate(words, 1.0, 0.0) == words


@pytest.mark.parametrize("right", [[True] * 5, [False] * 5])
def test_all_right_or_all_wrong_words_give_no_certainty(right):
    scale, shift = fit_logit([0.9, 0.8, 0.99, 1.0, 0.7], right)
    (word,) = recalibrate(words_of([0.9]), scale, shift)
    assert 0.05 < word.confidence < 0.95


def test_useless_confidences_become_the_share_of_right_words():
    confidences = np.linspace(0.05, 0.95, 400)
    right = np.arange(400) < 300
    scale, shift = fit_logit(confidences, right)
    assert scale == FLATTEST
    values = [w.confidence for w in recalibrate(words_of(confidences), scale, shift)]
    assert values == pytest.approx([0.75] * 400, abs=0.02)
    assert fit_logit([], []) == (1.0, 0.0)
