"""Back-off automata: the data structure that n-gram models and hotwords use for scoring.

A state is a context. It has arcs for the labels that were observed after it; any other label is
scored in the next shorter context, at the cost of the state's back-off score. Labels are ids of
words, or of tokens. All scores are natural logs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import UserError


@dataclass(frozen=True)
class Automaton:
    """A back-off automaton with S states and A arcs over the labels 0 to V - 1.

    State 0, the root, is the empty context; its arc `i` is label `i`, with the score NaN where the
    model does not know the label. A state's back-off state always has the smaller number.
    """

    arc_start: np.ndarray  # (S + 1,) int64; the arcs of state s are arc_start[s]:arc_start[s + 1]
    arc_label: np.ndarray  # (A,) int32, ascending within a state
    arc_score: np.ndarray  # (A,) float32, log probability
    arc_next: np.ndarray  # (A,) int32, state
    backoff_score: np.ndarray  # (S,) float32, log weight
    backoff_state: np.ndarray  # (S,) int32; 0 for the root
    start: int  # the state at the beginning of an utterance
    end_label: int  # the label that ends an utterance

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The first six arguments of `step`."""
        return (
            self.arc_start,
            self.arc_label,
            self.arc_score,
            self.arc_next,
            self.backoff_score,
            self.backoff_state,
        )

    @property
    def labels(self) -> int:
        """V, the number of labels."""
        return int(self.arc_start[1])

    def step(self, state: int, label: int) -> tuple[float, int]:
        """Score of `label` in `state`, and the state after it; (NaN, 0) for an unknown label."""
        from asr.lm.walk import step  # loads numba

        return step(*self.arrays, state, label)

    def check(self, name: str) -> None:
        """Raise `UserError` if scoring could read outside the arrays or loop forever.

        Automata come from files, and the compiled loops do not check bounds.
        """
        states, arcs = len(self.backoff_state), len(self.arc_label)
        expected = {
            "arc_start": (np.int64, states + 1),
            "arc_label": (np.int32, arcs),
            "arc_score": (np.float32, arcs),
            "arc_next": (np.int32, arcs),
            "backoff_score": (np.float32, states),
            "backoff_state": (np.int32, states),
        }
        for field, (dtype, length) in expected.items():
            array = getattr(self, field)
            if array.dtype != dtype or array.shape != (length,):
                raise UserError(f"{name}: {field} is {array.dtype} {array.shape}; make it again")
        valid = (
            states > 0
            and self.arc_start[0] == 0
            and self.arc_start[-1] == arcs
            and bool((np.diff(self.arc_start) >= 0).all())
            and np.array_equal(self.arc_label[: self.labels], np.arange(self.labels))
            and bool(((self.arc_label >= 0) & (self.arc_label < self.labels)).all())
            and bool(((self.arc_next >= 0) & (self.arc_next < states)).all())
            and self.backoff_state[0] == 0
            and bool((self.backoff_state >= 0).all())
            and bool((self.backoff_state[1:] < np.arange(1, states)).all())
            and 0 <= self.start < states
            and 0 <= self.end_label < self.labels
        )
        if not valid:
            raise UserError(f"{name}: the language model is damaged; make it again")


def step_reference(automaton: Automaton, state: int, label: int) -> tuple[float, int]:
    """The definition of `asr.lm.walk.step` in plain Python, with which tests compare it."""
    total = 0.0
    while True:
        first, after = automaton.arc_start[state], automaton.arc_start[state + 1]
        for arc in range(first, after):
            if automaton.arc_label[arc] == label:
                return total + float(automaton.arc_score[arc]), int(automaton.arc_next[arc])
        if state == 0:
            return math.nan, 0
        total += float(automaton.backoff_score[state])
        state = int(automaton.backoff_state[state])


@dataclass(frozen=True)
class NGrams:
    """The n-grams of one order, as a model file lists them, sorted by their words."""

    words: np.ndarray  # (N, order) int32, distinct rows in ascending order
    score: np.ndarray  # (N,) float32, ln P(last word | the words before it)
    backoff: np.ndarray  # (N,) float32, log weight of the n-gram as a context; 0 in the last order


class MissingContext(ValueError):
    """The model has an n-gram whose context (all words but the last) is not an n-gram itself."""

    def __init__(self, labels: list[int]):
        super().__init__(f"the n-gram {labels} has no context in the order below")
        self.labels = labels


def build(orders: Sequence[NGrams], labels: int, start_label: int, end_label: int) -> Automaton:
    """The automaton of a back-off model.

    orders: the n-grams of order 1, 2, ...; the context of each n-gram (all words but the last) must
    be an n-gram of the previous order, otherwise `MissingContext` is raised. labels: V;
    start_label, end_label: the labels of `<s>` and `</s>`.

    Every n-gram is first a node of a trie, numbered by order and then by words, so that arc `a`
    leads to node `a + 1`. Nodes with neither arcs nor a back-off weight, which do not change a
    score, are then merged into their longest suffix.
    """
    from asr.lm.walk import find_contexts, merge, suffixes  # loads numba

    unigrams = orders[0].words[:, 0]
    # The root has an arc for every label, known or not, so that it can be indexed directly.
    root_score = np.full(labels, np.nan, np.float32)
    root_backoff = np.zeros(labels, np.float32)
    root_score[unigrams], root_backoff[unigrams] = orders[0].score, orders[0].backoff
    label, score = [np.arange(labels, dtype=np.int32)], [root_score]
    backoff = [np.zeros(1, np.float32), root_backoff]
    parent = [np.zeros(labels, np.int64)]  # the node that each arc leaves, by order

    lower, first_node = label[0][:, None], 1
    for ngrams in orders[1:]:
        rows = find_contexts(lower, ngrams.words)
        unknown = rows < 0
        if len(orders[0].words) < labels and ngrams.words.shape[1] == 2:
            unknown |= np.isnan(root_score[rows])
        if unknown.any():
            raise MissingContext(ngrams.words[unknown.argmax()].tolist())
        parent.append(first_node + rows)
        label.append(ngrams.words[:, -1])
        score.append(ngrams.score)
        backoff.append(ngrams.backoff)
        first_node += len(lower)
        lower = ngrams.words

    arc_label = np.concatenate(label).astype(np.int32, copy=False)
    arc_score = np.concatenate(score).astype(np.float32, copy=False)
    node_backoff = np.concatenate(backoff).astype(np.float32, copy=False)
    arc_parent = np.concatenate(parent)
    arcs_of = np.bincount(arc_parent, minlength=len(node_backoff))
    arc_start = np.concatenate([np.zeros(1, np.int64), np.cumsum(arcs_of)])
    suffix = suffixes(arc_start, arc_label, arc_parent)
    kept = (arcs_of > 0) | (node_backoff != 0)
    kept[0] = True
    state = merge(kept, suffix)
    return Automaton(
        arc_start=np.append(arc_start[:-1][kept], arc_start[-1]),
        arc_label=arc_label,
        arc_score=arc_score,
        arc_next=state[1:],
        backoff_score=node_backoff[kept],
        backoff_state=state[suffix[kept]],
        start=int(state[start_label + 1]),
        end_label=end_label,
    )


def ngrams_of(automaton: Automaton) -> list[NGrams]:
    """The n-grams from which `build` made the automaton: the inverse of `build`."""
    # States are numbered by order, and so are their arcs. The n-gram of a state ends
    # with the first arc that leads to it; the n-grams of later arcs were merged into it.
    reached, entry = np.unique(automaton.arc_next, return_index=True)
    spells = np.zeros(len(automaton.arc_next), bool)
    spells[entry[reached != 0]] = True
    orders = []
    state, after, context = 0, 1, np.zeros((1, 0), np.int32)
    while automaton.arc_start[state] < automaton.arc_start[after]:
        arcs = slice(automaton.arc_start[state], automaton.arc_start[after])
        source = np.repeat(
            np.arange(after - state), np.diff(automaton.arc_start[state : after + 1])
        )
        words = np.column_stack([context[source], automaton.arc_label[arcs]])
        backoff = automaton.backoff_score[automaton.arc_next[arcs]]
        score = automaton.arc_score[arcs]
        known = ~np.isnan(score)
        orders.append(NGrams(words[known], score[known], np.where(spells[arcs], backoff, 0)[known]))
        context = words[spells[arcs]]
        state, after = after, after + len(context)
    return orders
