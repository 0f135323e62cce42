"""How well an utterance fits a sentence of a grammar, for refusing what is not in the grammar."""

from __future__ import annotations


def fit_of(score: float, tokens: int) -> float:
    """ln P(sentence | audio) for each of its tokens, at most 0 but for weights of the grammar.

    score: ln of the sum over all alignments. CTC distributes a probability of 1 over all texts, so
    this is the ratio of the grammar's score to the score of free recognition, in which every text
    competes. It is low if another text is likelier, and also if no text is likely, as in noise that
    a model has never heard.
    """
    return score / tokens
