"""The fused score of a prefix: language model, word bonus, hotwords and lexicon.

The fused score depends on the prefix alone; the beam search adds it to the log probability of the
prefix. It includes estimates of scores that are not known yet. For a partial word, the estimate is
lm_weight * max(unknown_score, unigram scores of the words that begin with it), the language-model
look-ahead of Ortmanns and Ney 2000; for a partial hotword, it is a part of the weight. When the
word or phrase ends, the true score replaces the estimate. The score of a finished text is therefore
exact, and poor prefixes leave the beam early.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from asr.decoder.lexicon import LOST, NOT_A_WORD, SPACE, Spelling, spell, spell_words
from asr.jit import compiled, inlined
from asr.lm.automaton import Automaton
from asr.lm.ngram import NGram
from asr.lm.walk import step

PENDING = -1  # close_state of a prefix whose last word has not been closed yet

PREFIX_FUSION = [
    ("fused", "f8"),  # the fused score: the sum of all scores and estimates
    ("ahead", "f8"),  # the part of `fused` that is the estimate for the partial word
    ("closing", "f8"),  # the score added if the last word ends here
    ("close_state", "i4"),  # language-model state after the last word; PENDING until computed
    ("lm_state", "i4"),
    ("spelled", "i4"),  # node of the partial word in the spelling trie, or LOST
    ("hot_state", "i4"),
    ("in_word", "i4"),  # whether there are characters after the last word start
]


class Fusion(NamedTuple):
    """The input of the compiled loops. Its types never vary, so the loops are compiled once."""

    active: bool  # False if nothing below can change a score
    word_lm: bool
    token_lm: bool
    known_words: bool  # whether there is a spelling trie
    closed: bool  # whether only words of the trie are allowed
    hot: bool
    lm_weight: float
    word_bonus: float
    unknown_score: float
    hot_gain: float  # the most that one piece can gain from hotwords
    begins: np.ndarray  # (V,) bool, whether the piece begins a word
    char_start: np.ndarray  # (V + 1,) int64; the text of piece k is chars[char_start[k]:...[k + 1]]
    chars: np.ndarray  # int32, ids of characters
    trie: np.ndarray  # (nodes,) TRIE_NODE, the known words
    token_label: np.ndarray  # (V,) int32, label of each piece for a model on tokens
    lm: tuple[np.ndarray, ...]  # Automaton.arrays
    lm_start: int
    lm_end: int
    hotwords: tuple[np.ndarray, ...]  # Automaton.arrays over characters
    hot_start: int


def build(
    spelling: Spelling,
    pieces: Sequence[str],
    lm: NGram | None,
    lm_weight: float,
    word_bonus: float,
    unknown_score: float,
    hotwords: Automaton | None,
    lexicon: list[str] | None,
) -> Fusion:
    """The `Fusion` of language model, word bonus, hotwords and lexicon; each may be absent."""
    on_words, on_tokens = (lm is not None and lm.unit == unit for unit in ("words", "tokens"))
    words = lexicon if lexicon is not None else lm.words if on_words else []
    labels = np.arange(len(words), dtype=np.int32)
    scores = np.zeros(len(words))
    if on_words:
        if lexicon is not None:
            labels = lm.labels(words)
        unigrams = np.where(labels < 0, np.nan, lm.automaton.arc_score[labels])
        # A partial word may become an unknown word, so no estimate is below `unknown_score`.
        scores = lm_weight * np.fmax(unigrams, unknown_score)
        labels[labels < 0] = lm.automaton.labels
    token_label = lm.labels(pieces) if on_tokens else np.zeros(0, np.int32)
    automaton = lm.automaton if lm is not None else None
    return Fusion(
        active=bool(lm or hotwords or lexicon is not None or word_bonus),
        word_lm=on_words,
        token_lm=on_tokens,
        known_words=on_words or lexicon is not None,
        closed=lexicon is not None,
        hot=hotwords is not None,
        lm_weight=float(lm_weight),
        word_bonus=float(word_bonus),
        unknown_score=float(unknown_score),
        hot_gain=_most_gain(hotwords, spelling),
        begins=spelling.begins,
        char_start=spelling.char_start,
        chars=spelling.chars,
        trie=spell_words(spelling, words, labels, scores),
        token_label=token_label,
        lm=_frozen(automaton),
        lm_start=automaton.start if automaton else 0,
        lm_end=automaton.end_label if automaton else 0,
        hotwords=_frozen(hotwords),
        hot_start=hotwords.start if hotwords else 0,
    )


def _frozen(automaton: Automaton | None) -> tuple[np.ndarray, ...]:
    """Read-only views, as numba compiles read-only and writable arrays separately."""
    if automaton is None:
        empty = [np.int64, np.int32, np.float32, np.int32, np.float32, np.int32]
        arrays = [np.zeros(2 if dtype is np.int64 else 0, dtype) for dtype in empty]
    else:
        arrays = [np.require(array, requirements="CA").view() for array in automaton.arrays]
        arrays = [np.asarray(array) for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    return tuple(arrays)


def _most_gain(hotwords: Automaton | None, spelling: Spelling) -> float:
    if hotwords is None:
        return 0.0
    longest = int(np.diff(spelling.char_start).max()) + 1  # characters, plus the space before them
    return longest * max(0.0, float(hotwords.arc_score.max()))


@inlined
def follow(arrays, state, label):
    """Score of `label` in `state` of an automaton, and the state after it."""
    return step(arrays[0], arrays[1], arrays[2], arrays[3], arrays[4], arrays[5], state, label)


@compiled
def begin(fusion, prefix):
    """Write the fused score of the empty prefix."""
    prefix.fused, prefix.ahead, prefix.closing = 0.0, 0.0, 0.0
    prefix.close_state, prefix.lm_state = PENDING, fusion.lm_start
    prefix.spelled, prefix.hot_state, prefix.in_word = 0, fusion.hot_start, 0


@inlined
def close(fusion, prefix):
    """The score of ending the last word of `prefix`; -inf if it is not in the lexicon.

    It is computed once for each prefix.
    """
    if prefix.close_state == PENDING:
        label = NOT_A_WORD if prefix.spelled == LOST else fusion.trie[prefix.spelled].word
        score, state = fusion.word_bonus, 0
        if fusion.closed and label == NOT_A_WORD:
            score = -math.inf
        elif fusion.word_lm:
            log_prob, state = follow(fusion.lm, prefix.lm_state, label)
            # The context after an unknown word is empty.
            score += fusion.lm_weight * (fusion.unknown_score if math.isnan(log_prob) else log_prob)
        prefix.closing, prefix.close_state = score, state
    return prefix.closing


@inlined
def most_gain(fusion, prefix):
    """An upper bound of the score that a piece that begins a word can add to `prefix`.

    Other pieces add at most `hot_gain`, because extending a partial word never raises its estimate.
    The bound does not query the language model, which would take most of the time.
    """
    if not prefix.in_word:
        return fusion.hot_gain
    closing = fusion.word_bonus if prefix.close_state == PENDING else prefix.closing
    return fusion.hot_gain + closing - prefix.ahead


@inlined
def extend(fusion, prefix, token):
    """The fused fields of `prefix` + `token`: fused, ahead, lm_state, spelled, hot_state, in_word.

    fused is -inf if no lexicon word begins with the partial word.
    """
    fused, ahead, lm_state = prefix.fused, prefix.ahead, prefix.lm_state
    spelled, hot_state, in_word = prefix.spelled, prefix.hot_state, prefix.in_word
    if fusion.begins[token] and in_word:
        fused += close(fusion, prefix) - ahead
        if fusion.word_lm:
            lm_state = prefix.close_state
        if fusion.hot:
            credit, hot_state = follow(fusion.hotwords, hot_state, SPACE)
            fused += credit
        ahead, spelled, in_word = 0.0, 0, 0
    for at in range(fusion.char_start[token], fusion.char_start[token + 1]):
        char = fusion.chars[at]
        in_word = 1
        if fusion.known_words and spelled != LOST:
            spelled = spell(fusion.trie, spelled, char)
        if fusion.hot:
            credit, hot_state = follow(fusion.hotwords, hot_state, char)
            fused += credit
    if fusion.known_words and in_word:
        before = ahead
        if spelled != LOST:
            ahead = fusion.trie[spelled].ahead
        else:
            ahead = -math.inf if fusion.closed else fusion.lm_weight * fusion.unknown_score
        fused += ahead - before
    if fusion.token_lm:
        log_prob, lm_state = follow(fusion.lm, lm_state, fusion.token_label[token])
        fused += fusion.lm_weight * (fusion.unknown_score if math.isnan(log_prob) else log_prob)
    return fused, ahead, np.int64(lm_state), np.int64(spelled), np.int64(hot_state), in_word


@compiled
def finish(fusion, prefix):
    """The fused score of `prefix` as a whole text, without estimates.

    It is -inf if the last word is not in the lexicon.
    """
    if not fusion.active:
        return 0.0
    fused, lm_state, hot_state = prefix.fused, prefix.lm_state, prefix.hot_state
    if prefix.in_word:
        fused += close(fusion, prefix) - prefix.ahead
        if fusion.word_lm:
            lm_state = prefix.close_state
        if fusion.hot:
            credit, hot_state = follow(fusion.hotwords, hot_state, SPACE)
            fused += credit
    if fusion.word_lm or fusion.token_lm:
        log_prob, _ = follow(fusion.lm, lm_state, fusion.lm_end)
        fused += fusion.lm_weight * (fusion.unknown_score if math.isnan(log_prob) else log_prob)
    while hot_state != 0:
        fused += fusion.hotwords[4][hot_state]
        hot_state = fusion.hotwords[5][hot_state]
    return fused
