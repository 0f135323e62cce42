"""The back-off automaton gives the scores of the n-gram table."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import UserError
from asr.lm.automaton import Automaton, NGrams, build, ngrams_of, step_reference
from asr.lm.walk import score_text, step

LABELS = 5
START, END = 1, 2


@st.composite
def tables(draw) -> list[dict[tuple[int, ...], tuple[float, float]]]:
    """Random models of order 1 to 4: for each order a table {n-gram: (score, back-off)}."""
    numbers = st.floats(-9, 0, width=32)
    known = draw(st.sets(st.integers(0, LABELS - 1), min_size=1))
    orders = [{(label,): (draw(numbers), draw(numbers)) for label in sorted(known)}]
    for _ in range(draw(st.integers(0, 3))):
        grown = [(*context, label) for context in orders[-1] for label in sorted(known)]
        chosen = draw(st.sets(st.sampled_from(grown), max_size=12)) if grown else set()
        backoff = st.one_of(st.just(0.0), numbers)
        orders.append({ngram: (draw(numbers), draw(backoff)) for ngram in sorted(chosen)})
    orders[-1] = {ngram: (score, 0.0) for ngram, (score, _) in orders[-1].items()}
    return orders


def automaton_of(orders) -> Automaton:
    return build(
        [
            NGrams(
                np.array(sorted(table), np.int32).reshape(-1, order),
                np.array([table[ngram][0] for ngram in sorted(table)], np.float32),
                np.array([table[ngram][1] for ngram in sorted(table)], np.float32),
            )
            for order, table in enumerate(orders, 1)
        ],
        LABELS,
        START,
        END,
    )


def table_score(orders, history: tuple[int, ...], label: int) -> float:
    """The back-off equation (Katz 1987), evaluated on the table."""
    history = history[len(history) - min(len(history), len(orders) - 1) :]
    ngram = (*history, label)
    if ngram in orders[len(history)]:
        return orders[len(history)][ngram][0]
    if not history:
        return math.nan
    context = orders[len(history) - 1].get(history, (0.0, 0.0))
    return context[1] + table_score(orders, history[1:], label)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(tables(), st.lists(st.integers(0, LABELS - 1), max_size=8))
def test_scores_equal_the_table(orders, labels):
    automaton = automaton_of(orders)
    automaton.check("model")
    state = automaton.start
    history = (START,)
    for label in labels:
        expected = table_score(orders, history, label)
        assert automaton.step(state, label)[0] == pytest.approx(expected, abs=1e-5, nan_ok=True)
        state = automaton.step(state, label)[1]
        history = () if math.isnan(expected) else (*history, label)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(tables(), st.lists(st.integers(-1, LABELS), max_size=8))
def test_the_compiled_step_is_the_reference(orders, labels):
    automaton = automaton_of(orders)
    state, total = automaton.start, np.zeros(len(labels))
    score_text(*automaton.arrays, state, END, np.array(labels, np.int32), total)
    for label, score in zip(labels, total, strict=True):
        expected, after = step_reference(automaton, state, label)
        assert step(*automaton.arrays, state, label)[1] == after
        assert score == pytest.approx(expected, abs=1e-9, nan_ok=True)
        state = automaton.start if label == END else after


@settings(derandomize=True, deadline=None, max_examples=100)
@given(tables())
def test_states_are_only_those_that_can_change_a_score(orders):
    automaton = automaton_of(orders)
    arcs = np.diff(automaton.arc_start)
    assert ((arcs[1:] > 0) | (automaton.backoff_score[1:] != 0)).all()
    assert len(automaton.arc_label) == LABELS + sum(len(table) for table in orders[1:])


@settings(derandomize=True, deadline=None, max_examples=100)
@given(tables())
def test_ngrams_round_trip(orders):
    listed = ngrams_of(automaton_of(orders))
    while len(orders) > 1 and not orders[-1]:
        orders.pop()
    assert len(listed) == len(orders)
    for ngrams, table in zip(listed, orders, strict=True):
        assert [tuple(words) for words in ngrams.words.tolist()] == sorted(table)
        values = np.array([table[ngram] for ngram in sorted(table)], np.float32)
        np.testing.assert_array_equal(np.stack([ngrams.score, ngrams.backoff], 1), values)


def test_an_ngram_without_its_context_is_refused():
    orders = [{(0,): (-1.0, 0.0), (3,): (-1.0, 0.0)}, {}, {(3, 0, 0): (-1.0, 0.0)}]
    with pytest.raises(ValueError, match=r"\[3, 0, 0\]"):
        automaton_of(orders)
    with pytest.raises(ValueError, match=r"\[1, 0\]"):
        automaton_of([orders[0], {(1, 0): (-1.0, 0.0)}])


@pytest.mark.parametrize(
    "field, position, value",
    [
        ("arc_next", 3, 99),
        ("arc_start", 1, -5),
        ("backoff_state", 1, 1),
        ("backoff_state", 0, 1),
        ("arc_label", 0, 4),
        ("arc_label", 5, 9),
    ],
)
def test_a_damaged_automaton_is_refused(field, position, value):
    automaton = automaton_of([{(i,): (-1.0, -1.0) for i in range(LABELS)}, {(1, 2): (-1.0, 0.0)}])
    automaton.check("lm.npz")
    getattr(automaton, field)[position] = value
    with pytest.raises(UserError, match=r"lm\.npz: .*make it again"):
        automaton.check("lm.npz")
