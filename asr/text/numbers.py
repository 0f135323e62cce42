"""Numbers, percentages and amounts of money, spelled out in a language.

The words come from Unicode's rule-based number formats (CLDR, through the package unicode-rbnf), in
the form that is used for counting: 1 is always "eins" in German and "один" in Russian.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from asr.errors import UserError

if TYPE_CHECKING:
    from unicode_rbnf import RbnfEngine

MOST_DIGITS = 15  # longer numbers are read digit by digit, like those that begin with 0
MOST_MONEY = 999_999  # from a million on, some languages use another form of the unit
# Languages in which numbers depend on what is counted (二 and 两) and years are read by digits
_REFUSED = ("zh", "yue", "ja")
_SPACES = " \u00a0\u202f"
_DOLLAR, _EURO, _POUND = "$", "€", "£"


@dataclass(frozen=True)
class Style:
    """How a language writes and reads numbers; "" if it has no safe rule."""

    groups: str = ""  # characters that may separate groups of three digits
    point: str = ""  # the decimal separator
    point_word: str = ""
    decimals: str = "digits"  # how decimals are read: "digits" or "number"
    percent: str = ""
    money: dict[str, tuple[str, str]] = field(default_factory=dict)  # sign: (singular, plural)
    money_rules: str = "spellout-cardinal-masculine"  # of CLDR


_STYLES = {
    "en": Style(
        groups=",",
        point=".",
        point_word="point",
        percent="percent",
        money={
            _DOLLAR: ("dollar", "dollars"),
            _EURO: ("euro", "euros"),
            _POUND: ("pound", "pounds"),
        },
        money_rules="spellout-cardinal",
    ),
    "de": Style(
        groups=".",
        point=",",
        point_word="Komma",
        percent="Prozent",
        money={_DOLLAR: ("Dollar",) * 2, _EURO: ("Euro",) * 2, _POUND: ("Pfund",) * 2},
    ),
    "fr": Style(
        groups=_SPACES,
        point=",",
        point_word="virgule",
        decimals="number",
        percent="pour cent",
        money={_DOLLAR: ("dollar", "dollars"), _EURO: ("euro", "euros")},
    ),
    "es": Style(
        groups=".",
        point=",",
        point_word="coma",
        decimals="number",
        percent="por ciento",
        money={_DOLLAR: ("dólar", "dólares"), _EURO: ("euro", "euros")},
    ),
    "it": Style(".", ",", "virgola", "number", "per cento"),
    "pt": Style(".", ",", "vírgula", "number", "por cento"),
    "nl": Style(".", ",", "komma", "digits", "procent"),
    "sv": Style(_SPACES, ",", "komma", "digits", "procent"),
    "tr": Style(".", ",", "virgül", "number"),
    **{language: Style(_SPACES) for language in ("ru", "uk", "pl", "cs")},
}
_NOT_IN_WORD = r"(?<![^\W_])(?<![^\W_]['’])"  # no letter or digit before
_WORD_ENDS = r"(?!['’]?[^\W_])"
_LETTER = r"(?=[^\W\d_])"  # a letter after
_ORDINAL = re.compile(
    rf"{_NOT_IN_WORD}(\d{{1,3}}(?:,\d{{3}})+|\d{{1,{MOST_DIGITS}}})(st|nd|rd|th){_WORD_ENDS}"
)
_OPENING, _CLOSING = '([{"“‘«„¿¡', '.,;:!?)]}"”’»…'


@dataclass(frozen=True)
class Speller:
    """Spells the numbers of texts in one language."""

    engine: RbnfEngine
    style: Style
    english: bool = False

    def __call__(self, text: str) -> str:
        """Replace the numbers of a text by words.

        Digits that touch a letter (mp3, 1980s) stay, except for a number with a separator inside
        before its unit: 1.5km is "one point five km". Digits with separators that are not one
        number are read as several: 10:30 is "ten thirty".

        >>> speller("en")("On the 3rd, 5% of 1,250 at 3.14")
        'On the third, five percent of one thousand two hundred fifty at three point one four'
        """
        if not any(map(str.isdigit, text)):
            return text
        for pattern in self._money:
            text = pattern.sub(self._amount, text)
        if self.style.percent:
            text = re.sub(r"(?<=\d)[ \u00a0\u202f]?%(?![^\W_])", f" {self.style.percent}", text)
        if self.english:
            text = _ORDINAL.sub(self._ordinal, text)
        return self._token.sub(self._number, text)

    @cached_property
    def _whole(self) -> str:
        groups = rf"\d{{1,3}}(?:[{self.style.groups}]\d{{3}})+(?!\d)|" if self.style.groups else ""
        return rf"(?P<whole>{groups}\d+)"

    @cached_property
    def _token(self) -> re.Pattern:
        """A number: digits, the separators between them, and its minus.

        Digits before a letter are a number with its unit if they have a separator inside (1,000km);
        otherwise they are not matched (1980s).
        """
        spaces = rf"|[{_SPACES}]\d{{3}}(?!\d)" if self.style.groups == _SPACES else ""
        digits = rf"(?>\d+(?:[.,:/]\d+{spaces})*)"
        number = rf"(?=\d+(?:[.,:/]\d{spaces})){digits}{_LETTER}|{digits}{_WORD_ENDS}"
        return re.compile(rf"(?:(?<!\S)(?P<minus>−))?{_NOT_IN_WORD}(?P<digits>{number})")

    @cached_property
    def _one_number(self) -> re.Pattern:
        point = rf"(?:{re.escape(self.style.point)}(?P<decimals>\d+))?" if self.style.point else ""
        return re.compile(self._whole + point)

    @cached_property
    def _money(self) -> tuple[re.Pattern, ...]:
        """Patterns of an amount: with its sign on the preferred side, and on the other."""
        if not self.style.money:
            return ()
        signs = "".join(map(re.escape, self.style.money))
        amount = rf"{self._whole}(?:{re.escape(self.style.point)}(?P<cents>00|[1-9]\d))?"
        no_scale = r"(?! ?(?:hundred|thousand|[mb]\w*[il]\w*on|mio|mrd|mill))"
        sign = rf"(?P<sign>[{signs}])"
        begins = rf"{_NOT_IN_WORD}(?<![.,])"
        ends = rf"(?![.,]?\d){_WORD_ENDS}(?i:{no_scale})"
        before = re.compile(rf"{begins}{sign} ?{amount}{ends}")
        after = re.compile(rf"{begins}{amount}[{_SPACES}]?{sign}{_WORD_ENDS}")
        return (before, after) if self.english else (after, before)

    @cached_property
    def _minus(self) -> str:
        one = self.engine.format_number(1).text
        return _plain(self.engine.format_number(-1).text.removesuffix(one))

    def _amount(self, match: re.Match) -> str:
        value = int(self._ungrouped(match["whole"]))
        if value > MOST_MONEY:
            return match[0]
        cents = int(match["cents"] or 0)
        unit = self.style.money[match["sign"]][value != 1 or cents > 0]
        rules = [self.style.money_rules]
        words = f"{self.engine.format_number(value, ruleset_names=rules).text} {unit}"
        if cents:
            words += f" {self.engine.format_number(cents).text}"
        return _apart(match, _plain(words))

    def _ordinal(self, match: re.Match) -> str:
        value = int(self._ungrouped(match[1]))
        teen = value // 10 % 10 == 1
        if match[2] != ("th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")):
            return match[0]
        words = self.engine.format_number(value, ruleset_names=["spellout-ordinal"]).text
        return _apart(match, _plain(words))

    def _number(self, match: re.Match) -> str:
        one = self._one_number.fullmatch(match["digits"])
        if one is None:
            words = " ".join(map(self._spelled, re.findall(r"\d+", match["digits"])))
        else:
            words = self._spelled(self._ungrouped(one["whole"]))
            decimals = one["decimals"] if self.style.point else None
            if decimals:
                number = self.style.decimals == "number"
                read = self._spelled(decimals) if number else self._by_digits(decimals)
                words = f"{words} {self.style.point_word} {read}"
        if match["minus"]:
            words = f"{self._minus} {words}"
        return _apart(match, words)

    def _ungrouped(self, whole: str) -> str:
        return "".join(filter(str.isdigit, whole))

    def _spelled(self, digits: str) -> str:
        if len(digits) > MOST_DIGITS or (len(digits) > 1 and int(digits[0]) == 0):
            return self._by_digits(digits)
        return _plain(self.engine.format_number(int(digits)).text)

    def _by_digits(self, digits: str) -> str:
        return " ".join(_plain(self.engine.format_number(int(digit)).text) for digit in digits)


def _apart(match: re.Match, words: str) -> str:
    """`words` with a space at each side where they would touch a letter or a symbol."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    left = "" if not before or before.isspace() or before in _OPENING else " "
    right = "" if not after or after.isspace() or after in _CLOSING else " "
    return f"{left}{words}{right}"


def _plain(words: str) -> str:
    """The words without soft hyphens and zero-width spaces, and with plain apostrophes."""
    words = words.replace("\u00ad", "").replace("\u200b", " ")
    return " ".join(words.replace("ʼ", "'").replace("’", "'").split())


@lru_cache
def speller(language: str) -> Speller:
    """The speller of a language. Raises `UserError` if there are no rules for its numbers."""
    from unicode_rbnf import RbnfEngine

    base = language.split("_")[0]
    if base in _REFUSED:
        raise UserError(
            f"text.numbers: spell is not for text.language {language}, whose numbers depend on "
            "what is counted; write them out in the transcripts and leave text.numbers out"
        )
    known = RbnfEngine.get_supported_languages()
    name = language if language in known else base
    if name not in known:
        raise UserError(
            f"text.numbers: spell does not know text.language {language}; known are "
            f"{', '.join(n for n in known if '_' not in n and n not in _REFUSED)}; "
            "leave text.numbers out, or write numbers out in the transcripts"
        )
    return Speller(RbnfEngine.for_language(name), _STYLES.get(base, Style()), base == "en")
