"""The best CTC path through a known token sequence: a numba kernel and a plain reference.

The trellis has a gap state (blank) and a label state for each token, and one gap state after the
last token; "pair n" is gap n and label n. A gap may be skipped unless it separates two equal
tokens. A path advances by at most one token per frame, which has two consequences:
- Of the T x N pairs (frame, token), only a parallelogram of N (T - N) lies on complete paths.
- A path at token n was at token n - K or later K frames before.
The forward pass therefore keeps only the scores of every K-th frame. The backward pass recomputes
each block of K frames, and only for the K tokens that the path can have passed in it.
"""

from __future__ import annotations

import math

import numpy as np

from asr.jit import allocating
from asr.text.tokenizer import BLANK


def best_path(
    log_probs: np.ndarray,
    tokens: np.ndarray,
    wild_gaps: np.ndarray,
    wild_scores: np.ndarray,
    block_frames: int | None = None,
) -> np.ndarray:
    """The state of the likeliest path in each frame, (T,) int64.

    State 2n is the gap before token n, state 2n + 1 is token n. The result is exact; scores are
    summed in float64.

    log_probs: (T, V) float32 natural logs, C-contiguous. tokens: (N,) ids without blanks, where
    T >= N + number of adjacent repeats. wild_gaps: sorted numbers of gaps (n: before token n; N:
    after the last token) in which frame t scores `wild_scores[t]` instead of the blank's log-prob.
    wild_scores: (T,) float32. block_frames: K above; by default the one that needs least memory.
    """
    frames, count = len(log_probs), len(tokens)
    if block_frames is None:
        # Memory is T / K frames of min(N, T - N) pairs, plus one block of K frames of K pairs.
        block_frames = max(1, round((frames * min(count, frames - count) / 2) ** (1 / 3)))
    # With unsigned ids the loop needs no test for negative indices. The padding at both ends is
    # read but has no effect: no token precedes token 0, and no path continues after the last gap.
    padded = np.array([BLANK, *tokens, BLANK], np.uint32)
    given = log_probs, padded, wild_gaps.astype(np.int64), wild_scores, block_frames
    return _backward(*given, *_forward(*given))


@allocating
def _step(before, after, tokens, row, first, last):
    """Scores of one frame for the pairs n in [first, last].

    before, after: (gaps, labels) with gaps[n] and labels[n + 1] the scores of pair n;
    tokens[n + 1] is token n; row: (V,) log-probs of the frame.
    """
    gaps, labels, previous = before[0][first:], before[1][first + 1 :], before[1][first:]
    next_gaps, next_labels = after[0][first : last + 1], after[1][first + 1 : last + 2]
    token, previous_token = tokens[first + 1 :], tokens[first:]
    blank = row[BLANK]
    # All slices begin at pair `first` and there are no branches, so this is vectorized.
    for i in range(next_gaps.shape[0]):
        gap, label, passed = gaps[i], labels[i], previous[i]
        next_gaps[i] = (gap if gap > passed else passed) + blank
        best = label if label > gap else gap
        skip = passed if token[i] != previous_token[i] else -np.inf
        next_labels[i] = (best if best > skip else skip) + row[token[i]]


@allocating
def _step_wild(before, after, wild_gaps, offset, wild_score, first, last):
    """Replace the scores of the wild gaps of one frame.

    Gap n of the arrays `before` and `after` is gap `offset` + n of the trellis.
    """
    at = np.searchsorted(wild_gaps, offset + first)
    while at < len(wild_gaps) and wild_gaps[at] <= offset + last:
        n = wild_gaps[at] - offset
        after[0][n] = max(before[0][n], before[1][n]) + wild_score
        at += 1


@allocating
def _lowest(frame, frames, count):
    """The first pair from which a path can still reach the last token in the remaining frames."""
    return max(0, count - frames + frame)


@allocating
def _forward(log_probs, tokens, wild_gaps, wild_scores, block):
    """The forward pass.

    Returns the scores of gaps and labels (blocks, 2, pairs) before each block, and the last state
    of the best path.
    """
    frames, count = len(log_probs), len(tokens) - 2
    width = min(count, frames - count) + 1  # number of pairs that complete paths can be at
    kept = np.full(((frames + block - 1) // block, 2, width), -np.inf)
    gaps, labels = np.full((2, count + 1), -np.inf), np.full((2, count + 2), -np.inf)
    gaps[0, 0] = 0.0
    for frame in range(frames):
        now, then = frame % 2, 1 - frame % 2
        if frame % block == 0:
            low = _lowest(frame - 1, frames, count)
            size = min(width, count + 1 - low)
            kept[frame // block, 0, :size] = gaps[now, low : low + size]
            kept[frame // block, 1, :size] = labels[now, low + 1 : low + 1 + size]
        before, after = (gaps[now], labels[now]), (gaps[then], labels[then])
        first, last = _lowest(frame, frames, count), min(frame, count)
        _step(before, after, tokens, log_probs[frame], first, last)
        _step_wild(before, after, wild_gaps, 0, wild_scores[frame], first, last)
    end = frames % 2
    return kept, 2 * count if gaps[end, count] >= labels[end, count] else 2 * count - 1


@allocating
def _backward(log_probs, tokens, wild_gaps, wild_scores, block, kept, state):
    """The best path that ends in `state`, recomputed block by block from the last one."""
    frames, count = len(log_probs), len(tokens) - 2
    path = np.empty(frames, np.int64)
    reach = min(block, count) + 1  # pairs that a path can pass in one block, including both ends
    gaps, labels = np.empty((block + 1, reach)), np.empty((block + 1, reach + 1))
    for number in range(len(kept) - 1, -1, -1):
        start = number * block
        size = min(block, frames - start)
        pair = state // 2  # where the path leaves the block
        kept_low = _lowest(start - 1, frames, count)
        low = max(kept_low, pair - size)  # pair 0 of this block's arrays
        gaps[:], labels[:] = -np.inf, -np.inf
        for n in range(low, min(pair + 1, kept_low + kept.shape[2])):
            gaps[0, n - low] = kept[number, 0, n - kept_low]
            labels[0, n - low + 1] = kept[number, 1, n - kept_low]
        window = tokens[low:]
        for i in range(size):
            frame = start + i
            # Pairs that cannot reach `pair` by the end of the block are neither computed nor read.
            first = max(_lowest(frame, frames, count), pair - (size - 1 - i), low) - low
            last = min(frame, pair) - low
            before, after = (gaps[i], labels[i]), (gaps[i + 1], labels[i + 1])
            _step(before, after, window, log_probs[frame], first, last)
            _step_wild(before, after, wild_gaps, low, wild_scores[frame], first, last)
        for i in range(size - 1, -1, -1):
            path[start + i] = state
            n = state // 2 - low
            skips = window[n + 1] != window[n]
            state = _previous(state, gaps[i, n], labels[i, n + 1], labels[i, n], skips)
    return path


@allocating
def _previous(state, gap, label, passed, skips):
    """The state that precedes `state`, of pair n, on the best path.

    gap, label: the scores of pair n in the previous frame; passed: the score of label n - 1 in the
    previous frame; skips: whether a path may go from label n - 1 to label n without the gap.
    """
    if state % 2 == 0:
        return state - 1 if passed > gap else state
    if skips and passed > max(label, gap):
        return state - 2
    return state - 1 if gap > label else state


def best_path_reference(
    log_probs: np.ndarray, tokens: np.ndarray, wild_gaps: np.ndarray, wild_scores: np.ndarray
) -> np.ndarray:
    """The definition of `best_path`: the whole trellis, computed one state at a time."""
    frames, states = len(log_probs), 2 * len(tokens) + 1
    wild = {2 * n for n in wild_gaps.tolist()}
    scores = {0: 0.0}  # a path begins in the first gap or in the token after it
    came_from: list[list[int]] = []
    for t in range(frames):
        new, back = {}, []
        for s in range(states):
            steps = [s, s - 1]
            if s % 2 == 1 and s >= 3 and tokens[s // 2] != tokens[s // 2 - 1]:
                steps.append(s - 2)
            best = max(steps, key=lambda step: scores.get(step, -math.inf))
            if s % 2 == 1:
                emission = float(log_probs[t, tokens[s // 2]])
            else:
                emission = float(wild_scores[t] if s in wild else log_probs[t, BLANK])
            new[s] = scores.get(best, -math.inf) + emission
            back.append(best)
        scores = new
        came_from.append(back)
    state = max((states - 1, states - 2), key=lambda s: scores.get(s, -math.inf))
    path = []
    for back in reversed(came_from):
        path.append(state)
        state = back[state]
    return np.array(path[::-1], np.int64)
