"""The characters of pieces, and a trie of known words over these characters.

Words are spelled in characters rather than in pieces, so that all segmentations of a word into
pieces lead to the same node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.config import TextConfig
from asr.errors import UserError
from asr.jit import allocating, inlined
from asr.text.normalize import normalize
from asr.text.tokenizer import BLANK, WORD_START

SPACE = 0  # the character between words
NOT_A_WORD = -1
LOST = -1  # instead of a node number: no known word begins with the partial word

TRIE_NODE = np.dtype(  # a node of a trie of words by their characters
    [
        ("first", "i4"),  # its children are the nodes first:after, in order of their characters
        ("after", "i4"),
        ("char", "i4"),  # the last character of the node
        ("word", "i4"),  # label of the word that ends here, or NOT_A_WORD
        ("ahead", "f8"),  # the highest score of the words at and below this node
    ],
    align=True,
)


@dataclass(frozen=True)
class Spelling:
    """The text of each of V pieces as ids of characters, without the word-start mark."""

    alphabet: np.ndarray  # (C,) int64 code points, ascending; the id of alphabet[i] is i + 1
    begins: np.ndarray  # (V,) bool, whether the piece has the word-start mark
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
        """Ids (N,) int32 of the characters of `text`; -1 for characters that no piece has."""
        points = code_points(text)
        if not len(self.alphabet):
            return np.full(len(points), -1, np.int32)
        at = np.searchsorted(self.alphabet, points).clip(max=len(self.alphabet) - 1)
        return np.where(self.alphabet[at] == points, at + 1, -1).astype(np.int32)


def code_points(text: str) -> np.ndarray:
    """The Unicode code points of a text, (N,) int64."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64)


def lexicon_words(lexicon: Sequence[str] | str | None, text: TextConfig) -> list[str] | None:
    """The words of `DecoderConfig.lexicon`, sorted, normalized like the texts of a model.

    lexicon: words, the path of a UTF-8 text file of words separated by white space, or None, which
    gives None. Raises `UserError` for a file that cannot be read or has no words.
    """
    if lexicon is None:
        return None
    where = "decoder.lexicon"
    if isinstance(lexicon, str):
        where = lexicon
        try:
            lexicon = Path(lexicon).read_text(encoding="utf-8").split()
        except FileNotFoundError:
            raise UserError(f"{lexicon}: no such file of words (decoder.lexicon)") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{lexicon}: cannot be read as UTF-8 text: {error}") from None
    words = sorted({part for word in lexicon for part in normalize(word, text).split()})
    if not words:
        raise UserError(f"{where}: has no words")
    return words


def spellable(words: Iterable[str], spelling: Spelling) -> list[str]:
    """The distinct words that the pieces can spell; raises `UserError` if there are none."""
    words = sorted({word for word in words if word})
    found = [word for word in words if (spelling.ids(word) > 0).all()]
    if not found:
        example = f", such as {words[0]!r}" if words else ""
        raise UserError(f"lexicon: the model can spell none of its {len(words)} words{example}")
    return found


def spell_words(
    spelling: Spelling, words: Sequence[str], labels: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """The trie of those words that the pieces can spell, (nodes,) TRIE_NODE; node 0 is the root.

    labels: (N,) int32; scores: (N,), at most 0.
    """
    order = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
    lengths = np.array([len(words[i]) for i in order], np.int64)
    ids = spelling.ids("".join(words[i] for i in order))
    trie = np.zeros(len(ids) + 1, TRIE_NODE)
    return trie[: _build(ids, lengths, labels[order], scores[order], trie)].copy()


@allocating
def _build(ids, lengths, labels, scores, trie):
    """Write the trie of sorted words; returns the number of its nodes."""
    parent, char = np.zeros(len(ids) + 1, np.int32), np.zeros(len(ids) + 1, np.int32)
    word = np.full(len(ids) + 1, NOT_A_WORD, np.int32)
    ahead = np.full(len(ids) + 1, -np.inf)
    longest = lengths.max() if len(lengths) else 0
    path = np.zeros(longest + 1, np.int32)  # nodes of the previous word
    spelt, depth, nodes, start = np.zeros(longest, np.int32), 0, 1, 0
    for i in range(len(lengths)):
        one = ids[start : start + lengths[i]]
        start += lengths[i]
        if len(one) == 0 or one.min() <= 0:
            continue
        shared = 0
        while shared < min(depth, len(one)) and spelt[shared] == one[shared]:
            shared += 1
        for at in range(shared, len(one)):
            parent[nodes], char[nodes] = path[at], one[at]
            path[at + 1], spelt[at] = nodes, one[at]
            nodes += 1
        depth = len(one)
        word[path[depth]] = labels[i]
        ahead[path[depth]] = scores[i]

    # Renumber so that the children of a node are adjacent, for binary search.
    after = np.zeros(nodes + 1, np.int64)
    for node in range(nodes - 1, 0, -1):
        ahead[parent[node]] = max(ahead[parent[node]], ahead[node])
        after[parent[node] + 1] += 1
    after = np.cumsum(after) + 1
    number, filled = np.zeros(nodes, np.int64), after.copy()
    for node in range(1, nodes):
        number[node] = filled[parent[node]]
        filled[parent[node]] += 1
    for node in range(nodes):
        place = trie[number[node]]
        place.first, place.after = after[node], after[node + 1]
        place.char, place.word, place.ahead = char[node], word[node], ahead[node]
    return nodes


@inlined
def spell(trie, node, char):
    """The child of a node for a character, or LOST."""
    low, after = trie[node].first, trie[node].after
    high = after
    while low < high:
        middle = (low + high) >> 1
        if trie[middle].char < char:
            low = middle + 1
        else:
            high = middle
    return low if low < after and trie[low].char == char else LOST
