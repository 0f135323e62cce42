"""n-gram estimation: interpolated modified Kneser-Ney smoothing, vectorized.

Chen & Goodman, An Empirical Study of Smoothing Techniques for Language Modeling (1998), with the
conventions of Heafield et al., Scalable Modified Kneser-Ney Language Model Estimation (2013), so
that a model equals that of KenLM's lmplz on the same text.
"""

from __future__ import annotations

import logging
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import UserError
from asr.lm.automaton import NGrams

UNKNOWN, START, END = MARKS = ("<unk>", "<s>", "</s>")  # labels 0, 1 and 2 of an estimated model
UNKNOWN_LABEL, START_LABEL, END_LABEL = range(3)
MAX_ORDER = 6
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # for counts 1, 2 and 3+, as lmplz --discount_fallback

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counts:
    """The N distinct n-grams of one order in a text, sorted by their words."""

    words: np.ndarray  # (N, order) int32
    context: np.ndarray  # (N,) int64, row of all words but the last in the order below
    suffix: np.ndarray  # (N,) int64, row of all words but the first in the order below
    count: np.ndarray  # (N,) int64, occurrences


def encode_sentences(
    sentences: Iterable[Sequence[str]], max_words: int | None = None, words: Sequence[str] = ()
) -> tuple[list[str], np.ndarray]:
    """The vocabulary of a text, and the text as labels with `<s>` and `</s>` around each sentence.

    The vocabulary is `MARKS`, then words by descending count, at most `max_words`; the others
    become `<unk>`. `words` are in the vocabulary even if the text lacks them. Sentences without
    words are skipped. Returns the vocabulary and (N,) int32 labels; raises `UserError` if there is
    no sentence, or a sentence has one of the marks.
    """
    labels: defaultdict[str, int] = defaultdict(None, {mark: i for i, mark in enumerate(MARKS)})
    labels.default_factory = labels.__len__
    for word in words:
        labels[word]
    text, marks = array("i"), set(MARKS)
    for sentence in sentences:
        if not sentence:
            continue
        if not marks.isdisjoint(sentence):
            mark = next(word for word in sentence if word in MARKS)
            raise UserError(f"the text has the word {mark!r}, which is reserved; remove it")
        text.append(START_LABEL)
        text.extend([labels[word] for word in sentence])
        text.append(END_LABEL)
    if not text:
        raise UserError("cannot estimate a language model: the text has no words")
    seen = list(labels)
    ids = np.frombuffer(text, np.int32)
    counts = np.bincount(ids, minlength=len(seen))
    ranked = sorted(range(len(MARKS), len(seen)), key=lambda label: (-counts[label], seen[label]))
    kept = [*range(len(MARKS)), *ranked[:max_words]]
    relabel = np.full(len(seen), UNKNOWN_LABEL, np.int32)
    relabel[kept] = np.arange(len(kept))
    return [seen[label] for label in kept], relabel[ids]


def count_ngrams(ids: np.ndarray, labels: int, order: int) -> list[Counts]:
    """Count the n-grams of order 1 to `order` that lie within sentences.

    ids: (N,) labels as `encode_sentences` returns them; labels: V. Fewer orders are returned if no
    sentence is long enough. The key of an n-gram is row of its context * V + its last word, so
    that one sort of integers counts an order.
    """
    position = np.arange(len(ids))
    opening = np.maximum.accumulate(np.where(ids == START_LABEL, position, 0))
    room = position - opening + 1  # (N,) words from <s> to here
    everything = np.arange(labels)
    tables = [
        Counts(
            everything[:, None].astype(np.int32),
            np.zeros(labels, np.int64),
            np.zeros(labels, np.int64),
            np.bincount(ids, minlength=labels),
        )
    ]
    row_at = ids.astype(np.int64)  # (N,) row of the n-gram that ends at each position
    for length in range(2, order + 1):
        ends = np.flatnonzero(room >= length)
        if len(ends) == 0:
            break
        keys, row, count = np.unique(
            row_at[ends - 1] * labels + ids[ends], return_inverse=True, return_counts=True
        )
        context = keys // labels
        suffix = np.empty(len(keys), np.int64)
        suffix[row] = row_at[ends]
        words = np.empty((len(keys), length), np.int32)
        words[:, :-1] = tables[-1].words[context]
        words[:, -1] = keys - context * labels
        tables.append(Counts(words, context, suffix, count))
        row_at[ends] = row
    return tables


def discounts_of(counts: np.ndarray) -> np.ndarray | None:
    """The modified Kneser-Ney discounts of the counts 0, 1, 2 and 3 or more, (4,) float64.

    Chen & Goodman 1998, equation 26. counts: (N,) adjusted counts of one order. Returns None if no
    n-gram has count 1, 2 or 3, or if a discount D_k lies outside [0, k].
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6)
    if not n[1:4].all():
        return None
    y = n[1] / (n[1] + 2 * n[2])
    size = np.arange(1, 4)
    discounts = size - (size + 1) * y * n[2:5] / n[1:4]
    if (discounts < 0).any() or (discounts > size).any():
        return None
    return np.concatenate([[0.0], discounts])


def estimate(ids: np.ndarray, labels: int, order: int, prune: Sequence[int] = (0,)) -> list[NGrams]:
    """Interpolated modified Kneser-Ney model of a text.

    ids: (N,) labels as `encode_sentences` returns them; labels: V. prune: n-grams of order i that
    occur at most `prune[i - 1]` times are left out of the model; the last value applies to all
    higher orders, and the first must be 0 because unigrams are always kept. If an order has too few
    n-grams to estimate its discounts, `FALLBACK_DISCOUNTS` are used and a warning is logged. Raises
    `UserError` if `order` or `prune` is invalid.
    """
    if not 1 <= order <= MAX_ORDER:
        raise UserError(f"n-gram order {order}: give one from 1 to {MAX_ORDER}")
    if not prune or prune[0] != 0 or sorted(prune) != list(prune):
        raise UserError(
            f"pruning {' '.join(map(str, prune))!r}: give rising counts from 0, such as 0 0 1"
        )
    tables = count_ngrams(ids, labels, order)
    if len(tables) < order:
        log.warning("no sentence is long enough for order %d; using order %d", order, len(tables))
    scores, backoffs, keeps = [], [], []
    # Unigrams back off to a uniform distribution over all labels but <s>, which is not predicted.
    probability = np.full(1, 1 / (labels - 1))
    for length, table in enumerate(tables, 1):
        counts = _adjusted(table, tables[length] if length < len(tables) else None)
        discounts = discounts_of(counts)
        if discounts is None:
            discounts = np.array([0.0, *FALLBACK_DISCOUNTS])
            assumed = ", ".join(map(str, FALLBACK_DISCOUNTS))
            log.warning("too few %d-grams to estimate discounts; using %s", length, assumed)
        discount = discounts[np.minimum(counts, 3)]
        threshold = prune[min(length, len(prune)) - 1]
        keeps.append(table.count > threshold if threshold else np.ones(len(counts), bool))
        # The probability mass for shorter contexts: the discounts and all pruned n-grams.
        contexts = len(probability)
        total = np.bincount(table.context, counts, contexts)
        left = np.bincount(table.context, np.where(keeps[-1], discount, counts), contexts)
        backoff = np.divide(left, total, out=np.ones(contexts), where=total > 0)
        probability = (counts - discount) / total[table.context] + (
            backoff[table.context] * probability[table.suffix]
        )
        scores.append(np.log(probability).astype(np.float32))
        backoffs.append(np.log(backoff).astype(np.float32))
    scores[0][START_LABEL] = 0  # the value that lmplz writes; it is never used
    backoffs.append(np.zeros(len(scores[-1]), np.float32))
    return [
        NGrams(table.words[kept], score[kept], backoff[kept])
        for table, score, backoff, kept in zip(tables, scores, backoffs[1:], keeps, strict=True)
    ]


def _adjusted(table: Counts, higher: Counts | None) -> np.ndarray:
    """The adjusted counts of Kneser-Ney smoothing.

    In the highest order (`higher` is None) they are the numbers of occurrences, in all others the
    numbers of distinct words that precede an n-gram. No word precedes `<s>`, so n-grams that begin
    with `<s>` keep their occurrences; `<s>` itself has count 0, because it is never predicted.
    """
    if higher is None:
        counts = table.count.copy()
    else:
        counts = np.bincount(higher.suffix, minlength=len(table.count))
        opening = table.words[:, 0] == START_LABEL
        counts[opening] = table.count[opening]
    if table.words.shape[1] == 1:
        counts[START_LABEL] = 0
    return counts
