"""What a prefix scores beside its emissions, as in `fusion.py`, for many prefixes at once on torch.

Numbers of states and places are the same as there. What is a loop over characters there is a table
by pieces here: the spelling trie has an arc for each piece that a word goes on with, and the
hotwords a table of all states by all pieces. Back-off loops run as often as the longest chain asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from asr.decoder.fusion import Fusion, follow
from asr.decoder.lexicon import LOST, NOT_A_WORD, SPACE, Spelling, spell, spell_words
from asr.text.tokenizer import BLANK, WORD_START


class Fused(NamedTuple):
    """Of each prefix; all of one shape."""

    score: Tensor  # float64, everything summed up; -inf where the lexicon has no such word
    ahead: Tensor  # float64, the part of it that is lent for the partial word
    lm_state: Tensor  # int64
    spelled: Tensor  # int64, place of the partial word in the spelling trie, or LOST
    hot_state: Tensor  # int64
    in_word: Tensor  # bool

    def take(self, slots: Tensor) -> Fused:
        """The prefixes (B, N) at `slots` of (B, K)."""
        return Fused(*(field.gather(1, slots) for field in self))


class Arcs(NamedTuple):
    """Arcs of an automaton or a trie, found by state * labels + label."""

    labels: int
    keys: Tensor  # (A,) int64, ascending
    next: Tensor  # (A,) int64

    def find(self, state: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The number of the arc of `state` with `label`, and whether there is one."""
        key = state * self.labels + label
        arc = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
        return arc, (self.keys[arc] == key) & (label >= 0)


class LanguageModel:
    """A back-off automaton on torch."""

    def __init__(self, arrays: tuple[np.ndarray, ...], device: torch.device):
        arc_start, arc_label, arc_score, arc_next, backoff_score, backoff_state = arrays
        self.labels = int(arc_start[1])
        self.arcs = _arcs(arc_start, arc_label, arc_next, self.labels, device)
        self.score = torch.tensor(arc_score, device=device)
        self.backoff_score = torch.tensor(backoff_score, device=device)
        self.backoff_state = torch.tensor(backoff_state, device=device)
        self.longest, state = 0, np.arange(len(backoff_state))
        while state.any():
            self.longest, state = self.longest + 1, backoff_state[state]

    def step(self, state: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Score (float64; NaN where unknown) of `label` in `state`, and the state after it."""
        known = (label >= 0) & (label < self.labels)
        label = torch.where(known, label, 0)
        total = torch.zeros(label.shape, dtype=torch.float64, device=label.device)
        for _ in range(self.longest):
            _, found = self.arcs.find(state, label)
            total = torch.where(found, total, total + self.backoff_score[state])
            state = torch.where(found, state, self.backoff_state[state])
        arc, _ = self.arcs.find(state, label)
        score = torch.where(known, total + self.score[arc], math.nan)
        return score, torch.where(known, self.arcs.next[arc], 0)


class TensorFusion:
    """`Fusion` on a device."""

    def __init__(self, fusion: Fusion, pieces: Sequence[str], device: torch.device):
        self.numbers = fusion
        self.device = device
        self.begins = torch.tensor(fusion.begins, device=device)
        self.has_text = torch.tensor(np.diff(fusion.char_start) > 0, device=device)
        if fusion.known_words:
            start, piece, after = _compose(fusion, pieces)
            self.trie = _arcs(start, piece, after, len(fusion.begins), device)
            # One place more, for LOST: no word, charged as an unknown one.
            lost = -math.inf if fusion.closed else fusion.lm_weight * fusion.unknown_score
            self.word = torch.tensor(np.append(fusion.trie["word"], NOT_A_WORD), device=device)
            self.ahead = torch.tensor(np.append(fusion.trie["ahead"], lost), device=device)
        if fusion.word_lm or fusion.token_lm:
            self.lm = LanguageModel(fusion.lm, device)
        if fusion.token_lm:
            self.token_label = torch.tensor(fusion.token_label.astype(np.int64), device=device)
        if fusion.hot:
            tables = _hot_tables(fusion.hotwords, fusion.char_start, fusion.chars)
            self.hot_credit, self.hot_next, self.space_credit, self.space_next, self.settled = (
                torch.tensor(table, device=device) for table in tables
            )

    def begin(self, shape: tuple[int, ...]) -> Fused:
        """Empty prefixes."""
        options = {"device": self.device}
        return Fused(
            score=torch.zeros(shape, dtype=torch.float64, **options),
            ahead=torch.zeros(shape, dtype=torch.float64, **options),
            lm_state=torch.full(shape, self.numbers.lm_start, **options),
            spelled=torch.zeros(shape, dtype=torch.int64, **options),
            hot_state=torch.full(shape, self.numbers.hot_start, **options),
            in_word=torch.zeros(shape, dtype=torch.bool, **options),
        )

    def close(self, prefix: Fused) -> Fused:
        """The prefixes with their last word ended; those without one stay as they are."""
        numbers = self.numbers
        closing, lm_state, hot_state = numbers.word_bonus, prefix.lm_state, prefix.hot_state
        if numbers.known_words:
            label = self.word[prefix.spelled].long()
            if numbers.word_lm:
                log_prob, lm_state = self.lm.step(lm_state, label)
                closing = closing + self._weighted(log_prob)
            if numbers.closed:
                closing = torch.where(label == NOT_A_WORD, -math.inf, closing)
        if numbers.hot:
            closing = closing + self.space_credit[hot_state]
            hot_state = self.space_next[hot_state]
        ended = Fused(
            prefix.score + (closing - prefix.ahead),
            torch.zeros_like(prefix.ahead),
            lm_state,
            torch.zeros_like(prefix.spelled),
            hot_state,
            torch.zeros_like(prefix.in_word),
        )
        return Fused(*map(torch.where, [prefix.in_word] * len(prefix), ended, prefix))

    def extend(self, prefix: Fused, closed: Fused, token: Tensor) -> Fused:
        """The prefixes with one token more. closed: `close(prefix)`; all broadcast to one shape."""
        numbers = self.numbers
        begins, has_text = self.begins[token], self.has_text[token]
        score, ahead, lm_state, spelled, hot_state, in_word = (
            torch.where(begins, after, before) for after, before in zip(closed, prefix, strict=True)
        )
        if numbers.hot:
            score = score + self.hot_credit[hot_state, token]
            hot_state = self.hot_next[hot_state, token]
        in_word = in_word | has_text
        if numbers.known_words:
            arc, found = self.trie.find(spelled, token)
            spelled = torch.where(has_text, torch.where(found, self.trie.next[arc], LOST), spelled)
            lent = torch.where(in_word, self.ahead[spelled], ahead)
            # Equal parts first, for minus infinity less minus infinity is no number.
            score = torch.where(lent == ahead, score, score + (lent - ahead))
            ahead = lent
        if numbers.token_lm:
            log_prob, lm_state = self.lm.step(lm_state, self.token_label[token])
            score = score + self._weighted(log_prob)
        return Fused(score, ahead, lm_state, spelled, hot_state, in_word)

    def finish(self, prefix: Fused) -> Tensor:
        """The fused scores of the prefixes as whole texts."""
        prefix = self.close(prefix)
        score = prefix.score
        if self.numbers.word_lm or self.numbers.token_lm:
            end = torch.full_like(prefix.lm_state, self.numbers.lm_end)
            score = score + self._weighted(self.lm.step(prefix.lm_state, end)[0])
        if self.numbers.hot:
            score = score + self.settled[prefix.hot_state]
        return score

    def _weighted(self, log_prob: Tensor) -> Tensor:
        known = ~log_prob.isnan()
        return self.numbers.lm_weight * torch.where(known, log_prob, self.numbers.unknown_score)


def _arcs(start, label, after, labels: int, device: torch.device) -> Arcs:
    state = np.repeat(np.arange(len(start) - 1), np.diff(start))
    keys = state * labels + label
    if not len(keys):  # something to find nothing in
        keys, after = np.array([np.iinfo(np.int64).min]), np.array([0])
    return Arcs(
        labels,
        torch.tensor(keys, device=device),
        torch.tensor(after.astype(np.int64), device=device),
    )


def _compose(fusion: Fusion, pieces: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The spelling trie by pieces: (nodes + 1,) start, (A,) ascending pieces, (A,) next."""
    spelling = Spelling.of(pieces)
    found = []
    for begins in (False, True):
        ids = [k for k in range(BLANK + 1, len(pieces)) if spelling.begins[k] == begins]
        texts = [pieces[k].removeprefix(WORD_START) for k in ids]
        spelt = spell_words(spelling, texts, np.array(ids, np.int32), np.zeros(len(ids)))
        # What begins a word only ever stands at the root.
        found.append(_walk(fusion.trie, 1 if begins else len(fusion.trie), spelt))
    arcs = np.concatenate(found)
    source, piece, after = arcs[np.lexsort(arcs.T[1::-1])].T
    counts = np.bincount(source, minlength=len(fusion.trie))
    return np.concatenate([[0], np.cumsum(counts)]), piece, after


@njit(cache=True, nogil=True)
def _walk(trie, sources, pieces):
    """(source, piece, target) of each piece that leads from one of the first nodes to another."""
    found, count = np.empty((1024, 3), np.int64), 0
    for source in range(sources):
        stack = [(np.int64(source), np.int64(0))]
        while len(stack) > 0:
            node, spelt = stack.pop()
            for longer in range(pieces[spelt].first, pieces[spelt].after):
                target = spell(trie, node, pieces[longer].char)
                if target == LOST:
                    continue
                if pieces[longer].word != NOT_A_WORD:
                    if count == len(found):
                        found = np.concatenate((found, np.empty_like(found)))
                    found[count] = source, np.int64(pieces[longer].word), np.int64(target)
                    count += 1
                stack.append((np.int64(target), np.int64(longer)))
    return found[:count].copy()


@njit(cache=True, nogil=True)
def _hot_tables(hotwords, char_start, chars):
    """Credit and next state of each state (S, V) by piece, of each (S,) by a space; and settled."""
    states, pieces = len(hotwords[5]), len(char_start) - 1
    credit, after = np.zeros((states, pieces)), np.zeros((states, pieces), np.int64)
    space_credit, space_after = np.zeros(states), np.zeros(states, np.int64)
    settled = np.zeros(states)
    for first in range(states):
        for piece in range(pieces):
            state = np.int64(first)
            for at in range(char_start[piece], char_start[piece + 1]):
                score, state = follow(hotwords, state, chars[at])
                credit[first, piece] += score
            after[first, piece] = state
        space_credit[first], space_after[first] = follow(hotwords, first, SPACE)
        # A state's back-off state is numbered below it.
        settled[first] = hotwords[4][first] + settled[hotwords[5][first]]
    return credit, after, space_credit, space_after, settled
