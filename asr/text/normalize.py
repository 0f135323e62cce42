"""Text normalization: what a model is trained on, and what hypotheses are compared with."""

from __future__ import annotations

import re
import unicodedata

from asr.config import TextConfig

# What `asr score` knows by name, besides a model's own settings.
NORMALISATIONS = {
    "none": TextConfig(lowercase=False, punctuation="keep"),
    "basic": TextConfig(),
}
_KEPT_INSIDE = "'’-"  # don't, well-known: part of the word when letters stand on both sides
_JOINERS = "\u200c\u200d"  # spell words in Persian, Sinhala, Malayalam...; unlike other formats
_ZERO_WIDTH_SPACE = "\u200b"  # between words of Khmer and Thai
# ASCII has no marks, and nothing that only formats.
_ASCII_GAPS = {c: " " for c in range(128) if not chr(c).isalnum() and chr(c) not in _KEPT_INSIDE}
_ASCII_OUTSIDE = re.compile(r"['-](?:(?<![A-Za-z0-9].)|(?![A-Za-z0-9]))")


def normalize(text: str, config: TextConfig) -> str:
    """One form for texts that mean the same to the recognizer; words are joined by one space.

    Removed punctuation leaves a gap, so "wait...what" stays two words; the typographic apostrophe
    becomes the plain one. Works on any script: what is punctuation is told by Unicode category,
    marks stay with their letter, and what only formats (soft hyphens, directions) leaves no gap.
    """
    if text.isascii():  # the same text, about six times as fast
        if config.lowercase:
            text = text.lower()
        if config.punctuation == "remove":
            text = _ASCII_OUTSIDE.sub(" ", text.translate(_ASCII_GAPS))
        return " ".join(text.split())
    text = unicodedata.normalize(config.unicode, text)
    if config.lowercase:
        text = text.lower()
    if config.punctuation == "remove":
        text = _without_punctuation(text)
    return " ".join(unicodedata.normalize(config.unicode, text).split())


def describe(config: TextConfig) -> str:
    """What `normalize` does with these settings, in words."""
    return ", ".join(
        (
            "lower case" if config.lowercase else "case kept",
            f"punctuation {'removed' if config.punctuation == 'remove' else 'kept'}",
            config.unicode,
        )
    )


def _without_punctuation(text: str) -> str:
    kept: list[str] = []
    for i, character in enumerate(text):
        category = unicodedata.category(character)
        if character in _KEPT_INSIDE or character in _JOINERS:
            inside = bool(kept) and _of_word(kept[-1]) and _of_word(text[i + 1 : i + 2])
            plain = "'" if character == "’" else character
            kept.append(plain if inside else "" if character in _JOINERS else " ")
        elif category == "Cf" and character != _ZERO_WIDTH_SPACE:
            pass
        elif category[0] == "M":  # of a letter; those of a removed symbol go with it
            if kept and _of_word(kept[-1]):
                kept.append(character)
        else:
            kept.append(" " if category[0] in "PSCZ" else character)
    return "".join(kept)


def _of_word(character: str) -> bool:
    return bool(character) and unicodedata.category(character)[0] in "LMN"
