"""Text <-> token ids: characters, or sentencepiece units (BPE, unigram).

All tokenizers follow one convention, so that a decoder needs only `pieces`: id 0 is the CTC blank,
and a piece that begins with `WORD_START` (U+2581) begins a new word. For characters the mark is a
piece of its own, between words.
"""

from __future__ import annotations

import io
import json
import logging
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

import sentencepiece

from asr.errors import UserError
from asr.text.labels import Labels

log = logging.getLogger("asr")

BLANK = 0  # id of the CTC blank
MOST_TEXTS = 200_000  # units are learned from at most this many texts; more change few units
WORD_START = "\u2581"  # ▁, the mark that sentencepiece writes for the space before a word


class Tokenizer(Protocol):
    """The interface of tokenizers."""

    kind: str
    pieces: list[str]  # by id; pieces[BLANK] is a name rather than text

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; raises ValueError if a character is outside the alphabet."""
        ...

    def to_bytes(self) -> bytes:
        """The file that `from_bytes` reads."""
        ...


def decode(tokens: Iterable[int], pieces: Sequence[str]) -> str:
    """The text of token ids without blanks; words are joined by one space."""
    return " ".join("".join(pieces[token] for token in tokens).replace(WORD_START, " ").split())


def unknown_characters(text: str, alphabet: set[str]) -> str:
    """The characters of `text` that `alphabet` lacks, each once, in order of appearance."""
    return "".join(dict.fromkeys(c for c in text if not c.isspace() and c not in alphabet))


def _refuse_unknown(text: str, alphabet: set[str]) -> None:
    unknown = unknown_characters(text, alphabet)
    if unknown:
        named = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in unknown[:5])
        raise ValueError(f"characters outside the alphabet: {named}")


class CharacterTokenizer:
    """One token for each character, and one for the space between words."""

    kind = "characters"

    def __init__(self, characters: Sequence[str]):
        self.pieces = ["<blank>", WORD_START, *characters]
        self.alphabet = set(characters)
        self._ids = {piece: i for i, piece in enumerate(self.pieces) if i != BLANK}

    @classmethod
    def train(cls, texts: Iterable[str]) -> CharacterTokenizer:
        """The alphabet is every character of `texts`."""
        characters = {c for text in texts for c in text if not c.isspace()}
        if not characters:
            raise UserError("cannot build a tokenizer: the training manifest has no text")
        return cls(sorted(characters - {WORD_START}))

    def encode(self, text: str) -> list[int]:
        _refuse_unknown(text, self.alphabet)
        return [self._ids[c] for c in WORD_START.join(text.split())]

    def to_bytes(self) -> bytes:
        return json.dumps({"characters": self.pieces[2:]}, ensure_ascii=False).encode()


class SentencePieceTokenizer:
    """Subword units of a sentencepiece model whose id 0, the unknown piece, serves as the blank."""

    def __init__(self, model: bytes, kind: str):
        self.kind = kind
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        count = self._processor.get_piece_size()
        self.pieces = ["<blank>"] + [self._processor.id_to_piece(i) for i in range(1, count)]
        self.alphabet = {piece for piece in self.pieces[1:] if len(piece) == 1} - {WORD_START}

    @classmethod
    def train(cls, texts: Iterable[str], kind: str, vocab_size: int) -> SentencePieceTokenizer:
        """Learn `vocab_size` units, including the blank, or fewer if the texts yield fewer.

        At most `MOST_TEXTS` randomly drawn texts are used, but the characters of all texts have
        units. Raises `UserError` if there is no text, or if `vocab_size` is smaller than the number
        of distinct characters plus two.
        """
        kept: list[str] = []
        counts: Counter = Counter()
        draw = random.Random(0)
        # Reservoir sampling, because the number of texts is not known in advance.
        for number, text in enumerate(texts):
            text = " ".join(text.split())
            counts.update(text.replace(" ", ""))
            if number < MOST_TEXTS:
                kept.append(text)
            elif (place := draw.randrange(number + 1)) < MOST_TEXTS:
                kept[place] = text
        if not counts:
            raise UserError("cannot build a tokenizer: the training manifest has no text")
        # Each character, the word start and the blank need a unit.
        least = len(counts) + 2
        if vocab_size < least:
            raise UserError(
                f"tokenizer.vocab_size: {vocab_size} is too small for the {len(counts)} distinct "
                f"characters of the training text; give at least {least}, or "
                "tokenizer.kind=characters"
            )
        try:
            model = _train_sentencepiece(kept, kind, vocab_size, counts)
        except RuntimeError as error:
            # BPE ran out of pairs to merge; the message gives the largest possible size.
            most = re.search(r"value <= (\d+)", str(error))
            if not most:
                raise
            model = _train_sentencepiece(kept, kind, int(most[1]), counts)
        trained = cls(model, kind)
        if len(trained.pieces) < vocab_size:
            log.warning(
                "tokenizer.vocab_size lowered from %d to %d: the training text has no more units",
                vocab_size,
                len(trained.pieces),
            )
        return trained

    def encode(self, text: str) -> list[int]:
        _refuse_unknown(text, self.alphabet)
        return self._processor.encode(" ".join(text.split()))

    def to_bytes(self) -> bytes:
        return self._model


def _train_sentencepiece(
    texts: list[str], kind: str, vocab_size: int, characters: Iterable[str]
) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type=kind,
        vocab_size=vocab_size,
        hard_vocab_limit=kind == "bpe",  # unigram stops below the limit by itself
        character_coverage=1.0,
        required_chars="".join(characters),
        normalization_rule_name="identity",  # texts are normalized already
        unk_id=BLANK,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
        max_sentence_length=1 << 20,
    )
    return model.getvalue()


def train(texts: Iterable[str], kind: str, vocab_size: int) -> Tokenizer:
    """A tokenizer of a kind of `TokenizerConfig`, learned from normalized texts."""
    if kind == Labels.kind:
        return Labels.train(texts)
    if kind == CharacterTokenizer.kind:
        return CharacterTokenizer.train(texts)
    return SentencePieceTokenizer.train(texts, kind, vocab_size)


def from_bytes(data: bytes, kind: str) -> Tokenizer:
    """Read the bytes that `to_bytes` wrote. Raises ValueError if `data` is not such a tokenizer."""
    try:
        if kind == Labels.kind:
            return Labels(json.loads(data)["labels"])
        if kind == CharacterTokenizer.kind:
            return CharacterTokenizer(json.loads(data)["characters"])
        if data:
            return SentencePieceTokenizer(data, kind)
    except (ValueError, KeyError, TypeError, RuntimeError):
        pass
    raise ValueError(f"not a tokenizer of kind {kind!r}, or damaged")
