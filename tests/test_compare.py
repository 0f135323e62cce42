"""Comparison of systems: checked by enumeration, by a plain state machine and by simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import UserError
from asr.scoring.compare import MIN_NORMAL_SEGMENTS, compare, matched_pairs, segment_errors
from asr.scoring.wer import Pair, aligned


def system(*texts, speakers=None):
    return [
        Pair(str(i), reference, hypothesis, speakers[i] if speakers else None)
        for i, (reference, hypothesis) in enumerate(texts)
    ]


def both(reference, first, second):
    return Pair("u", reference, first), Pair("u", reference, second)


@pytest.mark.parametrize(
    ("reference", "first", "second", "errors"),
    [
        ("a b c d", "a b c d", "a b c d", []),
        ("a b c d", "x b c d", "a b c d", [(1, 0)]),
        ("a b c d", "x b c x", "a b c d", [(1, 0), (1, 0)]),  # two right words end a segment
        ("a b c d", "x b x d", "a b c d", [(2, 0)]),  # one does not
        ("a b c d", "x b c d", "a b c x", [(1, 0), (0, 1)]),
        ("a b c d", "x b c d", "a x c d", [(1, 1)]),
        ("a b c d", "x b y c d", "a b c d", [(2, 0)]),  # nor do two with an insertion between
        ("a b", "x a b", "a b y", [(1, 0), (0, 1)]),
        ("", "x", "y z", [(1, 2)]),
        ("a", "", "a b", [(1, 1)]),
    ],
)
def test_segments_by_hand(reference, first, second, errors):
    assert segment_errors(*both(reference, first, second)) == errors


def nist(reference, first, second):
    """Segments by the state graph of NIST's sc_stats, word by word."""
    before = []  # for each place between and on words: errors of the two
    for hypothesis in (first, second):
        inserted, wrong = [0] * (len(reference.split()) + 1), []
        for said, heard in aligned(reference, hypothesis):
            if said is None:
                inserted[len(wrong)] += 1
            else:
                wrong.append(said != heard)
        before.append((inserted, wrong))
    segments, open_errors, good = [], [0, 0], 0
    for i in range(len(reference.split()) + 1):
        for which, (inserted, _) in enumerate(before):
            open_errors[which] += inserted[i]
            good = 0 if inserted[i] else good
        if i == len(reference.split()):
            break
        errors = [wrong[i] for _, wrong in before]
        if any(errors):
            open_errors = [count + error for count, error in zip(open_errors, errors, strict=True)]
            good = 0
        else:
            good += 1
        if good == 2 and any(open_errors):
            segments.append(tuple(open_errors))
            open_errors = [0, 0]
    return [*segments, tuple(open_errors)] if any(open_errors) else segments


words = st.lists(st.sampled_from("abcd"), max_size=10).map(" ".join)


@given(words, words, words)
def test_segments_are_those_of_the_state_graph(reference, first, second):
    found = segment_errors(*both(reference, first, second))
    assert found == nist(reference, first, second)
    assert all(a or b for a, b in found)
    totals = [sum(x != y for x, y in aligned(reference, heard)) for heard in (first, second)]
    assert [sum(column) for column in zip(*found, strict=True)] == (totals if found else [])


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_with_few_segments_p_is_the_share_of_swaps_that_give_as_large_a_sum(differences):
    sums = [
        abs(sum(sign * size for sign, size in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    expected = np.mean([s >= abs(sum(differences)) for s in sums])
    assert matched_pairs(differences)[1] == pytest.approx(expected, abs=1e-12)


def test_with_many_segments_p_is_normal_and_near_the_exact_one():
    draw = np.random.default_rng(3)
    differences = draw.integers(-2, 3, MIN_NORMAL_SEGMENTS).tolist()
    differences[:12] = [1] * 12
    statistic, p = matched_pairs(differences)
    exact = matched_pairs(differences[:-1])[1]
    mean, deviation = np.mean(differences), np.std(differences, ddof=1)
    assert statistic == pytest.approx(mean / deviation * math.sqrt(MIN_NORMAL_SEGMENTS))
    assert p == pytest.approx(math.erfc(abs(statistic) / math.sqrt(2)))
    assert 0.001 < p < 0.2
    assert p == pytest.approx(exact, rel=0.5)


def test_p_by_hand():
    assert matched_pairs([]) == (0.0, 1.0)
    assert matched_pairs([1, -1]) == (0.0, 1.0)
    assert matched_pairs([1]) == (math.inf, 1.0)
    assert matched_pairs([-1] * 10) == (-math.inf, pytest.approx(2 / 2**10))


def simulated(draw, rates, utterances=60):
    """Systems with the given error rates; some utterances are hard for all of them."""
    systems = [[] for _ in rates]
    for i in range(utterances):
        reference = [f"w{n}" for n in range(int(draw.integers(4, 16)))]
        hard = draw.gamma(2, 0.5)
        for pairs, rate in zip(systems, rates, strict=True):
            wrong = draw.random(len(reference)) < min(0.9, rate * hard)
            kinds = draw.integers(0, 3, len(reference))
            heard = [
                {0: "x", 1: "", 2: f"{word} y"}[int(kind)] if bad else word
                for word, bad, kind in zip(reference, wrong, kinds, strict=True)
            ]
            pairs.append(Pair(str(i), " ".join(reference), " ".join(heard)))
    return systems


def test_equal_systems_differ_significantly_in_5_of_100_test_sets():
    draw = np.random.default_rng(1)
    found = [compare(*simulated(draw, (0.1, 0.1), 40)) for _ in range(500)]
    assert 0.03 <= np.mean([c.p < 0.05 for c in found]) <= 0.07
    assert 0.93 <= np.mean([c.interval[0] <= 0 <= c.interval[1] for c in found]) <= 0.97
    assert np.mean(["significantly better" in c.verdict for c in found]) <= 0.06


def test_the_interval_of_the_difference_holds_the_true_one():
    draw = np.random.default_rng(2)
    truth = compare(*simulated(draw, (0.1, 0.15), 6000)).difference
    found = [compare(*simulated(draw, (0.1, 0.15), 40)) for _ in range(300)]
    assert 0.92 <= np.mean([c.interval[0] <= truth <= c.interval[1] for c in found]) <= 0.98


def test_a_large_difference_is_significant():
    first, second = simulated(np.random.default_rng(0), (0.05, 0.2), 200)
    found = compare(first, second)
    assert found.verdict == "The first system is significantly better (both tests, 95%)."
    assert compare(second, first).verdict.startswith("The second system is significantly better")
    assert compare(second, first).difference == -found.difference
    assert compare(second, first).p == pytest.approx(found.p)
    assert found.difference == pytest.approx(found.wer[1] - found.wer[0])
    assert found.interval[0] > 0


def test_no_difference_states_the_detectable_size():
    first, second = simulated(np.random.default_rng(5), (0.1, 0.1), 100)
    found = compare(first, second)
    low, high = found.interval
    assert f"differences below about {(high - low) / 2:.2%} cannot" in found.verdict
    same = compare(first, first)
    assert same.verdict.startswith("No difference: both systems have the same number of errors")
    assert (same.statistic, same.p, same.interval) == (0.0, 1.0, (0.0, 0.0))


def test_disagreeing_tests_are_inconclusive():
    """The whole difference is in one speaker: significant over words, but not over speakers."""
    made = [("a b c", "x b c" if i < 20 else "a b c") for i in range(200)]
    speakers = [f"s{i // 20}" for i in range(200)]
    better = [(said, said) for said, _ in made]
    found = compare(system(*made, speakers=speakers), system(*better, speakers=speakers))
    assert found.resampled == "speakers"
    assert found.p < 0.001
    assert found.verdict.startswith(
        "Inconclusive: the matched-pairs test finds the second system better"
    )


def test_other_references_are_not_compared():
    first = system(("a", "a"), ("b", "b"))
    with pytest.raises(UserError, match=r"do not have the same references: '1' differs"):
        compare(first, system(("a", "a"), ("c", "b")))
    with pytest.raises(UserError, match=r"do not have the same references: 2 and 1 utterances"):
        compare(first, first[:1])
    with pytest.raises(UserError, match="have no words"):
        compare(system(("", "a")), system(("", "b")))
