"""ARPA files, the n-gram format that every toolkit exchanges; plain text or gzip."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asr.data.texts import GZIP_MAGIC
from asr.errors import UserError
from asr.files import replacing
from asr.lm.automaton import NGrams
from asr.lm.kneser_ney import END, START, UNKNOWN

LN10 = math.log(10)  # ARPA has logarithms to base 10
MISSING_UNKNOWN = -100 * LN10  # score of <unk> if the file has none; the value that KenLM uses
_LINES = 1 << 16  # lines parsed or written at a time
_MAX_SCORE = 1e-4  # rounding may give a word of probability 1 a score a little above 0


def read_arpa(path: str | Path) -> tuple[list[str], list[NGrams]]:
    """Read an ARPA file: the words by label, and the n-grams by order, with natural logs.

    `<UNK>` is read as `<unk>`, and added if the file has neither. Raises `UserError` with file and
    line if the file is not ARPA, is cut off, or lacks `<s>` or `</s>`.
    """
    with open(path, "rb") as raw:
        packed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        reader = _Reader(path, gzip.open(raw) if packed else raw)
        try:
            return reader.read()
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{path}: damaged gzip file ({error}); download it again") from None


def write_arpa(path: str | Path, words: Sequence[str], orders: Sequence[NGrams]) -> None:
    """Write a model atomically, compressed if the name ends in .gz.

    words: by label; orders: the n-grams of order 1, 2, ... with natural logs.
    """
    with replacing(path) as beside, open(beside, "wb") as raw:
        if str(path).endswith(".gz"):  # without time and name, so that equal models are equal files
            with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                _write(packed, words, orders)
        else:
            _write(raw, words, orders)


def _write(file: BinaryIO, words: Sequence[str], orders: Sequence[NGrams]) -> None:
    file.write(b"\\data\\\n")
    for order, ngrams in enumerate(orders, 1):
        file.write(b"ngram %d=%d\n" % (order, len(ngrams.words)))
    for order, ngrams in enumerate(orders, 1):
        file.write(b"\n\\%d-grams:\n" % order)
        for first in range(0, len(ngrams.words), _LINES):
            rows = slice(first, first + _LINES)
            columns = [[words[i] for i in column] for column in ngrams.words[rows].T.tolist()]
            names = map(" ".join, zip(*columns, strict=True))
            # Seven digits are the precision of a float32; adding 0.0 turns -0.0 into 0.0.
            score = np.minimum(ngrams.score[rows] / LN10, 0).tolist()
            backoff = (ngrams.backoff[rows] / LN10 + 0.0).tolist()
            if order < len(orders):
                lines = map("{:.7g}\t{}\t{:.7g}\n".format, score, names, backoff)
            else:
                lines = map("{:.7g}\t{}\n".format, score, names)
            file.write("".join(lines).encode())
    file.write(b"\n\\end\\\n")


class _Reader:
    """One pass through a file; words are bytes, because only ASCII white space separates them."""

    def __init__(self, path: str | Path, file: BinaryIO):
        self.path = path
        self.number = 0  # line number of the last line read
        self.lines: Iterator[bytes] = iter(file)
        self.labels: dict[bytes, int] = {}

    def fail(self, problem: str, number: int | None = None) -> UserError:
        return UserError(f"{self.path}:{number or self.number}: {problem}")

    def read(self) -> tuple[list[str], list[NGrams]]:
        sizes = self.header()
        orders = [self.section(order, size) for order, size in enumerate(sizes, 1)]
        if self.next_line() != b"\\end\\":
            raise self.fail(
                "expected \\end\\ here: the file has more n-grams than its header states"
            )
        words = [word.decode() for word in self.labels]
        if UNKNOWN not in words and UNKNOWN.upper() in words:
            words[words.index(UNKNOWN.upper())] = UNKNOWN
        if UNKNOWN not in words:
            words.append(UNKNOWN)
            orders[0] = NGrams(
                np.append(orders[0].words, [[len(words) - 1]], axis=0).astype(np.int32),
                np.append(orders[0].score, np.float32(MISSING_UNKNOWN)),
                np.append(orders[0].backoff, np.float32(0)),
            )
        for mark in (START, END):
            if mark not in words:
                raise UserError(f"{self.path}: the model has no {mark}; estimate it with sentences")
        return words, orders

    def next_line(self) -> bytes:
        """The next line that is not blank, stripped."""
        for line in self.lines:
            self.number += 1
            if line := line.strip():
                return line
        raise self.fail("the file ends before \\end\\; it is cut off")

    def header(self) -> list[int]:
        """Number of n-grams of each order. Lines before \\data\\ are comments."""
        for line in self.lines:
            self.number += 1
            if line.strip() == b"\\data\\":
                break
        else:
            raise UserError(f"{self.path}: not an ARPA file: it has no line \\data\\")
        sizes: list[int] = []
        while (line := self.next_line()).startswith(b"ngram "):
            order, _, size = line[len("ngram ") :].partition(b"=")
            if order.strip() != b"%d" % (len(sizes) + 1) or not size.strip().isdigit():
                raise self.fail(f"expected ngram {len(sizes) + 1}=COUNT, found {_show(line)}")
            sizes.append(int(size))
        if not sizes or line != b"\\1-grams:":
            raise self.fail(f"expected \\1-grams:, found {_show(line)}")
        return sizes

    def section(self, order: int, size: int) -> NGrams:
        """The n-grams of one order, sorted. `header` has already read the title of the first."""
        if order > 1 and (line := self.next_line()) != b"\\%d-grams:" % order:
            raise self.fail(f"expected \\{order}-grams:, found {_show(line)}")
        words = np.empty((size, order), np.int32)
        score, backoff = np.empty(size, np.float32), np.empty(size, np.float32)
        done = 0
        while done < size:
            first = self.number + 1
            lines = list(islice(self.lines, min(_LINES, size - done)))
            if not lines:
                raise self.fail(
                    f"the file ends after {done} of {size} {order}-grams; it is cut off"
                )
            self.number += len(lines)
            rows = slice(done, done + len(lines))
            words[rows], score[rows], backoff[rows] = self.parse(lines, order, first)
            done += len(lines)
        ranks = np.lexsort(words.T[::-1])
        words = words[ranks]
        same = (words[1:] == words[:-1]).all(axis=1)
        if same.any():
            name = b" ".join(list(self.labels)[label] for label in words[same.argmax()])
            number = self.number - size + 1 + int(ranks[same.argmax() + 1])
            raise self.fail(f"the {order}-gram {_show(name)} occurs here again", number)
        return NGrams(words, score[ranks], backoff[ranks])

    def parse(self, lines: list[bytes], order: int, first: int):
        """Words, scores and back-offs of n-gram lines. first: the line number of lines[0]."""
        rows = [line.split() for line in lines]
        try:
            for row in rows:
                if len(row) == order + 1:
                    row.append(b"0")
                elif len(row) != order + 2:
                    raise ValueError(f"expected a score and {order} words")
            known = self.labels
            if order == 1:
                for row in rows:
                    row[1].decode()  # raises if it is not UTF-8
                    known.setdefault(row[1], len(known))
            words = np.array([known[word] for row in rows for word in row[1:-1]], np.int32)
            score = np.array([float(row[0]) for row in rows])
            backoff = np.array([float(row[-1]) for row in rows])
            if not (score <= _MAX_SCORE).all() or not (np.abs(backoff) < np.inf).all():
                raise ValueError("a score is above 0 or not a number")
        except (ValueError, KeyError) as error:
            if len(lines) > 1:  # parse the lines one by one to find the wrong one
                for i, line in enumerate(lines):
                    self.parse([line], order, first + i)
            if isinstance(error, KeyError):
                error = f"the word {_show(error.args[0])} is not among the 1-grams"
            raise self.fail(f"{error}, found {_show(lines[0].strip())}", first) from None
        words = words.reshape(-1, order)
        return words, (score * LN10).astype(np.float32), (backoff * LN10).astype(np.float32)


def _show(text: bytes) -> str:
    return repr(text[:60].decode(errors="replace"))
