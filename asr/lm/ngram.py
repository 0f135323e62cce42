"""n-gram language models: estimation from text, reading, saving, and scoring of texts."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from asr.errors import UserError
from asr.lm.arpa import read_arpa, write_arpa
from asr.lm.automaton import Automaton, MissingContext, build, ngrams_of
from asr.lm.kneser_ney import (
    END,
    END_LABEL,
    START,
    START_LABEL,
    UNKNOWN,
    encode_sentences,
    estimate,
)
from asr.lm.npz import load_npz, save_npz, write_npz
from asr.text.tokenizer import BLANK, WORD_START, Tokenizer

Unit = Literal["words", "tokens"]
KENLM_MAGIC = b"mmap lm http://kheafield.com/code"
SUFFIXES = (".npz", ".arpa", ".arpa.gz")
_FORMAT = 1  # of the npz file
_ARRAYS = [field.name for field in fields(Automaton) if field.type == "np.ndarray"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextScore:
    """How well a model predicts a text."""

    log_prob: float  # natural log, including the end of each sentence
    words: int  # number of words, or of tokens
    sentences: int
    unknown: int  # number of unknown words

    @property
    def perplexity(self) -> float:
        """Perplexity per word or end of sentence, including unknown words."""
        return math.exp(-self.log_prob / (self.words + self.sentences))

    def __str__(self) -> str:
        return (
            f"perplexity {self.perplexity:.2f}, {self.words} words in {self.sentences} sentences, "
            f"{self.unknown} unknown ({self.unknown / max(1, self.words):.2%})"
        )


class NGram:
    """A back-off n-gram model on words, or on the tokens of a tokenizer.

    words: the words by label, including the marks `<unk>`, `<s>` and `</s>`.
    """

    def __init__(self, automaton: Automaton, words: Sequence[str], order: int, unit: Unit):
        self.automaton = automaton
        self.words = list(words)
        self.order = order
        self.unit: Unit = unit
        self._labels = {word: label for label, word in enumerate(self.words)}
        self.unknown_label = self._labels[UNKNOWN]

    @classmethod
    def estimate(
        cls,
        lines: Iterable[str],
        order: int = 3,
        prune: Sequence[int] = (0,),
        max_words: int | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> NGram:
        """Interpolated modified Kneser-Ney model of sentences (see `kneser_ney.estimate`).

        lines: one sentence each, normalized like the training texts of the recognizer; blank lines
        are skipped. prune: n-grams of order i that occur at most `prune[i - 1]` times are left out.
        max_words: keep only this many words, the most frequent ones; all others become `<unk>`.
        tokenizer: estimate the model on its tokens instead of words; all its tokens are in the
        vocabulary, and lines with characters that it lacks are left out with a warning. Raises
        `UserError` if there is no text.
        """
        if tokenizer is None:
            words, ids = encode_sentences((line.split() for line in lines), max_words)
        else:
            words, ids = encode_sentences(
                tokenize(lines, tokenizer), words=tokenizer.pieces[BLANK + 1 :]
            )
        orders = estimate(ids, len(words), order, prune)
        automaton = build(orders, len(words), START_LABEL, END_LABEL)
        return cls(automaton, words, len(orders), "words" if tokenizer is None else "tokens")

    @classmethod
    def load(cls, file: str | Path | BinaryIO) -> NGram:
        """Read a file that `save` wrote, or any ARPA file. A file object must be in npz format.

        A large npz file is mapped into memory rather than read. Raises `UserError` if the file has
        another format or is damaged.
        """
        if not isinstance(file, (str, Path)):
            return cls._of_arrays(load_npz(file), getattr(file, "name", "language model"))
        try:
            with open(file, "rb") as opened:
                begin = opened.read(len(KENLM_MAGIC))
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror}") from None
        if begin.startswith(b"PK"):
            return cls._of_arrays(load_npz(file), str(file))
        if begin == KENLM_MAGIC:
            # KenLM's Python module answers queries only: it cannot list what a binary file holds.
            raise UserError(
                f"{file}: a KenLM binary, which cannot be converted; give the ARPA file it was "
                "built from"
            )
        words, orders = read_arpa(file)
        try:
            automaton = build(orders, len(words), words.index(START), words.index(END))
        except MissingContext as error:
            ngram = " ".join(words[label] for label in error.labels)
            raise UserError(
                f"{file}: the n-gram {ngram!r} has no context; estimate it again"
            ) from None
        # A model on tokens can be recognized only by the word-start marks of its tokens.
        unit = "tokens" if any(word.startswith(WORD_START) for word in words) else "words"
        return cls(automaton, words, len(orders), unit)

    def __str__(self) -> str:
        automaton = self.automaton
        megabytes = sum(array.nbytes for array in automaton.arrays) / 1e6
        return (
            f"{self.order}-gram on {self.unit}, vocabulary of {len(self.words)}, "
            f"{len(automaton.arc_label)} n-grams, {megabytes:.1f} MB"
        )

    @property
    def unknown_score(self) -> float:
        """Natural log probability of `<unk>` without context."""
        return float(self.automaton.arc_score[self.unknown_label])

    def labels(self, words: Iterable[str]) -> np.ndarray:
        """Labels of words or tokens, (N,) int32; -1 for unknown ones."""
        return np.fromiter((self._labels.get(word, -1) for word in words), np.int32)

    def score(self, sentence: str | Sequence[str]) -> float:
        """Natural log probability of a sentence and its end.

        sentence: words separated by white space, or a list of words or tokens. Unknown ones score
        as `<unk>`, as in KenLM.
        """
        return self.score_lines([sentence]).log_prob

    def perplexity(self, lines: Iterable[str | Sequence[str]]) -> float:
        """Perplexity per word of sentences, including their ends and unknown words."""
        return self.score_lines(lines).perplexity

    def score_lines(self, lines: Iterable[str | Sequence[str]]) -> TextScore:
        """Score sentences as `score` does, and count them."""
        from asr.lm.walk import score_text  # loads numba

        end = self.automaton.end_label
        labels, sentences = [], 0
        find = self._labels.get
        for line in lines:
            sentence = line.split() if isinstance(line, str) else line
            labels.extend([find(word, -1) for word in sentence])
            labels.append(end)
            sentences += 1
        known = np.array(labels, np.int32)
        unknown = (known < 0) | (known == self.unknown_label)
        known[unknown] = self.unknown_label
        scores = np.empty(len(known))
        score_text(*self.automaton.arrays, self.automaton.start, end, known, scores)
        return TextScore(float(scores.sum()), len(known) - sentences, sentences, int(unknown.sum()))

    def save(self, path: str | Path) -> None:
        """Write atomically: .npz, which loads fast, or .arpa or .arpa.gz for other programs."""
        check_name(path)
        if str(path).endswith(".npz"):
            save_npz(path, self._arrays())
        else:
            write_arpa(path, self.words, ngrams_of(self.automaton))

    def to_bytes(self) -> bytes:
        """The .npz file that `save` writes and `load` reads."""
        file = io.BytesIO()
        write_npz(file, self._arrays())
        return file.getvalue()

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {name: getattr(self.automaton, name) for name in _ARRAYS}
        numbers = [
            self.order,
            self.unit == "tokens",
            self.automaton.start,
            self.automaton.end_label,
        ]
        return arrays | {
            "numbers": np.array([_FORMAT, *numbers], np.int64),
            "words": np.frombuffer("\n".join(self.words).encode(), np.uint8),
        }

    @classmethod
    def _of_arrays(cls, arrays: dict[str, np.ndarray], name: str) -> NGram:
        missing = {"numbers", "words", *_ARRAYS} - arrays.keys()
        if missing:
            raise UserError(f"{name}: not a language model: it has no array {min(missing)}")
        numbers = arrays["numbers"].tolist()
        if numbers[:1] != [_FORMAT] or len(numbers) != 5:
            raise UserError(f"{name}: a language model of another version; make it again")
        _, order, on_tokens, start, end_label = numbers
        automaton = Automaton(**{n: arrays[n] for n in _ARRAYS}, start=start, end_label=end_label)
        automaton.check(name)
        words = arrays["words"].tobytes().decode(errors="replace").split("\n")
        if len(words) != automaton.labels or UNKNOWN not in words:
            raise UserError(f"{name}: the language model is damaged; make it again")
        return cls(automaton, words, order, "tokens" if on_tokens else "words")


def check_name(path: str | Path) -> None:
    """Raise `UserError` unless the name ends in one of `SUFFIXES`."""
    if not str(path).endswith(SUFFIXES):
        raise UserError(f"{path}: the name of a language model must end in {', '.join(SUFFIXES)}")


def tokenize(lines: Iterable[str], tokenizer: Tokenizer) -> Iterator[list[str]]:
    """Split each line into pieces of a tokenizer.

    Lines with characters that the tokenizer lacks are left out, and one warning gives their number.
    """
    left_out, example = 0, ""
    for line in lines:
        try:
            yield [tokenizer.pieces[token] for token in tokenizer.encode(line)]
        except ValueError as error:
            left_out, example = left_out + 1, example or f"{line.strip()[:60]!r}: {error}"
    if left_out:
        log.warning(
            "left out %d lines that the tokenizer cannot spell, such as %s", left_out, example
        )
