"""Hotwords: expected phrases with a weight each, as a back-off automaton.

Every occurrence of a phrase as whole words adds its weight (a natural log) to the score of the
text. The automaton is that of Aho and Corasick (1975) over characters: its state is the longest
prefix of a phrase with which the text ends, and the back-off of a state is its longest proper
suffix that is a prefix of a phrase too.

While a phrase is being spelled, weight * (spelled characters) / (length + 1) is added in advance,
which keeps the phrase in the beam. If several phrases match partially, the largest of these values
is used. Backing off subtracts it again.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from asr.decoder.lexicon import SPACE, Spelling
from asr.errors import UserError
from asr.lm.automaton import Automaton

# The values added in advance are multiples of this, so that their float32 sums are exact.
CREDIT_STEP = 2.0**-10


def credit_of(weight: float, spelt: int, length: int) -> float:
    """The part of a weight added in advance after `spelt` of the `length` characters of a phrase.

    It is weight * spelt / (length + 1), rounded to `CREDIT_STEP`; the space after the phrase counts
    as a character. It is 0 for a negative weight, which is added when the phrase is complete.
    """
    return max(0.0, round(weight * spelt / (length + 1) / CREDIT_STEP) * CREDIT_STEP)


def build_hotwords(hotwords: Mapping[str, float], spelling: Spelling) -> Automaton | None:
    """The automaton of {phrase: weight} over the characters of `spelling`; None if it is empty.

    Phrases with the weight 0 are left out. Raises `UserError` for a phrase that the model cannot
    spell.
    """
    phrases: dict[tuple[int, ...], float] = {}
    for phrase, weight in hotwords.items():
        text = " ".join(phrase.split())
        if not text or not np.isfinite(weight):
            raise UserError(f"hotword {phrase!r}: {weight}; give a phrase and a finite weight")
        ids = [SPACE, *spelling.ids(text).tolist(), SPACE]
        for i, char in enumerate(text, start=1):
            ids[i] = SPACE if char == " " else ids[i]
            if ids[i] < 0:
                raise UserError(
                    f"hotword {phrase!r}: the model has no {char!r} (U+{ord(char):04X})"
                )
        if weight:
            phrases[tuple(ids)] = phrases.get(tuple(ids), 0.0) + weight
    return _automaton(phrases, len(spelling.alphabet) + 1) if phrases else None


def _automaton(phrases: dict[tuple[int, ...], float], labels: int) -> Automaton:
    arcs: list[dict[int, int]] = [{}]
    credit = [0.0]  # of each state: the weight added in advance
    reward = [0.0]  # of each state: the sum of the weights of the phrases that end there
    for ids, weight in phrases.items():
        state = 0
        for spelt, label in enumerate(ids):
            if label not in arcs[state]:
                arcs[state][label] = len(arcs)
                arcs.append({})
                credit.append(0.0)
                reward.append(0.0)
            state = arcs[state][label]
            if spelt < len(ids) - 1:
                credit[state] = max(credit[state], credit_of(weight, spelt, len(ids) - 2))
        reward[state] += weight

    # Number states breadth first, so that the back-off state, which is shorter, has a lower number.
    order, backoff = [0], [0] * len(arcs)
    for state in order:
        for label, after in arcs[state].items():
            order.append(after)
            suffix = backoff[state]
            while label not in arcs[suffix] and suffix:
                suffix = backoff[suffix]
            found = arcs[suffix].get(label, 0)
            backoff[after] = found if found != after else 0
            reward[after] += reward[backoff[after]]
            credit[after] = max(credit[after], credit[backoff[after]])
    number = {state: i for i, state in enumerate(order)}

    rows = []
    for state in order:
        # The root has an arc for every label, as `Automaton` requires.
        every = {label: 0 for label in range(labels)} | arcs[0] if state == 0 else arcs[state]
        for label, after in sorted(every.items()):
            score = credit[after] - credit[state] + (reward[after] if after else 0.0)
            rows.append((number[state], label, score, number[after]))
    source, label, score, after = zip(*rows, strict=True)
    counts = np.bincount(source, minlength=len(order))
    start = number[arcs[0][SPACE]]
    return Automaton(
        arc_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        arc_label=np.array(label, np.int32),
        arc_score=np.array(score, np.float32),
        arc_next=np.array(after, np.int32),
        backoff_score=np.array([credit[backoff[s]] - credit[s] for s in order], np.float32),
        backoff_state=np.array([number[backoff[s]] for s in order], np.int32),
        start=start,
        end_label=SPACE,
    )
