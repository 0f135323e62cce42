"""Prefix beam search in plain Python: the definition with which tests compare the compiled search.

It is slow and simple. It defines the score of a prefix (`fused`), the tokens that a frame may emit
(`kept_tokens`), the sums over paths (`search`), and the result (`decode_reference`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from asr.decoder.hotwords import credit_of
from asr.lm.automaton import step_reference
from asr.lm.ngram import NGram
from asr.text.tokenizer import BLANK, WORD_START, decode

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Rules:
    """The arguments of `BeamDecoder`."""

    pieces: Sequence[str]
    beam: int = 50
    token_min_logp: float = -7.0
    tokens_per_frame: int = 40
    beam_margin: float = 15.0
    lm: NGram | None = None
    lm_weight: float = 0.5
    word_bonus: float = 0.0
    unknown_score: float = -15.0
    hotwords: Mapping[str, float] = field(default_factory=dict)
    lexicon: frozenset[str] | None = None


@dataclass(frozen=True)
class Path:
    """A single path through the frames: its log-prob, and (start, end, peak) of each token."""

    log_prob: float = -math.inf
    spans: tuple[tuple[int, int, float], ...] = ()

    def blank(self, value: float) -> Path:
        return Path(self.log_prob + value, self.spans)

    def repeat(self, value: float, frame: int) -> Path:
        if self.log_prob == -math.inf:
            return self
        start, _, peak = self.spans[-1]
        return Path(self.log_prob + value, (*self.spans[:-1], (start, frame + 1, max(peak, value))))

    def token(self, value: float, frame: int) -> Path:
        return Path(self.log_prob + value, (*self.spans, (frame, frame + 1, value)))


@dataclass(frozen=True)
class Entry:
    """The paths to a prefix, separately for those that end in a blank and those that do not.

    p_blank, p_token: ln of the sum of their probabilities; best_blank, best_token: the likeliest.
    """

    p_blank: float = -math.inf
    p_token: float = -math.inf
    best_blank: Path = Path()
    best_token: Path = Path()

    @property
    def total(self) -> float:
        return float(np.logaddexp(self.p_blank, self.p_token))

    @property
    def best(self) -> Path:
        return best_of(self.best_blank, self.best_token)


def best_of(first: Path, second: Path) -> Path:
    """The likelier path; the first one if both are equally likely."""
    return second if second.log_prob > first.log_prob else first


def kept_tokens(rules: Rules, row: np.ndarray) -> list[int]:
    """The tokens that are tried in a frame (V,); all other tokens get the probability 0.

    These are the likeliest `tokens_per_frame` tokens with a log-prob of at least `token_min_logp`.
    The blank, which is not in the list, and the likeliest token are always tried.
    """
    tried = [k for k in range(1, len(row)) if row[k] >= rules.token_min_logp]
    if not tried and row.argmax() != BLANK and row[BLANK] < rules.token_min_logp:
        tried = [int(row.argmax())]
    return sorted(tried, key=lambda k: -row[k])[: rules.tokens_per_frame]


def words_in(rules: Rules, tokens: Tokens) -> tuple[list[str], str]:
    """The words that have ended, and the text after the last word start.

    A word ends where the next one starts. Two word starts in a row enclose no word.
    """
    text = "".join(rules.pieces[token] for token in tokens)
    *ended, last = text.split(WORD_START)
    return [word for word in ended if word], last


def lm_score(rules: Rules, words: Sequence[str]) -> float:
    """lm_weight * ln P of words (or tokens) from the start of an utterance; "" is its end."""
    automaton, total = rules.lm.automaton, 0.0
    state = automaton.start
    for word in words:
        label = automaton.end_label if word == "" else int(rules.lm.labels([word])[0])
        score, state = step_reference(automaton, state, label)
        if math.isnan(score):  # an unknown word has a fixed score, and empties the context
            score, state = rules.unknown_score, 0
        total += rules.lm_weight * score
    return total


def look_ahead(rules: Rules, partial: str) -> float:
    """The estimate for a partial word: lm_weight * max(unknown_score, scores of its completions).

    The scores are unigram scores. The estimate is -inf if the lexicon has no completion.
    """
    if rules.lexicon is not None and not any(word.startswith(partial) for word in rules.lexicon):
        return -math.inf
    if rules.lm is None or rules.lm.unit != "words":
        return 0.0
    best = rules.unknown_score
    for label, word in enumerate(rules.lm.words):
        if word.startswith(partial) and (rules.lexicon is None or word in rules.lexicon):
            best = max(best, np.nan_to_num(rules.lm.automaton.arc_score[label], nan=-np.inf))
    return rules.lm_weight * float(best)


def hotword_score(rules: Rules, text: str, advance: bool) -> float:
    """The sum of the weights of all phrases in `text`, which has spaces around each whole word.

    advance: whether to add `credit_of` the partial phrase at the end of the text, the largest one
    if there are several.
    """
    total, credit = 0.0, 0.0
    for phrase, weight in rules.hotwords.items():
        spaced = f" {' '.join(phrase.split())} "
        total += weight * sum(text.startswith(spaced, i) for i in range(len(text)))
        for spelt in range(1, len(spaced)):
            if text.endswith(spaced[:spelt]):
                credit = max(credit, credit_of(weight, spelt - 1, len(spaced) - 2))
    return total + credit * advance


def fused(rules: Rules, tokens: Tokens, finished: bool) -> float:
    """The fused score of a prefix; it is -inf if a word is not in the lexicon.

    finished: whether the prefix is the text of the whole utterance, so that its last word ends.
    """
    ended, partial = words_in(rules, tokens)
    if finished and partial:
        ended, partial = [*ended, partial], ""
    if rules.lexicon is not None and not rules.lexicon.issuperset(ended):
        return -math.inf
    total = rules.word_bonus * len(ended)
    if rules.lm is not None and rules.lm.unit == "words":
        total += lm_score(rules, ended + [""] * finished)
    elif rules.lm is not None:
        total += lm_score(rules, [rules.pieces[token] for token in tokens] + [""] * finished)
    if partial:
        total += look_ahead(rules, partial)
    text = " ".join(["", *ended, partial])
    return total + hotword_score(rules, text, advance=not finished)


def search(rules: Rules, log_probs: np.ndarray) -> dict[Tokens, Entry]:
    """The beam after the last frame, best first. log_probs: (T, V) natural logs."""
    beam = {(): Entry(p_blank=0.0, best_blank=Path(0.0))}
    for frame, row in enumerate(log_probs.astype(np.float64)):
        emit = {token: float(row[token]) for token in kept_tokens(rules, row)}
        after = {}
        for prefix, entry in beam.items():
            p_token, best_token = -math.inf, Path()
            if prefix and prefix[-1] in emit:
                value = emit[prefix[-1]]
                p_token = entry.p_token + value
                best_token = entry.best_token.repeat(value, frame)
                if prefix[:-1] in beam:
                    new = one_longer(beam, prefix, value, frame)
                    p_token = float(np.logaddexp(p_token, new.p_token))
                    best_token = best_of(best_token, new.best_token)
            blank = float(row[BLANK])
            after[prefix] = Entry(entry.total + blank, p_token, entry.best.blank(blank), best_token)
        for prefix in beam:
            for token, value in emit.items():
                if (*prefix, token) not in beam:
                    after[(*prefix, token)] = one_longer(beam, (*prefix, token), value, frame)
        beam = prune(rules, after)
    return beam


def one_longer(beam: dict[Tokens, Entry], prefix: Tokens, value: float, frame: int) -> Entry:
    """The paths that emit the last token of `prefix` for the first time in this frame.

    If that token equals the one before it, only paths with a blank between them count.
    """
    parent = beam[prefix[:-1]]
    if prefix[:-1] and prefix[-2] == prefix[-1]:
        p_token, best = parent.p_blank, parent.best_blank
    else:
        p_token, best = parent.total, parent.best
    return Entry(p_token=p_token + value, best_token=best.token(value, frame))


def prune(rules: Rules, entries: dict[Tokens, Entry]) -> dict[Tokens, Entry]:
    """The best `beam` prefixes with a finite score of at least best score - `beam_margin`."""
    score = {p: entry.total + fused(rules, p, finished=False) for p, entry in entries.items()}
    ranked = sorted(entries, key=lambda prefix: -score[prefix])[: rules.beam]
    least = score[ranked[0]] - rules.beam_margin if ranked else -math.inf
    return {p: entries[p] for p in ranked if score[p] >= least and score[p] > -math.inf}


def decode_reference(
    rules: Rules, log_probs: np.ndarray
) -> list[tuple[Tokens, float, tuple[tuple[int, int, float], ...]]]:
    """(tokens, score, spans) of the distinct texts in the final beam, best first.

    The list is empty if every prefix in the beam has a word that is not in the lexicon.
    """
    found = []
    for prefix, entry in search(rules, log_probs).items():
        score = entry.total + fused(rules, prefix, finished=True)
        if score > -math.inf:
            found.append((prefix, score, entry.best.spans))
    found.sort(key=lambda one: -one[1])
    by_text: dict[str, tuple] = {}
    for one in found:
        by_text.setdefault(decode(one[0], rules.pieces), one)
    return list(by_text.values())
