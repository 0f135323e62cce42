"""Text normalisation: what a model is trained on, and what hypotheses are compared with."""

from __future__ import annotations

import unicodedata

from asr.config import TextConfig

_KEPT_INSIDE = "'’-"  # don't, well-known: part of the word when letters stand on both sides


def normalise(text: str, config: TextConfig) -> str:
    """One form for texts that mean the same to the recogniser; words are joined by one space.

    Removed punctuation leaves a gap, so "wait...what" stays two words; the typographic apostrophe
    becomes the plain one. Works on any script: what is punctuation is told by Unicode category.
    """
    text = unicodedata.normalize(config.unicode, text)
    if config.lowercase:
        text = text.lower()
    if config.punctuation == "remove":
        padded = f" {text} "
        text = "".join(
            _plain(padded[i], inside=padded[i - 1].isalnum() and padded[i + 1].isalnum())
            for i in range(1, len(padded) - 1)
        )
    return " ".join(text.split())


def _plain(character: str, inside: bool) -> str:
    if inside and character in _KEPT_INSIDE:
        return "'" if character == "’" else character
    return " " if unicodedata.category(character)[0] in "PSC" else character
