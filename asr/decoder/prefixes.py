"""Data structures of the prefix beam search: a trie of prefixes, the beam, and token times.

Prefixes are nodes of a trie in one array; the beam is an array of entries that point to nodes. The
start time of a token on a path is a record that points to the record of the previous token. A node
that no prefix of the beam needs is reused at once, so that the trie stays in the processor's cache;
records are compacted when their array is full. Memory therefore grows with the length of the text,
not with the number of frames.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from asr.decoder import fusion as fuse
from asr.jit import allocating, compiled, inlined
from asr.text.tokenizer import BLANK

NONE = -1
GIVEN_BACK = -2

NODE = np.dtype(  # a prefix
    [
        ("parent", "i4"),
        ("token", "i4"),  # its last token
        ("child", "i4"),  # one of its children, and
        ("sibling", "i4"),  # the next child of its parent
        ("slot", "i4"),  # its position in the beam, or NONE
        *fuse.PREFIX_FUSION,
    ],
    align=True,
)
# A prefix in the beam. Fields with `_blank` describe the paths that end in a blank, fields with
# `_token` the paths that end in the last token of the prefix.
ENTRY = np.dtype(
    [
        ("p_blank", "f8"),  # log of the sum of the probabilities of the paths
        ("p_token", "f8"),
        ("p_total", "f8"),
        ("best_blank", "f8"),  # log-prob of the likeliest single path, which gives the times
        ("best_token", "f8"),
        ("peak_blank", "f4"),  # on that path, the highest log-prob of the last token
        ("peak_token", "f4"),
        ("time_blank", "i4"),  # the TIME record of the last token of that path
        ("time_token", "i4"),
        ("end_blank", "i4"),  # end frame of the last token; for `_token` paths it is HEAD's `frame`
        ("node", "i4"),
        ("via", "i4"),  # for a new prefix: the slot of its parent; otherwise NONE
        ("token", "i4"),  # for a new prefix: its last token
    ],
    align=True,
)
TIME = np.dtype(  # the start of a token on a path, and the end of the previous token
    [("before", "i4"), ("start", "i4"), ("end_before", "i4"), ("peak_before", "f4")], align=True
)
HEAD = np.dtype(  # the state of a search
    [
        ("frame", "i8"),  # number of frames searched
        ("count", "i8"),  # number of prefixes in the beam
        ("side", "i8"),  # index of the current one of the two beams
        ("nodes", "i8"),  # number of nodes that have been used, including free ones
        ("spare", "i8"),  # the first free node; `sibling` of a free node is the next one
        ("spares", "i8"),  # number of free nodes
        ("times", "i8"),  # number of TIME records in use
        ("stamp", "i8"),  # the value of `mark` for the prefix that is being expanded
        ("resting", "i8"),  # whether all paths end in a blank
        ("offset", "f8"),  # log-prob to be added to every path
    ],
    align=True,
)


class Arrays(NamedTuple):
    """The arrays of a search."""

    head: np.ndarray  # (1,) HEAD
    beams: np.ndarray  # (2, 2 * beam + 1) ENTRY
    orders: np.ndarray  # (2, beam) int32, slots of a beam, best first
    scores: np.ndarray  # (2, beam) float64, p_total + fused of the slots in `orders`
    nodes: np.ndarray  # (room,) NODE; node 0 is the empty prefix
    times: np.ndarray  # (room,) TIME
    emit: np.ndarray  # (V,) float64, log-probs of the tokens kept in a frame; -inf for others
    kept: np.ndarray  # (V,) int32, the tokens kept in a frame, likeliest first
    mark: np.ndarray  # (V,) int64, equals `stamp` if prefix + token is in the beam already
    child: np.ndarray  # (2, 2 * beam + 1) int32, children in the beam as linked lists of slots


@compiled
def start(fusion, arrays):
    """Put the empty prefix into the beam."""
    head = arrays.head[0]
    head.frame, head.count, head.side, head.nodes, head.times = 0, 1, 0, 1, 0
    head.spare, head.spares = NONE, 0
    head.stamp, head.resting, head.offset = 0, 1, 0.0
    root = arrays.nodes[0]
    root.parent, root.token, root.child, root.sibling, root.slot = NONE, BLANK, NONE, NONE, 0
    fuse.begin(fusion, root)
    entry = arrays.beams[0][0]
    entry.node, entry.via = 0, NONE
    entry.p_blank, entry.p_token, entry.p_total = 0.0, -math.inf, 0.0
    entry.best_blank, entry.best_token = 0.0, -math.inf
    entry.peak_blank, entry.peak_token = 0.0, 0.0
    entry.time_blank, entry.time_token, entry.end_blank = NONE, NONE, 0
    arrays.orders[0][0], arrays.scores[0][0] = 0, 0.0
    arrays.emit[:] = -math.inf
    arrays.mark[:] = 0


@inlined
def write_time(head, times, parent, repeats):
    """Record that a token starts in this frame after the best path to `parent`; returns its number.

    repeats: whether the token equals the last token of the parent; a blank must then separate them.
    """
    time = times[head.times]
    time.start = head.frame
    if repeats or parent.best_blank >= parent.best_token:
        time.before, time.end_before = parent.time_blank, parent.end_blank
        time.peak_before = parent.peak_blank
    else:
        time.before, time.end_before = parent.time_token, head.frame
        time.peak_before = parent.peak_token
    head.times += 1
    return head.times - 1


@inlined
def node_of(fusion, head, nodes, parent, token):
    """The node of the prefix `parent` + `token`, created if it does not exist."""
    number = nodes[parent].child
    while number != NONE:
        if nodes[number].token == token:
            return number
        number = nodes[number].sibling
    if head.spare != NONE:
        number = head.spare
        head.spare = nodes[number].sibling
        head.spares -= 1
    else:
        number = head.nodes
        head.nodes += 1
    node, prefix = nodes[number], nodes[parent]
    node.parent, node.token, node.child = parent, token, NONE
    node.sibling, prefix.child = prefix.child, number
    node.fused, node.close_state = 0.0, fuse.PENDING
    if fusion.active:
        fused, ahead, lm_state, spelled, hot_state, in_word = fuse.extend(fusion, prefix, token)
        node.fused, node.ahead, node.lm_state, node.spelled = fused, ahead, lm_state, spelled
        node.hot_state, node.in_word = hot_state, in_word
    return number


@compiled
def release(head, nodes, number):
    """Free a node and its ancestors that are not in the beam and have no children."""
    while number != 0 and nodes[number].slot == NONE and nodes[number].child == NONE:
        parent = nodes[number].parent
        sibling = nodes[parent].child
        if sibling == number:
            nodes[parent].child = nodes[number].sibling
        else:
            while nodes[sibling].sibling != number:
                sibling = nodes[sibling].sibling
            nodes[sibling].sibling = nodes[number].sibling
        nodes[number].slot = GIVEN_BACK  # so that it is not freed twice
        nodes[number].sibling, head.spare = head.spare, number
        head.spares += 1
        number = parent


@allocating
def compact_times(arrays):
    """Drop the TIME records that no prefix of the beam needs, and keep the others in order."""
    head, times = arrays.head[0], arrays.times
    beam, order = arrays.beams[head.side], arrays.orders[head.side]
    moved = np.full(head.times, NONE, np.int32)
    for rank in range(head.count):
        entry = beam[order[rank]]
        for time in (entry.time_blank, entry.time_token):
            while time != NONE and moved[time] == NONE:
                moved[time] = 0
                time = times[time].before
    count = 0
    for time in range(head.times):
        if moved[time] != NONE:
            moved[time] = count
            times[count] = times[time]
            if times[count].before != NONE:
                times[count].before = moved[times[count].before]
            count += 1
    head.times = count
    for rank in range(head.count):
        entry = beam[order[rank]]
        if entry.time_blank != NONE:
            entry.time_blank = moved[entry.time_blank]
        if entry.time_token != NONE:
            entry.time_token = moved[entry.time_token]


@allocating
def count_settled(arrays):
    """The number of leading tokens that all prefixes of the beam share.

    Nodes without children are in the beam, so these are the tokens down to the first node that has
    two children or is in the beam itself.
    """
    head, nodes = arrays.head[0], arrays.nodes
    count, number = 0, 0
    while head.count > 0 and nodes[number].slot == NONE:
        child = nodes[number].child
        if child == NONE or nodes[child].sibling != NONE:
            break
        number = child
        count += 1
    return count


@allocating
def trace(arrays, rank):
    """The tokens of a prefix of the beam, with their times on its best path.

    Returns tokens (N,) int64; starts and ends (N,) int64 in frames, the end exclusive; and peaks
    (N,) float64, the highest log-prob of each token.
    """
    head, nodes, times = arrays.head[0], arrays.nodes, arrays.times
    entry = arrays.beams[head.side][arrays.orders[head.side][rank]]
    count, number = 0, entry.node
    while nodes[number].parent != NONE:
        count += 1
        number = nodes[number].parent
    tokens, peaks = np.empty(count, np.int64), np.empty(count)
    starts, ends = np.empty(count, np.int64), np.empty(count, np.int64)
    if entry.best_token > entry.best_blank:
        time, end, peak = entry.time_token, head.frame, np.float64(entry.peak_token)
    else:
        time, end = entry.time_blank, np.int64(entry.end_blank)
        peak = np.float64(entry.peak_blank)
    number = entry.node
    for at in range(count - 1, -1, -1):
        tokens[at], starts[at], ends[at], peaks[at] = (
            nodes[number].token,
            times[time].start,
            end,
            peak,
        )
        end, peak = np.int64(times[time].end_before), np.float64(times[time].peak_before)
        number, time = nodes[number].parent, times[time].before
    return tokens, starts, ends, peaks
