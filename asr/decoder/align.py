"""Forced alignment: the times and confidences of the tokens and words of a known text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from asr.decoder.words import words_of
from asr.text.tokenizer import BLANK, Tokenizer
from asr.transcript import Word

STAR = -1  # the token of a wildcard
STAR_WORD = "*"  # the word of a text that stands for a wildcard
# In nats. A frame in a wildcard scores less than its best token, so that words that fit win.
STAR_PENALTY = 1.0


@dataclass(frozen=True)
class Alignment:
    """The likeliest path of a token sequence through T frames. All arrays are in order of time."""

    tokens: np.ndarray  # (N,) ids, including STAR
    starts: np.ndarray  # (N,) first frame of each token
    ends: np.ndarray  # (N,) the frame after the last frame of each token
    scores: np.ndarray  # (N,) mean natural log-prob of its frames; 0 for an empty wildcard
    frame_scores: np.ndarray  # (T,) natural log-prob of the path on each frame

    @property
    def score(self) -> float:
        """Natural log-prob of the whole path."""
        return float(self.frame_scores.sum(dtype=np.float64))


def align(
    log_probs: np.ndarray, tokens: Sequence[int], star_penalty: float = STAR_PENALTY
) -> Alignment:
    """The likeliest CTC path that spells `tokens`.

    log_probs: (T, V) natural logs. The recursion is that of Graves et al. 2006 with maxima in place
    of sums. It is exact for any length, and needs O((T N)^(2/3)) memory besides input and result.

    A `STAR` in `tokens` matches any speech or none. Each of its frames scores
    max(blank, best token - star_penalty) instead of the blank. The wildcard extends from the first
    to the last frame in which best token - star_penalty > blank; without such a frame it is empty.

    Raises ValueError if the emissions have a NaN or too few frames for the tokens, if a token is
    not in the vocabulary, or if no path has a probability above 0.
    """
    log_probs = np.ascontiguousarray(log_probs, np.float32)
    if log_probs.ndim != 2:
        raise ValueError(f"emissions must have the shape (T, V), not {log_probs.shape}")
    frames, vocabulary = log_probs.shape
    tokens = np.asarray(tokens, np.int64).reshape(-1)
    is_star = tokens == STAR
    spoken = tokens[~is_star]
    strange = spoken[(spoken <= BLANK) | (spoken >= vocabulary)]
    if len(strange):
        raise ValueError(f"token {strange[0]} is not among 1 to {vocabulary - 1}")
    # The same as asr.model.ctc.frames_needed, whose import would load torch.
    needed = len(spoken) + np.count_nonzero(spoken[1:] == spoken[:-1])
    if frames < needed:
        raise ValueError(
            f"{len(spoken)} tokens need at least {needed} frames, the emissions have {frames}: "
            "the text does not belong to the audio, or the model subsamples time too much for it"
        )
    top = log_probs.max(axis=1, initial=-np.inf)  # (T,)
    if np.isnan(top).any():
        raise ValueError(f"the emissions have a NaN, first in frame {np.isnan(top).argmax()}")
    blank = log_probs[:, BLANK]
    wild = np.maximum(blank, top - np.float32(star_penalty))
    # A wildcard belongs to the gap before the next spoken token.
    star_gaps = np.cumsum(~is_star)[is_star]
    from asr.decoder.viterbi import best_path  # loads numba

    path = best_path(log_probs, spoken, np.unique(star_gaps), wild)

    in_token = path % 2 == 1
    frame_scores = np.where(np.isin(path, 2 * star_gaps), wild, blank)
    frame_scores[in_token] = log_probs[in_token, spoken[path[in_token] // 2]]
    states = np.empty(len(tokens), np.int64)
    states[~is_star] = 2 * np.arange(len(spoken)) + 1
    states[is_star] = 2 * star_gaps
    starts, ends = np.searchsorted(path, states), np.searchsorted(path, states, "right")
    if not (np.isfinite(frame_scores).all() and (starts < ends)[~is_star].all()):
        raise ValueError("the emissions give every path of these tokens the probability 0")
    for i in np.flatnonzero(is_star):
        won = np.flatnonzero(wild[starts[i] : ends[i]] > blank[starts[i] : ends[i]])
        first_of_gap = i == 0 or not is_star[i - 1]
        ends[i] = starts[i] + (won[-1] + 1 if len(won) and first_of_gap else 0)
        starts[i] += won[0] if len(won) and first_of_gap else 0
    total = np.concatenate([[0.0], np.cumsum(frame_scores, dtype=np.float64)])  # (T + 1,)
    scores = (total[ends] - total[starts]) / np.maximum(1, ends - starts)
    return Alignment(tokens, starts, ends, scores, frame_scores)


def encode(text: str, tokenizer: Tokenizer) -> list[int]:
    """Token ids of `text`, with a STAR for each word `*`; ValueError for unknown characters."""
    tokens: list[int] = []
    for is_star, run in groupby(text.split(), STAR_WORD.__eq__):
        words = list(run)
        tokens += [STAR] * len(words) if is_star else tokenizer.encode(" ".join(words))
    return tokens


def align_words(
    log_probs: np.ndarray, text: str, tokenizer: Tokenizer, frame_s: float
) -> tuple[Word, ...]:
    """The words of `text` with their times in seconds, and their confidences.

    A word `*` is a wildcard in any alphabet; the result contains it unless it is empty. Raises
    ValueError like `align`, and for characters outside the tokenizer's alphabet.

    >>> align_words(log_probs, "yes * no", tokenizer, frame_s=0.04)  # doctest: +SKIP
    """
    alignment = align(log_probs, encode(text, tokenizer))
    return timed_words(alignment, 0, len(alignment.tokens), tokenizer.pieces, frame_s)


def timed_words(
    alignment: Alignment, first: int, after: int, pieces: Sequence[str], frame_s: float
) -> tuple[Word, ...]:
    """The words, with times in seconds, of the tokens [first, after) of an alignment."""
    words: list[Word] = []
    stars = first + np.flatnonzero(alignment.tokens[first:after] == STAR)
    for left, right in pairwise(sorted({first, *stars.tolist(), after})):
        if alignment.tokens[left] == STAR:
            start, end = float(alignment.starts[left]), float(alignment.ends[left])
            if end > start:
                confidence = min(1.0, math.exp(alignment.scores[left]))
                words.append(Word(STAR_WORD, start * frame_s, end * frame_s, confidence))
            left += 1
        run = slice(left, right)
        words += words_of(
            alignment.tokens[run].tolist(),
            alignment.starts[run].tolist(),
            alignment.ends[run].tolist(),
            alignment.scores[run].tolist(),
            pieces,
            frame_s,
        )
    return tuple(words)
