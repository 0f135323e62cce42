"""Hotwords and spelling: automata are compared with counting in the text; effects on decoding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoder.beam import BeamDecoder
from asr.decoder.hotwords import build_hotwords
from asr.decoder.lexicon import LOST, NOT_A_WORD, SPACE, Spelling, spell, spell_words
from asr.decoder.reference import Rules, hotword_score
from asr.lm.automaton import step_reference

PIECES = ["<blank>", "▁", "a", "b", "▁ab"]
SPELLING = Spelling.of(PIECES)
words = st.text("ab", min_size=1, max_size=3)
phrases = st.lists(words, min_size=1, max_size=3).map(" ".join)


def walk(automaton, text):
    """The score of `text`, without the space before it and without unfinished advances."""
    total, state = 0.0, automaton.start
    for char in text[1:]:
        label = SPACE if char == " " else int(SPELLING.ids(char)[0])
        score, state = step_reference(automaton, state, label)
        total += score
    back = 0.0
    while state:
        back += float(automaton.backoff_score[state])
        state = int(automaton.backoff_state[state])
    return total, total + back


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.dictionaries(phrases, st.floats(-5, 5), max_size=6), st.lists(words, max_size=8), words)
def test_automaton_counts_whole_phrases(hotwords, ended, partial):
    automaton = build_hotwords(hotwords, SPELLING)
    if automaton is None:
        assert not any(hotwords.values())
        return
    automaton.check("hotwords")
    rules = Rules(PIECES, hotwords=hotwords)
    for text in (" ".join(["", *ended, partial]), " ".join(["", *ended, ""])):
        with_advance, settled = walk(automaton, text)
        assert with_advance == pytest.approx(hotword_score(rules, text, True), abs=1e-4)
        assert settled == pytest.approx(hotword_score(rules, text, False), abs=1e-4)


def test_advances_cancel_exactly():
    automaton = build_hotwords({"ab ba ab": 0.1, "b": 0.7}, SPELLING)
    for length in range(6):
        for chars in itertools.product("ab ", repeat=length):
            text = " " + "".join(chars)
            if "  " not in text and " b " not in text + " " and " ab ba ab " not in text:
                assert walk(automaton, text)[1] == 0.0


def test_spaces_of_a_phrase_do_not_matter():
    log_probs = np.log(np.full((5, 5), 0.2, np.float32))
    one, other = (
        BeamDecoder(PIECES, hotwords={phrase: 3.0}).decode(log_probs, 0.04)
        for phrase in ("ab  ba", " ab ba ")
    )
    assert one == other


@pytest.mark.parametrize("tokens", [[1, 2, 3], [4], [2, 3]])
def test_a_hotword_wins_in_any_segmentation(tokens):
    rival = [2, 2]  # "aa", a little likelier
    log_probs = np.full((4, 5), -20.0, np.float32)
    for t in range(4):
        log_probs[t, 0] = -0.1 if t >= max(len(tokens), 2 * len(rival) - 1) else -4.0
    for t, token in enumerate(tokens):
        log_probs[t, token] = -1.0
    plain = BeamDecoder(PIECES, n_best=20, token_min_logp=-30).decode(log_probs, 0.04)
    spoken = "ab"
    before = next(h.score for h in plain if h.text == spoken)
    helped = BeamDecoder(PIECES, n_best=20, token_min_logp=-30, hotwords={spoken: 2.5})
    after = next(h.score for h in helped.decode(log_probs, 0.04) if h.text == spoken)
    assert after - before == pytest.approx(2.5, abs=1e-6)


def test_spelling():
    assert SPELLING.begins.tolist() == [False, True, False, False, True]
    texts = [
        SPELLING.chars[SPELLING.char_start[k] : SPELLING.char_start[k + 1]].tolist()
        for k in range(len(PIECES))
    ]
    assert texts == [[], [], [1], [2], [1, 2]]
    assert SPELLING.ids("abxa").tolist() == [1, 2, -1, 1]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.sets(st.text("abx", max_size=4), max_size=12), st.text("ab", max_size=5))
def test_the_trie_finds_what_a_list_finds(known, word):
    known = sorted(known)
    scores = -np.arange(1.0, len(known) + 1)
    trie = spell_words(SPELLING, known, np.arange(len(known), dtype=np.int32), scores)
    place = 0
    for char in word:
        place = spell(trie, place, int(SPELLING.ids(char)[0])) if place != LOST else LOST
    able = [w for w in known if w and "x" not in w]
    below = [scores[known.index(w)] for w in able if w.startswith(word)]
    assert (place != LOST) == bool(below or not word)
    if below:
        assert trie[place]["ahead"] == max(below)
        assert trie[place]["word"] == (known.index(word) if word in able else NOT_A_WORD)
