"""CTC prefix beam search, compiled; `reference.py` defines its results.

Four optimizations make it fast; none changes the result:
- Tokens are pruned before prefixes are expanded. In a frame where only the blank is left, one
  number is added to all prefixes at once.
- A node stores the position of its prefix in the beam (`slot`), so that merging needs no search.
- A prefix that is not in the beam yet has a single parent, so its score is final as soon as it is
  computed. It is not created if the beam is already full of better prefixes.
- The score of the end of a word is computed at most once for each prefix, and only if an upper
  bound of the new score (`fusion.most_gain`) would enter the beam.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from asr.decoder import fusion as fuse
from asr.decoder.prefixes import NONE, node_of, release, write_time
from asr.jit import compiled, inlined, log_add
from asr.text.tokenizer import BLANK


class Limits(NamedTuple):
    """The limits of pruning."""

    beam: int
    token_min_logp: float
    tokens_per_frame: int
    beam_margin: float


@compiled
def keep_tokens(row, limits, kept):
    """Write the tokens that are tried in a frame (V,) to `kept`, likeliest first.

    Returns their number; `reference.kept_tokens` is the definition.
    """
    floor, room = limits.token_min_logp, limits.tokens_per_frame
    above = 0
    for token in range(1, len(row)):  # without a branch, so that it becomes vector instructions
        above += row[token] >= floor
    if above == 0:
        if row[BLANK] >= floor:
            return 0
        best = BLANK
        for token in range(1, len(row)):
            if row[token] > row[best]:
                best = token
        kept[0] = best
        return 0 if best == BLANK else 1
    count = 0
    for token in range(1, len(row)):
        value = row[token]
        if value >= floor and (count < room or value > row[kept[count - 1]]):
            at = min(count, room - 1)
            count = at + 1
            while at > 0 and row[kept[at - 1]] < value:
                kept[at] = kept[at - 1]
                at -= 1
            kept[at] = token
    return count


@compiled
def rest(head, beam, order):
    """Convert all paths to paths that end in a blank, before a frame with only blanks."""
    for rank in range(head.count):
        entry = beam[order[rank]]
        entry.p_blank, entry.p_token = entry.p_total, -math.inf
        if entry.best_token > entry.best_blank:
            entry.best_blank, entry.peak_blank = entry.best_token, entry.peak_token
            entry.time_blank, entry.end_blank = entry.time_token, head.frame
        entry.best_token = -math.inf
    head.resting = 1


@inlined
def insert(order, scores, count, slot, score):
    """Insert `slot` into the first `count` entries of `order`, which are sorted by score.

    It is placed after entries with the same score.
    """
    while count > 0 and scores[count - 1] < score:
        order[count], scores[count] = order[count - 1], scores[count - 1]
        count -= 1
    order[count], scores[count] = slot, score


@compiled
def stay(row, arrays):
    """Extend the paths of each prefix in the beam by a blank or by its last token.

    Paths from the parent prefix, if it is in the beam too, are merged in. Returns the number of
    prefixes that still have a path.
    """
    head, nodes, emit = arrays.head[0], arrays.nodes, arrays.emit
    beam, order = arrays.beams[head.side], arrays.orders[head.side]
    after, new_order = arrays.beams[1 - head.side], arrays.orders[1 - head.side]
    new_scores = arrays.scores[1 - head.side]
    blank = np.float64(row[BLANK])
    alive = 0
    for rank in range(head.count):
        old, new = beam[order[rank]], after[rank]
        node = nodes[old.node]
        new.node, new.via = old.node, NONE
        new.p_blank = old.p_total + blank
        if old.best_token > old.best_blank:
            new.best_blank, new.peak_blank = old.best_token + blank, old.peak_token
            new.time_blank, new.end_blank = old.time_token, head.frame
        else:
            new.best_blank, new.peak_blank = old.best_blank + blank, old.peak_blank
            new.time_blank, new.end_blank = old.time_blank, old.end_blank
        new.p_token, new.best_token, new.peak_token = -math.inf, -math.inf, -math.inf
        new.time_token = old.time_token
        value = emit[node.token]
        if value > -math.inf:
            new.p_token, new.best_token = old.p_token + value, old.best_token + value
            new.peak_token = max(old.peak_token, value)
            slot = nodes[node.parent].slot
            if slot != NONE:
                parent = beam[slot]
                repeats = nodes[parent.node].token == node.token
                if repeats:
                    incoming, best = parent.p_blank, parent.best_blank
                else:
                    incoming, best = parent.p_total, max(parent.best_blank, parent.best_token)
                new.p_token = log_add(new.p_token, incoming + value)
                if best + value > new.best_token:
                    new.best_token, new.peak_token = best + value, value
                    new.time_token = write_time(head, arrays.times, parent, repeats)
            new.p_total = log_add(new.p_blank, new.p_token)
        else:
            new.p_total = new.p_blank
        score = new.p_total + node.fused
        if score > -math.inf:
            insert(new_order, new_scores, alive, rank, score)
            alive += 1
    return alive


@compiled
def expand(row, count, limits, fusion, arrays, alive):
    """Add the prefixes that are one token longer than a prefix of the beam and not in the beam.

    alive: the number of prefixes in `new_order`. Returns the new number.
    """
    head, nodes, kept, mark = arrays.head[0], arrays.nodes, arrays.kept, arrays.mark
    beam, order, scores = (
        arrays.beams[head.side],
        arrays.orders[head.side],
        arrays.scores[head.side],
    )
    after, new_order = arrays.beams[1 - head.side], arrays.orders[1 - head.side]
    new_scores = arrays.scores[1 - head.side]
    free = head.count
    for rank in range(head.count):
        slot = order[rank]
        parent = beam[slot]
        prefix = nodes[parent.node]
        head.stamp += 1
        child = arrays.child[0, slot]
        while child != NONE:
            mark[nodes[beam[child].node].token] = head.stamp
            child = arrays.child[1, child]
        gain, begin_gain = 0.0, 0.0
        if fusion.active:
            gain, begin_gain = fusion.hot_gain, fuse.most_gain(fusion, prefix)
        highest = scores[rank] + max(gain, begin_gain)
        for i in range(count):
            token = kept[i]
            value = np.float64(row[token])
            worst = new_scores[limits.beam - 1] if alive == limits.beam else -math.inf
            least = new_scores[0] - limits.beam_margin if alive else -math.inf
            if highest + value <= worst or highest + value < least:
                break  # all following tokens are less likely
            if mark[token] == head.stamp:
                continue
            total = (parent.p_blank if token == prefix.token else parent.p_total) + value
            score = total + prefix.fused
            if fusion.active:
                most = score + (begin_gain if fusion.begins[token] else gain)
                if most <= worst or most < least:
                    continue
                score = total + fuse.extend(fusion, prefix, token)[0]
            if score <= worst or score < least:
                continue
            if alive == limits.beam:
                alive -= 1
                place = new_order[alive]
            else:
                place, free = free, free + 1
            new = after[place]
            new.p_token, new.p_total = total, total
            new.via, new.token = slot, token
            insert(new_order, new_scores, alive, place, score)
            alive += 1
    while alive > 0 and new_scores[alive - 1] < new_scores[0] - limits.beam_margin:
        alive -= 1
    return alive


@compiled
def settle(fusion, arrays, alive):
    """Add the new prefixes of the beam to the trie, and set the slots of all nodes."""
    head, nodes, emit = arrays.head[0], arrays.nodes, arrays.emit
    beam, order = arrays.beams[head.side], arrays.orders[head.side]
    after, new_order = arrays.beams[1 - head.side], arrays.orders[1 - head.side]
    for rank in range(head.count):
        nodes[beam[order[rank]].node].slot = NONE
    for rank in range(alive):
        slot = new_order[rank]
        new = after[slot]
        if new.via != NONE:
            parent = beam[new.via]
            repeats = nodes[parent.node].token == new.token
            new.node = node_of(fusion, head, nodes, parent.node, new.token)
            best = parent.best_blank if repeats else max(parent.best_blank, parent.best_token)
            value = emit[new.token]
            new.p_blank, new.best_blank = -math.inf, -math.inf
            new.best_token, new.peak_token = best + value, value
            new.time_token = write_time(head, arrays.times, parent, repeats)
            new.time_blank, new.end_blank, new.peak_blank = NONE, 0, 0.0
        nodes[new.node].slot = slot
    for rank in range(head.count):
        release(head, nodes, beam[order[rank]].node)
    head.count = alive


@compiled
def advance(log_probs, limits, fusion, arrays):
    """Search the frames (T, V) in order; returns their number, less than T if memory runs out."""
    head = arrays.head[0]
    for t in range(len(log_probs)):
        row = log_probs[t]
        count = keep_tokens(row, limits, arrays.kept)
        beam, order = arrays.beams[head.side], arrays.orders[head.side]
        if count == 0:
            if not head.resting:
                rest(head, beam, order)
            head.offset += row[BLANK]
            if row[BLANK] == -math.inf:
                head.count = 0
            head.frame += 1
            continue
        unused = len(arrays.nodes) - head.nodes + head.spares
        if unused < limits.beam or len(arrays.times) - head.times < 2 * limits.beam:
            return t
        for i in range(count):
            arrays.emit[arrays.kept[i]] = row[arrays.kept[i]]
        first, following = arrays.child[0], arrays.child[1]
        for rank in range(head.count):
            first[order[rank]] = NONE
        for rank in range(head.count):
            parent = arrays.nodes[beam[order[rank]].node].parent
            slot = arrays.nodes[parent].slot if parent != NONE else NONE
            if slot != NONE:
                following[order[rank]], first[slot] = first[slot], order[rank]
        alive = stay(row, arrays)
        alive = expand(row, count, limits, fusion, arrays, alive)
        settle(fusion, arrays, alive)
        for i in range(count):
            arrays.emit[arrays.kept[i]] = -math.inf
        head.side, head.resting = 1 - head.side, 0
        head.frame += 1
    return len(log_probs)


@compiled
def final_scores(fusion, arrays, scores):
    """Write the score of each prefix of the beam as a whole text into `scores` (size,)."""
    head = arrays.head[0]
    beam, order = arrays.beams[head.side], arrays.orders[head.side]
    for rank in range(head.count):
        entry = beam[order[rank]]
        fused = fuse.finish(fusion, arrays.nodes[entry.node])
        scores[rank] = head.offset + entry.p_total + fused
