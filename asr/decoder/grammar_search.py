"""CTC over the sentences of a grammar, compiled: the sum over all alignments of each sentence.

The forward pass follows all sentences together. After each frame it holds, for each arc of the
automaton, the probability of the paths that are on its token (`on_token`), and for each state, that
of the paths on a blank after its sentence so far (`on_blank`). Values are linear and rescaled after
each frame, so there is no logarithm in the loop. Arcs and states below the best by a factor of
exp(-margin) are dropped. The largest value that was ever dropped is kept (`lost`): no sentence that
was lost can be more probable than the number of frames times it, because a probability only falls
from frame to frame and no weight is above 1. A sentence that scores higher is therefore the best.

The backward search then finds the best sentences one after another, from their ends (the
tree-trellis search of Soong and Huang 1991, with sums instead of maxima). The priority of the end
of a sentence is the probability of all sentences that end so, an upper bound of that of each single
one. When it has expanded `most` endings, it continues with the best beginning of the current ending
alone; this happens when very many sentences fit about equally badly.
"""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

import numba
import numpy as np

from asr.text.tokenizer import BLANK

NONE = -1


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
    lost: np.ndarray  # (1,) float64, ln of the largest value that was dropped


class History(NamedTuple):
    """The forward probabilities of all frames, for the backward search."""

    scale: np.ndarray  # (room,) float64, the log by which the values of each frame are scaled
    after: np.ndarray  # (room + 1,) int64: the entries of frame t are after[t]:after[t + 1]
    arc: np.ndarray  # (entries,) int32, the active arcs
    value: np.ndarray  # (entries,) float64, their `on_token`


compiled = numba.njit(cache=True, nogil=True)


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
    forward.lost[0] = -math.inf


@compiled
def _other_tokens(automaton, on_token, state, token):
    """The probability of the paths on tokens into `state` other than `token`."""
    total = 0.0
    for at in range(automaton.in_start[state], automaton.in_start[state + 1]):
        arc = automaton.in_arc[at]
        if automaton.arc_token[arc] != token:
            total += on_token[arc]
    return total


@compiled
def _move(automaton, forward, row, margin):
    """Move all paths by one frame, whose probabilities are `row` (V,).

    An arc that is not active yet becomes active only if it is above the margin. Returns the number
    of active arcs, the highest value of an arc or state, and the highest value that was dropped.
    """
    before, after = forward.on_token[0], forward.on_token[1]
    arcs, new_arcs, states = forward.arcs[0], forward.arcs[1], forward.states[0]
    highest, dropped, count = 0.0, 0.0, forward.counts[0]
    for i in range(count):
        arc = arcs[i]
        after[arc] = before[arc] * row[automaton.arc_token[arc]]
        new_arcs[i] = arc
        highest = max(highest, after[arc])
    for i in range(forward.counts[1]):
        staying = (forward.on_blank[states[i]] + forward.arrived[states[i]]) * row[BLANK]
        highest = max(highest, staying)
    floor = highest * math.exp(-margin)  # `highest` can only rise from here
    for i in range(forward.counts[1]):
        state = states[i]
        on_blank, arrived = forward.on_blank[state], forward.arrived[state]
        for arc in range(automaton.arc_start[state], automaton.arc_start[state + 1]):
            token = automaton.arc_token[arc]
            entering = on_blank + arrived
            if automaton.arc_repeats[arc]:
                entering = on_blank + _other_tokens(automaton, before, state, token)
            entering *= automaton.arc_weight[arc] * row[token]
            if forward.active_arc[arc]:
                after[arc] += entering
                highest = max(highest, after[arc])
            elif entering > floor:
                after[arc] = entering
                forward.active_arc[arc] = True
                new_arcs[count] = arc
                count += 1
                highest = max(highest, entering)
            else:
                dropped = max(dropped, entering)
        forward.on_blank[state] = (on_blank + arrived) * row[BLANK]
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
    forward.states[0, :states] = forward.states[1, :states]
    forward.counts[0], forward.counts[1] = kept, states
    return dropped


@compiled
def advance(automaton, forward, history, probs, margin):
    """Follow the frames (T, V) of probabilities; returns their number, less than T if `history` is
    full."""
    for t in range(len(probs)):
        frame = forward.counts[2]
        room = len(history.arc) - history.after[frame]
        if frame == len(history.scale) or room < len(automaton.arc_token):
            return t
        count, highest, skipped = _move(automaton, forward, probs[t], margin)
        scale = 0.0 if frame == 0 else history.scale[frame - 1]
        if highest > 0.0:
            history.scale[frame] = scale + math.log(highest)
        else:  # no sentence is possible any more
            history.scale[frame] = -math.inf
            highest = 1.0
        dropped = max(_prune(automaton, forward, count, highest, margin), skipped / highest)
        if dropped > 0.0:
            forward.lost[0] = max(forward.lost[0], history.scale[frame] + math.log(dropped))
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


@compiled
def _log_add(a, b):
    """ln(e^a + e^b)."""
    high, low = (a, b) if a >= b else (b, a)
    if low - high > -40.0:  # false for -inf twice
        return high + math.log1p(math.exp(low - high))
    return high


@compiled
def _by_arc(automaton, history, frames):
    """The entries of `history.arc` sorted by arc: (A + 1,) starts, frames and values."""
    entries = history.after[frames]
    first = np.zeros(len(automaton.arc_token) + 1, np.int64)
    for at in range(entries):
        first[history.arc[at] + 1] += 1
    for arc in range(len(automaton.arc_token)):
        first[arc + 1] += first[arc]
    place = first.copy()
    frame, value = np.empty(entries, np.int32), np.empty(entries)
    for t in range(frames):
        for at in range(history.after[t], history.after[t + 1]):
            arc = history.arc[at]
            frame[place[arc]], value[place[arc]] = t, history.value[at]
            place[arc] += 1
    return first, frame, value


@compiled
def _prepend(log_probs, token, weight, next_token, enters, leaves, new_enters, new_leaves):
    """The backward probabilities of an ending with one more token before it.

    enters (T + 1,): ln of the probability of the frames from t on, where the first token of the
    ending begins in frame t; leaves (T + 1,): the same with any number of blanks before it.
    next_token: the first token of the ending; the new values go to `new_enters`, `new_leaves`.
    """
    frames = len(log_probs)
    here = enters[frames]  # on the token at the end; only the empty ending ends there
    new_enters[frames], new_leaves[frames] = -math.inf, -math.inf
    for t in range(frames - 1, -1, -1):
        spoken, blank = np.float64(log_probs[t, token]), np.float64(log_probs[t, BLANK])
        new_enters[t] = spoken + here + weight
        new_leaves[t] = _log_add(new_enters[t], blank + new_leaves[t + 1])
        left = blank + leaves[t + 1] if token == next_token else leaves[t]
        here = _log_add(left, spoken + here)


@compiled
def _gains(log_probs, history, leaves, linear):
    """Write what an arc gains from an ending: exp(ending + scale of the arc's frame - peak).

    linear: (2, T + 1), for arcs whose token differs from the first token of the ending, and for
    arcs with the same token, which need a blank. Returns the peak, a log.
    """
    frames = len(log_probs)
    peak = -math.inf
    for t in range(1, frames + 1):
        peak = max(peak, leaves[t] + history.scale[t - 1])
    if peak == -math.inf:
        return peak
    for t in range(1, frames + 1):
        scale = history.scale[t - 1] - peak
        linear[0, t] = math.exp(leaves[t] + scale)
        linear[1, t] = 0.0
        if t < frames:
            linear[1, t] = math.exp(np.float64(log_probs[t, BLANK]) + leaves[t + 1] + scale)
    return peak


@compiled
def _larger(array):
    grown = np.empty((2 * array.shape[0], array.shape[1]), array.dtype)
    grown[: array.shape[0]] = array
    return grown


@compiled
def _open(automaton, log_probs, enters, leaves, links, number, parent, arc, whole):
    """Compute ending `number`: `arc` before the ending `parent`; returns the state before it.

    Without an arc it is the empty ending in the state -2 - parent.
    """
    frames = len(log_probs)
    if arc == NONE:
        state = -2 - parent
        weight = math.log(automaton.final_weight[state]) if whole else 0.0
        enters[number, :] = -math.inf
        enters[number, frames], leaves[number, frames] = weight, weight
        for t in range(frames - 1, -1, -1):
            leaves[number, t] = np.float64(log_probs[t, BLANK]) + leaves[number, t + 1]
        links[number, 0], links[number, 1], links[number, 2] = NONE, state, NONE
        return state
    token, weight = automaton.arc_token[arc], math.log(automaton.arc_weight[arc])
    state = automaton.arc_source[arc]
    _prepend(
        log_probs,
        token,
        weight,
        links[parent, 2],
        enters[parent],
        leaves[parent],
        enters[number],
        leaves[number],
    )
    links[number, 0], links[number, 1], links[number, 2] = parent, state, token
    return state


@compiled
def best_sentences(automaton, forward, history, log_probs, wanted, most, whole):
    """The sentences with the highest probabilities, best first.

    log_probs: (T, V), all frames; whole: whether only whole sentences count; otherwise the one
    state in which the paths are likeliest is taken as the end. Returns tokens (N, T) int32, their
    number (N,), and ln of weight times probability (N,), which is exact; N is at most `wanted`.
    """
    frames = len(log_probs)
    first, time, value = _by_arc(automaton, history, frames)
    enters, leaves = np.empty((64, frames + 1)), np.empty((64, frames + 1))
    links = np.empty((64, 3), np.int32)  # of each ending: the ending after it, state, first token
    linear = np.zeros((2, frames + 1))
    tokens = np.zeros((wanted, frames), np.int32)
    lengths, scores = np.zeros(wanted, np.int64), np.zeros(wanted)
    count, found, expanded = 0, 0, 0
    heap = [(0.0, NONE, NONE)]
    heap.pop()
    likeliest, most_mass = NONE, 0.0
    for i in range(forward.counts[1]):
        state = np.int64(forward.states[0, i])
        mass = forward.on_blank[state] + forward.arrived[state]
        if whole and automaton.final_weight[state] > 0.0 and mass > 0.0:
            bound = math.log(mass) + math.log(automaton.final_weight[state])
            heapq.heappush(heap, (-bound, -2 - state, NONE))
        if mass > most_mass:
            likeliest, most_mass = state, mass
    if not whole and likeliest != NONE:
        heap.append((0.0, -2 - likeliest, NONE))
    while len(heap) and found < wanted:
        bound, parent, arc = heapq.heappop(heap)
        if arc == NONE and parent >= 0:  # a whole sentence
            scores[found], at = -bound, parent
            while links[at, 2] != NONE:
                tokens[found, lengths[found]] = links[at, 2]
                lengths[found] += 1
                at = links[at, 0]
            found += 1
            continue
        if count == len(links):
            enters, leaves, links = _larger(enters), _larger(leaves), _larger(links)
        state = _open(automaton, log_probs, enters, leaves, links, count, parent, arc, whole)
        expanded += 1
        if expanded > most:
            heap.clear()
        peak = _gains(log_probs, history, leaves[count], linear)
        if state == 0:
            heapq.heappush(heap, (-leaves[count, 0], count, NONE))
        for at in range(automaton.in_start[state], automaton.in_start[state + 1]):
            arc = np.int64(automaton.in_arc[at])
            same = 1 if automaton.arc_token[arc] == links[count, 2] else 0
            mass = 0.0
            for entry in range(first[arc], first[arc + 1]):
                mass += value[entry] * linear[same, time[entry] + 1]
            if mass > 0.0:
                heapq.heappush(heap, (-(math.log(mass) + peak), count, arc))
        count += 1
    return tokens[:found], lengths[:found], scores[:found]
