"""Expand abbreviations that have only one reading, by language."""

from __future__ import annotations

import re
from functools import lru_cache

from asr.errors import UserError

# Left out on purpose: St. (saint, street), M. (monsieur, an initial), No. (number, no), am, in.
# The period is optional; case does not matter.
ABBREVIATIONS = {
    "en": {
        "mr": "mister",
        "mrs": "missus",
        "dr": "doctor",
        "prof": "professor",
        "vs": "versus",
        "etc": "et cetera",
    },
    "de": {
        "dr": "Doktor",
        "prof": "Professor",
        "bzw": "beziehungsweise",
        "usw": "und so weiter",
        "ca": "circa",
        "z b": "zum Beispiel",
        "d h": "das heißt",
        "u a": "unter anderem",
    },
    "fr": {
        "mme": "madame",
        "mlle": "mademoiselle",
        "dr": "docteur",
        "etc": "et cetera",
    },
    "es": {
        "sr": "señor",
        "sra": "señora",
        "srta": "señorita",
        "dr": "doctor",
        "dra": "doctora",
        "ud": "usted",
        "uds": "ustedes",
        "etc": "etcétera",
    },
}
AND = {"en": "and", "de": "und", "fr": "et", "es": "y"}


@lru_cache
def _pattern(language: str) -> re.Pattern:
    def written(name: str) -> str:  # z. B., z.B., z B; but not zB, which may be anything
        return r"(?:\. ?| )".join(name.split())

    names = "|".join(map(written, sorted(ABBREVIATIONS[language], key=len, reverse=True)))
    return re.compile(rf"(?<![\w'’.-])({names})(?![\w'’-])(?!\.\w)\.?", re.IGNORECASE)


def expand(text: str, language: str) -> str:
    """Expand abbreviations, and replace "&" between spaces by "and".

    Raises `UserError` for a language that has no table.

    >>> expand("Dr. Smith & Mrs. Jones", "en"), expand("z. B. Dr. Müller", "de")
    ('doctor Smith and missus Jones', 'zum Beispiel Doktor Müller')
    """
    base = language.split("_")[0]
    if base not in ABBREVIATIONS:
        raise UserError(
            f"text.abbreviations: expand does not know text.language {language}; known are "
            f"{', '.join(ABBREVIATIONS)}; leave text.abbreviations out"
        )
    table = ABBREVIATIONS[base]

    def word(match: re.Match) -> str:
        return table[" ".join(re.findall(r"\w+", match[1].lower()))]

    return re.sub(r"(?<=\s)&(?=\s)", AND[base], _pattern(base).sub(word, text))
