"""Spelling: pieces as characters, and a trie of words by their characters.

Words are spelt in characters rather than in pieces, so that any way of cutting a word into pieces
leads to the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from asr.errors import UserError
from asr.tokenizer import BLANK, WORD_START

SPACE = 0  # the character between words
NOT_A_WORD = -1


@dataclass(frozen=True)
class Spelling:
    """The text of each of V pieces as ids of characters, without the word-start mark."""

    alphabet: np.ndarray  # (C,) int64 code points, ascending; the id of alphabet[i] is i + 1
    begins: np.ndarray  # (V,) bool, the piece has the word-start mark
    char_start: np.ndarray  # (V + 1,) int64; piece k is chars[char_start[k]:char_start[k + 1]]
    chars: np.ndarray  # int32 ids

    @classmethod
    def of(cls, pieces: Sequence[str]) -> Spelling:
        texts = [piece.removeprefix(WORD_START) for piece in pieces]
        texts[BLANK] = ""
        alphabet = np.unique(code_points("".join(texts)))
        ids = np.searchsorted(alphabet, code_points("".join(texts))) + 1
        return cls(
            alphabet=alphabet,
            begins=np.array([piece.startswith(WORD_START) for piece in pieces]),
            char_start=np.cumsum([0, *map(len, texts)], dtype=np.int64),
            chars=ids.astype(np.int32),
        )

    def ids(self, text: str) -> np.ndarray:
        """Ids (N,) int32 of the characters of `text`, -1 for one that no piece has."""
        points = code_points(text)
        if not len(self.alphabet):
            return np.full(len(points), -1, np.int32)
        at = np.searchsorted(self.alphabet, points).clip(max=len(self.alphabet) - 1)
        return np.where(self.alphabet[at] == points, at + 1, -1).astype(np.int32)


def code_points(text: str) -> np.ndarray:
    """(N,) int64."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64)


def read_lexicon(words: Sequence[str], spelling: Spelling) -> list[str]:
    """The words, each once, that the pieces can spell; `UserError` where there is none."""
    words = sorted({word for word in words if word})
    able = [word for word in words if (spelling.ids(word) > 0).all()]
    if not able:
        example = f", such as {words[0]!r}" if words else ""
        raise UserError(f"lexicon: the model can spell none of its {len(words)} words{example}")
    return able


@dataclass(frozen=True)
class Trie:
    """Words by spelling. Node 0 is the empty beginning; a node's number is above its parent's."""

    arc_start: np.ndarray  # (nodes + 1,) int64; arcs of node n are arc_start[n]:arc_start[n + 1]
    arc_char: np.ndarray  # (nodes - 1,) int32, ascending within a node
    arc_next: np.ndarray  # (nodes - 1,) int32
    word: np.ndarray  # (nodes,) int32, label of the word that ends here, or NOT_A_WORD
    ahead: np.ndarray  # (nodes,) float64, best score among the words that go through here


def spell_words(
    spelling: Spelling, words: Sequence[str], labels: np.ndarray, scores: np.ndarray
) -> Trie:
    """The trie of those words that the pieces can spell.

    labels: (N,) int32; scores: (N,), at most 0.
    """
    order = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
    lengths = np.array([len(words[i]) for i in order], np.int64)
    ids = spelling.ids("".join(words[i] for i in order))
    return Trie(*_build(ids, lengths, labels[order], scores[order]))


@numba.njit(cache=True, nogil=True)
def _build(ids, lengths, labels, scores):
    parent, char = np.zeros(len(ids) + 1, np.int32), np.zeros(len(ids) + 1, np.int32)
    word = np.full(len(ids) + 1, NOT_A_WORD, np.int32)
    ahead = np.full(len(ids) + 1, -np.inf)
    longest = lengths.max() if len(lengths) else 0
    path = np.zeros(longest + 1, np.int32)  # nodes of the word before
    spelt, depth, nodes, start = np.zeros(longest, np.int32), 0, 1, 0
    for i in range(len(lengths)):
        one = ids[start : start + lengths[i]]
        start += lengths[i]
        if len(one) == 0 or one.min() <= 0:
            continue
        shared = 0  # characters in common with the word before: words come sorted
        while shared < min(depth, len(one)) and spelt[shared] == one[shared]:
            shared += 1
        for at in range(shared, len(one)):
            parent[nodes], char[nodes] = path[at], one[at]
            path[at + 1], spelt[at] = nodes, one[at]
            nodes += 1
        depth = len(one)
        word[path[depth]] = labels[i]
        ahead[path[depth]] = scores[i]

    arc_start = np.zeros(nodes + 1, np.int64)
    for node in range(nodes - 1, 0, -1):
        ahead[parent[node]] = max(ahead[parent[node]], ahead[node])
        arc_start[parent[node] + 1] += 1
    arc_start = np.cumsum(arc_start)
    arc_char, arc_next = np.empty(nodes - 1, np.int32), np.empty(nodes - 1, np.int32)
    filled = arc_start.copy()
    for node in range(1, nodes):
        at = filled[parent[node]]
        arc_char[at], arc_next[at] = char[node], node
        filled[parent[node]] += 1
    return arc_start, arc_char, arc_next, word[:nodes].copy(), ahead[:nodes].copy()
