"""The script of a letter, as far as Python's Unicode data tell it: by the name of the letter."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

# Written together in Japanese (and Korean texts with Chinese characters).
_TOGETHER = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "HANGUL"}
# First words of names of letters that belong to no script, or that look like letters of one.
_WIDTHS = {"FULLWIDTH", "HALFWIDTH"}
_SYMBOLS = {
    *("MODIFIER", "MICRO", "FEMININE", "MASCULINE", "SUPERSCRIPT", "SUBSCRIPT", "SCRIPT"),
    *("MATHEMATICAL", "DOUBLE-STRUCK", "BLACK-LETTER", "OHM", "KELVIN", "ANGSTROM", "INFORMATION"),
}
EAST_ASIAN = "Chinese or Japanese"


@lru_cache(maxsize=1 << 16)
def script_of(character: str) -> str | None:
    """ "Latin", "Cyrillic"...; None for what is no letter or belongs to no script.

    >>> script_of("a"), script_of("я"), script_of("字"), script_of("1")
    ('Latin', 'Cyrillic', 'Chinese or Japanese', None)
    """
    if unicodedata.category(character)[0] != "L":
        return None
    words = unicodedata.name(character, "").split()
    if words and words[0] in _WIDTHS:
        words = words[1:]
    if not words or words[0] in _SYMBOLS:
        return None
    return EAST_ASIAN if words[0] in _TOGETHER else words[0].capitalize()


def scripts_of(word: str) -> set[str]:
    """The scripts of the letters of a word."""
    return {script for script in map(script_of, word) if script is not None}
