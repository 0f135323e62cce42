"""The bootstrap interval contains the true rate as often as it should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.scoring.intervals import (
    bootstrap_interval,
    expanded_tail,
    resampling_groups,
    student_quantile,
)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=30),
)
def test_the_interval_contains_the_rate(groups):
    errors, words = zip(*groups, strict=True)
    low, high = bootstrap_interval(errors, words, [str(i) for i in range(len(groups))])
    rate = sum(errors) / sum(words)
    assert low <= rate + 1e-12
    assert rate - 1e-12 <= high


def test_a_95_interval_covers_the_true_rate_in_95_of_100_test_sets():
    rate = 0.1
    draw = np.random.default_rng(7)
    covered = 0
    for _ in range(1000):
        words = draw.integers(4, 16, size=100)
        # Utterances differ in difficulty: their errors are not independent words.
        errors = draw.binomial(words, draw.beta(2, 2 / rate - 2, size=100))
        low, high = bootstrap_interval(errors, words, np.arange(100))
        covered += low <= rate <= high
    assert 0.93 <= covered / 1000 <= 0.97


@pytest.mark.parametrize("speakers", [10, 20])
def test_it_covers_it_with_few_speakers_too(speakers):
    """With ten different speakers, plain percentiles would cover the true rate in only 87%."""
    rate, of_each = 0.1, 10
    draw = np.random.default_rng(7)
    groups = np.arange(speakers).repeat(of_each)
    covered = 0
    for _ in range(400):
        words = draw.integers(4, 16, size=len(groups))
        errors = draw.binomial(words, draw.beta(4, 36, size=speakers).repeat(of_each))
        low, high = bootstrap_interval(errors, words, groups)
        covered += low <= rate <= high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize(
    ("freedom", "quantile"),  # as printed in tables
    [(2, 4.303), (3, 3.182), (5, 2.571), (9, 2.262), (19, 2.093), (29, 2.045), (10**6, 1.960)],
)
def test_quantiles_of_students_t(freedom, quantile):
    assert student_quantile(0.975, freedom) == pytest.approx(
        quantile, rel=0.016 / freedom, abs=6e-4
    )


def test_expansion_is_wide_for_few_groups_only():
    tails = [expanded_tail(0.025, groups) for groups in (10**6, 100, 10, 5, 2)]
    assert tails[0] == pytest.approx(0.025, rel=1e-4)
    assert tails == sorted(tails, reverse=True)
    assert tails[2] == pytest.approx(0.00855, rel=1e-3)  # of z = 2.262 * sqrt(10 / 9)


@pytest.mark.parametrize(("words", "high"), [(100, 0.0362), (240, 0.0153), (10, 0.3085)])
def test_without_errors_the_interval_has_a_positive_end(words, high):
    """The interval is that of Clopper and Pearson, because every resample has no errors."""
    found = bootstrap_interval([0, 0], [words - 1, 1], ["a", "b"])
    assert found == (0.0, pytest.approx(high, abs=1e-4))


def test_differences_of_two_systems_have_an_interval_too():
    low, high = bootstrap_interval([-1, 0, 1, -2] * 10, [5] * 40, np.arange(40))
    assert low < -0.1 < high < 0.1


def test_speakers_are_drawn_only_where_there_are_enough():
    ids = list("uvwxyz")
    assert resampling_groups(ids, list("abcdea")) == (list("abcdea"), "speakers")
    assert resampling_groups(ids, list("abcdda")) == (ids, "utterances")
    assert resampling_groups(ids, [*"abcde", None]) == (ids, "utterances")
