"""How references and hypotheses are brought to one form before they are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from asr.config import TextConfig
from asr.errors import UserError
from asr.text.normalize import NORMALIZATIONS, describe, normalize

WHISPER_ENGLISH = "whisper-en"


@dataclass(frozen=True)
class WhisperEnglish:
    """The English normalizer of Whisper (Radford et al. 2022, appendix C), for published figures.

    It expands contractions, writes numbers as digits and British spellings in the American way, and
    leaves out fillers and what is in brackets. It is for scoring alone, because it changes words in
    ways that no recognizer should learn. Raises `UserError` if the package whisper-normalizer,
    which holds it, is not installed.
    """

    @cached_property
    def normalizer(self) -> Callable[[str], str]:
        try:
            from whisper_normalizer.english import EnglishTextNormalizer
        except ImportError:
            raise UserError(
                f"the normalization {WHISPER_ENGLISH} needs the package whisper-normalizer: "
                "pip install 'asr[whisper]'"
            ) from None
        return EnglishTextNormalizer()

    def __call__(self, text: str) -> str:
        return " ".join(self.normalizer(text).split())


Normalization: TypeAlias = TextConfig | WhisperEnglish
BY_NAME: dict[str, Normalization] = {**NORMALIZATIONS, WHISPER_ENGLISH: WhisperEnglish()}


def normalizer_of(normalization: Normalization) -> Callable[[str], str]:
    """The function from a text to its normalized form."""
    if isinstance(normalization, TextConfig):
        return lambda text: normalize(text, normalization)
    return normalization


def described(normalization: Normalization) -> str:
    """What a normalization does, in words."""
    if isinstance(normalization, TextConfig):
        return describe(normalization)
    return "Whisper's English normalizer"
