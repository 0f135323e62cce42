"""The forward pass over a grammar, compiled: CTC summed over the alignments of each sentence.

It follows all sentences together. After each frame it holds, for each arc of the automaton, the
probability of the paths that are on its token (`on_token`), and for each state, that of the paths
on a blank after its sentence so far (`on_blank`). Values are linear and rescaled after each frame,
so there is no logarithm in the loop. Arcs and states below the best by a factor of exp(-margin) are
dropped. The largest value dropped in each frame is kept, and `most_lost` bounds from it what the
dropped paths could add to the probability of one sentence.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from asr.jit import compiled, inlined, log_add
from asr.text.tokenizer import BLANK


class GrammarTables(NamedTuple):
    """The fields of `asr.lm.token_grammar.GrammarArrays`, which see."""

    arc_start: np.ndarray
    arc_source: np.ndarray
    arc_token: np.ndarray
    arc_weight: np.ndarray
    arc_next: np.ndarray
    arc_repeats: np.ndarray
    final_weight: np.ndarray
    in_start: np.ndarray
    in_arc: np.ndarray


class Forward(NamedTuple):
    """The state of the forward pass after some frames."""

    on_token: np.ndarray  # (2, A) float64, before and after a frame
    on_blank: np.ndarray  # (S,) float64
    arrived: np.ndarray  # (S,) float64, sum of `on_token` over the arcs into each state
    arcs: np.ndarray  # (2, A) int32, the active arcs before and after a frame
    states: np.ndarray  # (2, S) int32, the active states
    active_arc: np.ndarray  # (A,) bool
    active_state: np.ndarray  # (S,) bool
    counts: np.ndarray  # (3,) int64: active arcs, active states, frames


class History(NamedTuple):
    """The forward probabilities of all frames, for the backward search."""

    scale: np.ndarray  # (room,) float64, the log by which the values of each frame are scaled
    dropped: np.ndarray  # (room,) float64, the largest value that was dropped in each frame
    after: np.ndarray  # (room + 1,) int64: the entries of frame t are after[t]:after[t + 1]
    arc: np.ndarray  # (entries,) int32, the active arcs
    value: np.ndarray  # (entries,) float64, their `on_token`


@compiled
def longest_sentence(automaton, most):
    """The number of tokens of the longest sentence. most: (S,) int64, to write that of each state.

    The arcs of a state lead to states with higher numbers.
    """
    most[:] = 0
    for arc in range(len(automaton.arc_source) - 1, -1, -1):
        source = automaton.arc_source[arc]
        most[source] = max(most[source], 1 + most[automaton.arc_next[arc]])
    return most[0]


@compiled
def start(forward):
    """Begin before the first frame: the empty beginning of every sentence."""
    forward.on_token[:] = 0.0
    forward.on_blank[:] = 0.0
    forward.arrived[:] = 0.0
    forward.active_arc[:] = False
    forward.active_state[:] = False
    forward.on_blank[0] = 1.0
    forward.active_state[0] = True
    forward.states[0, 0] = 0
    forward.counts[0], forward.counts[1], forward.counts[2] = 0, 1, 0


@inlined
def _entering(automaton, forward, arc):
    """The probability of the paths that may go on to an arc: after a blank, or on another token."""
    state = automaton.arc_source[arc]
    if not automaton.arc_repeats[arc] or forward.arrived[state] == 0.0:
        return (forward.on_blank[state] + forward.arrived[state]) * automaton.arc_weight[arc]
    token, total = automaton.arc_token[arc], forward.on_blank[state]
    for at in range(automaton.in_start[state], automaton.in_start[state + 1]):
        before = automaton.in_arc[at]
        if automaton.arc_token[before] != token:
            total += forward.on_token[0, before]
    return total * automaton.arc_weight[arc]


@compiled
def _move(automaton, forward, row, likeliest, margin):
    """Move all paths by one frame, whose probabilities are `row` (V,).

    likeliest: the highest probability of a token, without the blank. An arc that is not active yet
    becomes active only if it is above the margin. Returns the number of active arcs, the highest
    value of an arc or state, and the highest value that was dropped.
    """
    before, after = forward.on_token[0], forward.on_token[1]
    arcs, new_arcs, states = forward.arcs[0], forward.arcs[1], forward.states[0]
    highest, count = 0.0, forward.counts[0]
    for i in range(count):
        arc = arcs[i]
        on_token = before[arc] + _entering(automaton, forward, arc)
        after[arc] = on_token * row[automaton.arc_token[arc]]
        new_arcs[i] = arc
        highest = max(highest, after[arc])
    for i in range(forward.counts[1]):
        staying = (forward.on_blank[states[i]] + forward.arrived[states[i]]) * row[BLANK]
        highest = max(highest, staying)
    floor = highest * math.exp(-margin)  # `highest` can only rise from here
    dropped = 0.0
    for i in range(forward.counts[1]):
        state = states[i]
        most = (forward.on_blank[state] + forward.arrived[state]) * likeliest
        if most <= floor:  # no arc from here becomes active, since no weight is above 1
            dropped = max(dropped, most)
            continue
        for arc in range(automaton.arc_start[state], automaton.arc_start[state + 1]):
            if forward.active_arc[arc]:
                continue
            value = _entering(automaton, forward, arc) * row[automaton.arc_token[arc]]
            if value > floor:
                after[arc] = value
                forward.active_arc[arc] = True
                new_arcs[count] = arc
                count += 1
                highest = max(highest, value)
            else:
                dropped = max(dropped, value)
    for i in range(forward.counts[1]):
        state = states[i]
        forward.on_blank[state] = (forward.on_blank[state] + forward.arrived[state]) * row[BLANK]
        forward.arrived[state] = 0.0
    return count, highest, dropped


@compiled
def _prune(automaton, forward, count, highest, margin):
    """Drop what is too improbable, rescale the rest by `highest`, and find the active states.

    Returns the highest value that was dropped, after rescaling.
    """
    before, after, new_arcs = forward.on_token[0], forward.on_token[1], forward.arcs[1]
    old_arcs = forward.arcs[0]
    for i in range(forward.counts[0]):
        before[old_arcs[i]] = 0.0
    floor, dropped = math.exp(-margin), 0.0
    kept, states = 0, 0
    for i in range(forward.counts[1]):
        state = np.int64(forward.states[0, i])
        forward.on_blank[state] /= highest
        if forward.on_blank[state] > floor:
            forward.states[1, states] = state
            states += 1
        else:
            dropped = max(dropped, forward.on_blank[state])
            forward.on_blank[state] = 0.0
            forward.active_state[state] = False
    for i in range(count):
        arc = new_arcs[i]
        value = after[arc] / highest
        after[arc] = 0.0
        if value > floor:
            before[arc] = value
            old_arcs[kept] = arc
            kept += 1
            to = automaton.arc_next[arc]
            forward.arrived[to] += value
            if not forward.active_state[to]:
                forward.active_state[to] = True
                forward.states[1, states] = to
                states += 1
        else:
            dropped = max(dropped, value)
            forward.active_arc[arc] = False
    for i in range(states):
        forward.states[0, i] = forward.states[1, i]
    forward.counts[0], forward.counts[1] = kept, states
    return dropped


@compiled
def advance(automaton, forward, history, probs, likeliest, margin):
    """Follow frames; returns their number, less than T if `history` is full.

    probs: (T, V) probabilities; likeliest: (T,), the highest of each frame without the blank.
    """
    for t in range(len(probs)):
        frame = forward.counts[2]
        room = len(history.arc) - history.after[frame]
        if frame == len(history.scale) or room < len(automaton.arc_token):
            return t
        count, highest, skipped = _move(automaton, forward, probs[t], likeliest[t], margin)
        scale = 0.0 if frame == 0 else history.scale[frame - 1]
        if highest > 0.0:
            history.scale[frame] = scale + math.log(highest)
        else:  # no sentence is possible any more
            history.scale[frame] = -math.inf
            highest = 1.0
        dropped = _prune(automaton, forward, count, highest, margin)
        history.dropped[frame] = max(dropped, skipped / highest)
        _record(forward, history, frame)
        forward.counts[2] += 1
    return len(probs)


@compiled
def _record(forward, history, frame):
    at = history.after[frame]
    for i in range(forward.counts[0]):
        arc = forward.arcs[0, i]
        history.arc[at], history.value[at] = arc, forward.on_token[0, arc]
        at += 1
    history.after[frame + 1] = at


@compiled
def most_lost(history, log_probs, likeliest, longest):
    """A bound of what the dropped paths could add to one sentence, ln of a probability.

    log_probs: (T, V), all frames; likeliest: (T, 2), the two highest values of each frame without
    the blank; longest: the number of tokens of the longest sentence. A sentence of N tokens
    loses at most 2 N + 1 values in a frame, since it has an arc for each token and a blank before
    and after each. From an arc a path stays, goes to a blank, or goes to one other token, so that
    the rest of its sentence has at most the probability of a chain of two states, `blank` and
    `token`, that uses the likeliest tokens of each frame.
    """
    places = math.log(2.0 * min(longest, len(log_probs)) + 1.0)
    lost, blank, token = -math.inf, 0.0, 0.0
    for t in range(len(log_probs) - 1, -1, -1):
        if history.dropped[t] > 0.0:
            rest = max(blank, token)
            lost = log_add(lost, history.scale[t] + math.log(history.dropped[t]) + places + rest)
        first, second = np.float64(likeliest[t, 0]), np.float64(likeliest[t, 1])
        to_blank = np.float64(log_probs[t, BLANK]) + blank
        blank = log_add(to_blank, first + token)
        token = log_add(to_blank, log_add(first, second) + token)
    return lost


@compiled
def ends(automaton, forward):
    """The probability of all beginnings of sentences, of all whole sentences, and of the whole
    sentences that cannot go on; each divided by that of the likeliest."""
    begun, whole, closed = 0.0, 0.0, 0.0
    for i in range(forward.counts[1]):
        state = forward.states[0, i]
        mass = forward.on_blank[state] + forward.arrived[state]
        begun += mass
        whole += mass * automaton.final_weight[state]
        if automaton.arc_start[state] == automaton.arc_start[state + 1]:
            closed += mass * automaton.final_weight[state]
    return begun, whole, closed
