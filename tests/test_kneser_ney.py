"""Estimation: interpolated modified Kneser-Ney, compared with a plain implementation."""

import gzip
import logging
import math
import os
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import UserError
from asr.lm.kneser_ney import (
    END,
    FALLBACK_DISCOUNTS,
    MARKS,
    START,
    UNKNOWN,
    discounts_of,
    encode_sentences,
    estimate,
)
from asr.lm.ngram import NGram

SEASON = """the sun rises over the quiet sea and the boats go out
the boats go out when the wind is fair
when the sun is high the wind falls and the sea is quiet
the wind is fair and the sea is fair
over the sea the sun falls and the boats come home
come home said the sea come home said the wind
the quiet boats come home over the quiet sea"""

texts = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=7), min_size=1, max_size=12)
prunings = st.sampled_from([(0,), (0, 0, 1), (0, 1), (0, 1, 2, 3)])


class Reference:
    """The formulas of Chen & Goodman 1998, section 3, with counts in dictionaries."""

    def __init__(self, sentences, order, prune):
        self.order = order
        self.prune = [prune[min(i, len(prune) - 1)] for i in range(order)]
        padded = [[START, *sentence, END] for sentence in sentences]
        self.raw = Counter(
            tuple(sentence[i : i + n])
            for sentence in padded
            for n in range(1, order + 1)
            for i in range(len(sentence) - n + 1)
        )
        longest = max(map(len, self.raw))
        self.adjusted = {}
        for ngram, count in self.raw.items():
            left = {longer[0] for longer in self.raw if longer[1:] == ngram}
            occurrences = len(ngram) == longest or ngram[0] == START
            self.adjusted[ngram] = count if occurrences else len(left)
        self.adjusted[START,] = 0
        self.vocabulary = {*(ngram[-1] for ngram in self.raw), UNKNOWN} - {START}
        self.probability = cache(self.by_definition)
        self.discounts = {n: self.discounts_of(n) for n in range(1, longest + 1)}

    def discounts_of(self, n):
        have = Counter(count for ngram, count in self.adjusted.items() if len(ngram) == n)
        if have[1] and have[2] and have[3]:
            y = have[1] / (have[1] + 2 * have[2])
            found = [i - (i + 1) * y * have[i + 1] / have[i] for i in (1, 2, 3)]
            if all(0 <= discount <= i for i, discount in enumerate(found, 1)):
                return [0, *found]
        return [0, *FALLBACK_DISCOUNTS]

    def kept(self, ngram):
        return len(ngram) == 1 or self.raw[ngram] > self.prune[len(ngram) - 1]

    def by_definition(self, context, word):
        seen = [c for c in self.adjusted if c[:-1] == context and self.adjusted[c]]
        lower = self.probability(context[1:], word) if context else 1 / len(self.vocabulary)
        if not seen:
            return lower
        total = sum(self.adjusted[c] for c in seen)
        discount = {c: self.discounts[len(c)][min(self.adjusted[c], 3)] for c in seen}
        left = sum(discount[c] if self.kept(c) else self.adjusted[c] for c in seen)
        probability = left / total * lower
        ngram = (*context, word)
        if ngram in discount and self.kept(ngram):
            probability += (self.adjusted[ngram] - discount[ngram]) / total
        return probability


@settings(derandomize=True, deadline=None, max_examples=60)
@given(texts, st.integers(1, 4), prunings)
def test_every_probability_is_that_of_the_definition(sentences, order, prune):
    reference = Reference(sentences, order, prune)
    model = NGram.estimate(map(" ".join, sentences), order, prune)
    assert model.order == min(order, max(map(len, reference.raw)))
    check(model, reference, sentences)


def test_a_text_that_needs_no_fallback(caplog):
    sentences = [line.split() for line in SEASON.splitlines()] * 2 + [["the", "sea"], ["home"]]
    model = NGram.estimate(map(" ".join, sentences), 2)
    assert not caplog.records
    check(model, Reference(sentences, 2, (0,)), sentences)


def check(model: NGram, reference: Reference, sentences) -> None:
    find = {word: label for label, word in enumerate(model.words)}
    for sentence in {tuple(sentence) for sentence in sentences}:
        state, history = model.automaton.start, (START,)
        for next_word in (*sentence, END):
            context = history[max(0, len(history) - model.order + 1) :]
            if model.order == 1:
                context = ()
            total = 0.0
            for word in reference.vocabulary:
                score, _ = model.automaton.step(state, find[word])
                expected = reference.probability(context, word)
                assert score == pytest.approx(math.log(expected), abs=2e-6)
                total += math.exp(score)
            assert total == pytest.approx(1, abs=1e-5)
            _, state = model.automaton.step(state, find[next_word])
            history = (*history, next_word)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(texts, st.integers(1, 6), prunings, st.integers(0, 4))
def test_probabilities_sum_to_one_in_every_state(sentences, order, prune, max_words):
    model = NGram.estimate(map(" ".join, sentences), order, prune, max_words)
    automaton = model.automaton
    for state in range(len(automaton.backoff_state)):
        scores = [
            automaton.step(state, label)[0]
            for label, word in enumerate(model.words)
            if word != START
        ]
        assert np.exp(scores).sum() == pytest.approx(1, abs=1e-5)


def test_pruning_leaves_out_what_is_rare_and_keeps_every_unigram():
    words, ids = encode_sentences(line.split() for line in SEASON.splitlines())
    full, pruned = estimate(ids, len(words), 3), estimate(ids, len(words), 3, (0, 0, 1))
    assert len(full[0].words) == len(pruned[0].words) == len(words)
    assert len(full[1].words) == len(pruned[1].words)
    listed = {tuple(words[label] for label in row) for row in pruned[2].words.tolist()}
    text = f"{START} " + f" {END} {START} ".join(SEASON.splitlines()) + f" {END}"
    assert listed and all(text.count(" ".join(ngram)) > 1 for ngram in listed)


def test_the_vocabulary_is_the_most_frequent_words():
    sentences = [line.split() for line in SEASON.splitlines()]
    words, ids = encode_sentences(sentences, max_words=3)
    counts = Counter(word for sentence in sentences for word in sentence)
    assert words == [*MARKS, *sorted(counts, key=lambda word: (-counts[word], word))[:3]]
    assert (ids == 0).sum() == sum(word not in words for sentence in sentences for word in sentence)


def test_unseen_words_share_the_remaining_probability():
    words, ids = encode_sentences([["a", "b"], ["a"]], words=["z", "a", "b"])
    unigrams = estimate(ids, len(words), 1)[0]
    assert words == [*MARKS, "a", "b", "z"]
    assert unigrams.score[5] == unigrams.score[0]


def test_discounts_of_chen_and_goodman():
    counts = np.repeat([1, 2, 3, 4], [40, 20, 10, 5])
    y = 40 / (40 + 2 * 20)
    expected = [0, 1 - 2 * y * 20 / 40, 2 - 3 * y * 10 / 20, 3 - 4 * y * 5 / 10]
    np.testing.assert_allclose(discounts_of(counts), expected)
    assert discounts_of(np.array([1, 1, 2])) is None  # no count of 3
    assert discounts_of(np.repeat([1, 2, 3, 4], [5, 1, 9, 40])) is None  # out of range


def test_too_small_texts_give_warnings(caplog):
    with caplog.at_level(logging.WARNING):
        NGram.estimate(["a b"], 2)
        assert "too few 2-grams to estimate discounts; using 0.5, 1.0, 1.5" in caplog.text
        assert NGram.estimate(["a"], 6).order == 3
        assert "no sentence is long enough for order 6; using order 3" in caplog.text


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"order": 0}, "order 0: give one from 1 to 6"),
        ({"order": 7}, "order 7: give one from 1 to 6"),
        ({"prune": (1,)}, "pruning '1': give rising counts from 0"),
        ({"prune": (0, 2, 1)}, "pruning '0 2 1'"),
        ({"prune": ()}, "pruning ''"),
        ({"lines": ["", " "]}, "the text has no words"),
        ({"lines": ["a </s> b"]}, "has the word '</s>'"),
    ],
)
def test_mistakes_are_named(options, problem):
    with pytest.raises(UserError, match=problem):
        NGram.estimate(**{"lines": ["a b"], **options})


@pytest.mark.slow
@pytest.mark.skipif("LMPLZ" not in os.environ, reason="LMPLZ names no lmplz program")
@pytest.mark.parametrize("options", [(3, (0,)), (4, (0, 0, 1)), (2, (0, 2)), (1, (0,))])
def test_a_model_equals_that_of_lmplz(options, tmp_path):
    """Set LMPLZ to KenLM's estimator and ASR_TEXT to a text file (plain or gzip)."""
    order, prune = options
    source = Path(os.environ["ASR_TEXT"])
    opened = gzip.open if source.suffix == ".gz" else open
    with opened(source, "rt", encoding="utf-8") as file:
        lines = [line.lower() for line in file][:50_000]
    command = [os.environ["LMPLZ"], "-o", str(order), "-S", "1G"]
    command += ["--prune", *map(str, prune)] if any(prune) else []
    (tmp_path / "text").write_text("".join(lines), encoding="utf-8")
    with open(tmp_path / "text") as stdin, open(tmp_path / "lmplz.arpa", "w") as stdout:
        subprocess.run(command, stdin=stdin, stdout=stdout, check=True)
    theirs, ours = NGram.load(tmp_path / "lmplz.arpa"), NGram.estimate(lines, order, prune)
    assert sorted(theirs.words) == sorted(ours.words)
    assert len(theirs.automaton.arc_label) == len(ours.automaton.arc_label)
    for line in lines[::500]:
        assert ours.score(line) == pytest.approx(theirs.score(line), abs=1e-4)
