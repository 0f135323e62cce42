"""Ranges of numbers in words, as a network whose parts are shared.

In most languages the words of 1234 are those of 1200 followed by those of 34, so the words for 1 to
99 are needed once, and not after each of the hundreds. Whether this holds is tested with the words
themselves. Where it does not hold (German writes a number as one word), each number is listed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from asr.errors import UserError

if TYPE_CHECKING:
    from asr.lm.network import Network

BASES = (100, 1000, 10**6, 10**9)
MOST_LISTED = 10_000  # numbers of a range whose words cannot be shared
# Multiples of a base, and numbers after it, that stand for all others when the words are tested
_MULTIPLES = (1, 2, 3, 9, 10, 21, 80, 100, 999)
_RESTS = (1, 2, 7, 10, 11, 15, 20, 21, 34, 80, 99, 100, 101, 219, 999, 1000, 21_345, 999_999)
# What is said besides the words of the formats: "one hundred and five", "a hundred"
_AND, _ONE = {"en": "and"}, {"en": ("one ", "a ")}


def add_numbers(
    network: Network, state: int, values: range, spell: Callable[[str], str], language: str
) -> int:
    """Add the words of whole numbers after `state`; returns the state after them.

    The instructions ("add", n) on the way of a number add up to it. spell: the words of the numbers
    of a text. Raises `UserError` if the words of more than `MOST_LISTED` numbers would be listed.
    """
    return _Numbers(network, spell, language.split("_")[0]).add(state, values)


class _Numbers:
    def __init__(self, network: Network, spell: Callable[[str], str], language: str):
        self._network, self._spell = network, spell
        self._and = _AND.get(language)
        self._one = _ONE.get(language)
        self._after = network.state()
        self._shared: dict[range, int] = {}  # the state before the rest of a number
        self._listed = 0
        self._composing: dict[int, bool] = {}  # by base, whether words compose

    def add(self, state: int, values: range) -> int:
        negative = range(values.start, min(0, values.stop), values.step)
        self._list(state, negative)
        self._add(state, values[len(negative) :], whole=True)
        return self._after

    def _add(self, state: int, values: range, whole: bool) -> None:
        """Add the words of `values`; whole: whether nothing was said of the number before."""
        base = max((b for b in BASES if len(values) and values[-1] >= b), default=0)
        if not base:
            self._list(state, values)
            return
        if base not in self._composing:
            self._composing[base] = _composes(self._spell, base)
        for part in _multiples(values, base):
            multiple = part[0] // base * base
            rest = range(part.start - multiple, part.stop - multiple, part.step)
            if multiple == 0:
                self._add(state, rest, whole)
            elif self._composing[base]:
                self._add_multiple(state, multiple, rest, whole)
            else:
                self._list(state, part)

    def _add_multiple(self, state: int, multiple: int, rest: range, whole: bool) -> None:
        """Add the numbers `multiple` + r for each r of `rest`."""
        readings = [self._spell(str(multiple))]
        if whole and self._one and readings[0].startswith(self._one[0]):
            readings.append(self._one[1] + readings[0].removeprefix(self._one[0]))
        for words in readings:
            said = self._network.say(state, words)
            if rest[0] == 0:
                self._network.connect(said, self._after, ("add", multiple))
            following = rest[1:] if rest[0] == 0 else rest
            if len(following):
                self._network.connect(said, self._rest(following), ("add", multiple), text=" ")

    def _rest(self, values: range) -> int:
        """The state before `values` as the rest of a larger number."""
        if values not in self._shared:
            state, numbers = self._network.state(), self._network.state()
            self._shared[values] = state
            self._network.connect(state, numbers)
            self._add(numbers, values, whole=False)
            small = range(values.start, min(values.stop, 100), values.step)
            if self._and and len(small):
                said = self._network.say(state, f"{self._and} ")
                if len(small) == len(values):
                    self._network.connect(said, numbers)
                else:
                    self._add(said, small, whole=False)
        return self._shared[values]

    def _list(self, state: int, values: range) -> None:
        """Add each number by itself."""
        self._listed += len(values)
        if self._listed > MOST_LISTED:
            raise UserError(
                "the numbers of a range are single words in this language, of which at most "
                f"{MOST_LISTED} can be listed; give a smaller range or a larger step"
            )
        for value in values:
            number = str(value) if value >= 0 else f"\N{MINUS SIGN}{-value}"
            said = self._network.say(state, self._spell(number))
            self._network.connect(said, self._after, ("add", value))


def _composes(spell: Callable[[str], str], base: int) -> bool:
    """Whether the words of a multiple of `base` + r, for r < base, are those of both in turn."""
    following = min((b for b in BASES if b > base), default=base * 1000)
    return all(
        spell(str(multiple * base + rest)) == f"{spell(str(multiple * base))} {spell(str(rest))}"
        for multiple in _MULTIPLES
        for rest in _RESTS
        if multiple * base < following and rest < base
    )


def _multiples(values: range, base: int) -> list[range]:
    """`values` in parts with the same multiple of `base`."""
    starts = [0]
    for multiple in range(values[0] // base + 1, values[-1] // base + 1):
        at = -(-(multiple * base - values[0]) // values.step)
        if at > starts[-1]:
            starts.append(at)
    return [values[a:b] for a, b in pairwise([*starts, len(values)])]
