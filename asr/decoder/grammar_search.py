"""The best sentences of a grammar, found backward from their ends, compiled.

The search finds the best sentences one after another (the tree-trellis search of Soong and Huang
1991, with sums instead of maxima). The priority of the end of a sentence is the probability of all
sentences that end so, an upper bound of that of each single one but for what the forward pass has
dropped. When it has expanded `most` endings, it continues with the best beginning of the current
ending alone; this happens when very many sentences fit about equally badly.
"""

from __future__ import annotations

import heapq
import math

import numpy as np

from asr.jit import allocating, log_add
from asr.text.tokenizer import BLANK

NONE = -1


@allocating
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


@allocating
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
        new_leaves[t] = log_add(new_enters[t], blank + new_leaves[t + 1])
        left = blank + leaves[t + 1] if token == next_token else leaves[t]
        here = log_add(left, spoken + here)


@allocating
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


@allocating
def _larger(array):
    grown = np.empty((2 * array.shape[0], array.shape[1]), array.dtype)
    grown[: array.shape[0]] = array
    return grown


@allocating
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


@allocating
def _push_ends(automaton, forward, scale, whole, heap):
    """Put the empty ending of each final state on the heap; if not `whole`, of the likeliest state.

    scale: the log by which the values of the last frame are scaled.
    """
    likeliest, most_mass = NONE, 0.0
    for i in range(forward.counts[1]):
        state = np.int64(forward.states[0, i])
        mass = forward.on_blank[state] + forward.arrived[state]
        if whole and automaton.final_weight[state] > 0.0 and mass > 0.0:
            bound = scale + math.log(mass) + math.log(automaton.final_weight[state])
            heapq.heappush(heap, (-bound, -2 - state, NONE))
        if mass > most_mass:
            likeliest, most_mass = state, mass
    if not whole and likeliest != NONE:
        heap.append((0.0, -2 - likeliest, NONE))


@allocating
def _insert(tokens, lengths, scores, found, links, ending, score):
    """Put a sentence into the list of the best ones, which is sorted; returns their number."""
    at = min(found, len(scores) - 1)
    if found == len(scores) and score <= scores[at]:
        return found
    while at > 0 and scores[at - 1] < score:
        tokens[at], lengths[at], scores[at] = tokens[at - 1], lengths[at - 1], scores[at - 1]
        at -= 1
    scores[at], lengths[at] = score, 0
    while links[ending, 2] != NONE:
        tokens[at, lengths[at]] = links[ending, 2]
        lengths[at] += 1
        ending = links[ending, 0]
    return min(found + 1, len(scores))


@allocating
def best_sentences(automaton, forward, history, log_probs, wanted, most, whole, lost):
    """The sentences with the highest probabilities, best first.

    log_probs: (T, V), all frames; whole: whether only whole sentences count; otherwise the one
    state in which the paths are likeliest is taken as the end; lost: `most_lost` of the forward
    pass. Returns tokens (N, T) int32, their number (N,), and ln of weight times probability (N,),
    which is exact; N is at most `wanted`. If N is `wanted` and the last score is at least `lost`,
    no other sentence is better.
    """
    frames = len(log_probs)
    first, time, value = _by_arc(automaton, history, frames)
    enters, leaves = np.empty((64, frames + 1)), np.empty((64, frames + 1))
    links = np.empty((64, 3), np.int32)  # of each ending: the ending after it, state, first token
    linear = np.zeros((2, frames + 1))
    tokens = np.zeros((wanted, frames), np.int32)
    lengths, scores = np.zeros(wanted, np.int64), np.zeros(wanted)
    count, found = 0, 0
    heap = [(0.0, NONE, NONE)]
    heap.pop()
    _push_ends(automaton, forward, history.scale[frames - 1] if frames else 0.0, whole, heap)
    while len(heap):
        if found == wanted and log_add(-heap[0][0], lost) <= scores[-1]:
            break
        if found == wanted and lost > scores[-1]:
            break  # a wider margin is needed
        bound, parent, arc = heapq.heappop(heap)
        if arc == NONE and parent >= 0:  # a whole sentence
            found = _insert(tokens, lengths, scores, found, links, parent, -bound)
            continue
        if count == len(links):
            enters, leaves, links = _larger(enters), _larger(leaves), _larger(links)
        state = _open(automaton, log_probs, enters, leaves, links, count, parent, arc, whole)
        if count >= most:
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
