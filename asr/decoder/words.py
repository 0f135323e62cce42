"""Join timed tokens into timed words; all decoders use this function."""

from __future__ import annotations

import math
from collections.abc import Sequence

from asr.text.tokenizer import WORD_START
from asr.transcript import Word


def words_of(
    tokens: Sequence[int],
    starts: Sequence[int],
    ends: Sequence[int],
    log_confidences: Sequence[float],
    pieces: Sequence[str],
    frame_s: float,
) -> tuple[Word, ...]:
    """Join tokens into words.

    A word begins at each piece with the word-start mark. It extends from the first frame of its
    first token with text to the last frame of its last token with text. Its confidence is the
    geometric mean of the confidences of these tokens.

    tokens: (N,) ids without blanks; starts, ends: (N,) first frame, and frame after the last;
    log_confidences: (N,) natural logs, at most 0; frame_s: seconds per frame.
    """
    words: list[Word] = []
    text, start, end, logs = "", 0, 0, []

    def close() -> None:
        if text:
            confidence = min(1.0, math.exp(sum(logs) / len(logs)))
            words.append(Word(text, start * frame_s, end * frame_s, confidence))

    for token, first, after, log_confidence in zip(
        tokens, starts, ends, log_confidences, strict=True
    ):
        piece = pieces[token]
        if piece.startswith(WORD_START):
            close()
            text, logs = "", []
            piece = piece[len(WORD_START) :]
        if not piece:
            continue
        if not text:
            start = first
        text, end = text + piece, after
        logs.append(log_confidence)
    close()
    return tuple(words)


def complete_words(tokens: Sequence[int], pieces: Sequence[str]) -> int:
    """The number of words of `tokens` that the beginning of another word follows.

    The words are those of `words_of`; later tokens cannot change a complete one.
    """
    begins = [i for i, token in enumerate(tokens) if pieces[token].startswith(WORD_START)]
    before = [pieces[token] for token in tokens[: begins[-1]]] if begins else []
    return len("".join(before).replace(WORD_START, " ").split())
