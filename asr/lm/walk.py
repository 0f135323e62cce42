"""Loops over back-off automata, compiled with numba: steps, scores, and parts of `build`.

The arrays are those of `asr.lm.automaton.Automaton`. Modules import this one in functions, so that
recognition without a language model starts without numba.
"""

from __future__ import annotations

import math

import numpy as np

from asr.jit import allocating


@allocating
def find_arc(arc_start, arc_label, state, label):
    """Number of the arc of `state` with `label`, or -1."""
    low, after = arc_start[state], arc_start[state + 1]
    high = after
    while low < high:
        middle = (low + high) >> 1
        if arc_label[middle] < label:
            low = middle + 1
        else:
            high = middle
    return low if low < after and arc_label[low] == label else -1


@allocating
def step(
    arc_start, arc_label, arc_score, arc_next, backoff_score, backoff_state, state, label
):  # -> (float64, int64)
    """Score of `label` in `state`, and the state after it; (NaN, 0) for an unknown label."""
    if label < 0 or label >= arc_start[1]:
        return math.nan, 0
    total = 0.0
    while state != 0:
        arc = find_arc(arc_start, arc_label, state, label)
        if arc >= 0:
            return total + arc_score[arc], np.int64(arc_next[arc])
        total += backoff_score[state]
        state = backoff_state[state]
    return total + arc_score[label], np.int64(arc_next[label])


@allocating
def score_text(
    arc_start,
    arc_label,
    arc_score,
    arc_next,
    backoff_score,
    backoff_state,
    start,
    end_label,
    labels,
    scores,
):
    """Score `labels` (N,) in order: scores[i] = ln P(labels[i] | the labels before it).

    The results are written to `scores` (N,) float64. `end_label` ends a sentence: the next label is
    scored in the state `start`.
    """
    state = np.int64(start)
    for i in range(len(labels)):
        label = labels[i]
        scores[i], state = step(
            arc_start, arc_label, arc_score, arc_next, backoff_score, backoff_state, state, label
        )
        if label == end_label:
            state = np.int64(start)


@allocating
def find_contexts(lower, words):
    """For each row of `words` (N, K + 1), the row of `lower` (M, K) that it begins with, or -1.

    Both arrays are sorted.
    """
    found = np.full(len(words), -1, np.int64)
    row = 0
    for i in range(len(words)):
        while row < len(lower):
            order = 0  # lower[row] compared with the context: -1 before, 0 equal, 1 after
            for k in range(lower.shape[1]):
                if lower[row, k] != words[i, k]:
                    order = -1 if lower[row, k] < words[i, k] else 1
                    break
            if order == 0:
                found[i] = row
            if order >= 0:
                break
            row += 1
    return found


@allocating
def suffixes(arc_start, arc_label, arc_parent):
    """The longest proper suffix of each trie node that is a node itself, (nodes,) int32."""
    suffix = np.zeros(len(arc_label) + 1, np.int32)
    for arc in range(arc_start[1], len(arc_label)):
        label = arc_label[arc]
        node = suffix[arc_parent[arc]]
        while node != 0:
            found = find_arc(arc_start, arc_label, node, label)
            if found >= 0:
                suffix[arc + 1] = found + 1
                break
            node = suffix[node]
        if node == 0:
            suffix[arc + 1] = label + 1
    return suffix


@allocating
def merge(kept, suffix):
    """The state of each trie node: its own if it is kept, otherwise that of its longest suffix."""
    state = np.zeros(len(kept), np.int32)
    states = 0
    for node in range(len(kept)):
        if kept[node]:
            state[node] = states
            states += 1
        else:
            state[node] = state[suffix[node]]
    return state
