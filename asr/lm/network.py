"""A network of the words of sentence templates, with the slots that the words fill.

A network is a directed graph without cycles. An arc has a fragment of text (a part of a word, or
the space between words), or no text, and instructions for the slots. A list or a rule adds its
parts once for each place that names it, so the size of a network is the sum of the sizes of its
parts and never their product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from asr.errors import UserError
from asr.lm.spoken_numbers import add_numbers
from asr.lm.templates import Definitions, SlotList, Template, parse_range
from asr.text.numbers import speller

SPACE = " "
MOST_PERMUTED = 8  # items of a permutation, which has 2^N states
# Instructions: ("template", number), ("set", slot, value), ("number", slot, multiplier) and
# ("add", n), which adds n to the number of the slot that was named last.
Instruction = tuple[Any, ...]


class GrammarTooLarge(UserError):
    """A grammar needs more arcs or states than are allowed."""


@dataclass
class ArcBudget:
    """Counts the arcs that are made or followed while a grammar is compiled.

    Their number bounds both the time and the memory, and is the same on every machine.
    most: above it, `spend` raises `GrammarTooLarge`; None for no limit.
    """

    most: int | None = None
    spent: int = 0

    def spend(self, arcs: int = 1) -> None:
        self.spent += arcs
        if self.most is not None and self.spent > self.most:
            raise GrammarTooLarge(
                f"it needs more than {self.most} arcs to compile; shorten its lists and ranges"
            )


class Arc(NamedTuple):
    """An arc of a network."""

    text: str  # a part of a word, SPACE, or ""
    to: int
    instructions: tuple[Instruction, ...] = ()
    weight: float = 0.0  # a natural log, at most 0: the heaviest of several choices has 0


@dataclass
class Network:
    """States are numbers from 0, the start."""

    arcs: list[list[Arc]] = field(default_factory=lambda: [[]])
    final: int = 0
    budget: ArcBudget = field(default_factory=ArcBudget)

    def state(self) -> int:
        """A new state."""
        self.arcs.append([])
        return len(self.arcs) - 1

    def connect(
        self, source: int, to: int, *instructions: Instruction, text: str = "", weight: float = 0.0
    ) -> None:
        self.budget.spend()
        self.arcs[source].append(Arc(text, to, instructions, weight))

    def say(self, source: int, text: str) -> int:
        """Add a chain of fragments; returns the state after it."""
        for part in _parts(text):
            to = self.state()
            self.connect(source, to, text=part)
            source = to
        return source


class WordArc(NamedTuple):
    """A whole word from one state to another, both between words."""

    word: str
    to: int
    instructions: tuple[Instruction, ...]
    weight: float


def _parts(text: str) -> Iterator[str]:
    """The words of a text, and the spaces before, between and after them."""
    for i, word in enumerate(text.split(SPACE)):
        if i:
            yield SPACE
        if word:
            yield word


def build_network(definitions: Definitions, budget: ArcBudget) -> Network:
    """The network of all templates of a grammar.

    Raises `UserError` for a list or rule that is not defined, a rule that contains itself, and a
    list of any words (a wildcard), and `GrammarTooLarge` if the budget does not suffice.
    """
    return _Builder(definitions, budget).build()


class _Builder:
    def __init__(self, definitions: Definitions, budget: ArcBudget):
        self._given = definitions
        self._network = Network(budget=budget)
        try:
            # Ranges share most of their numbers.
            self._spell: Callable[[str], str] = lru_cache(None)(speller(definitions.language))
        except UserError:  # a language whose numbers have no rule: its templates must not have any
            self._spell = str
        self._rules_open: list[str] = []
        self._template: Template

    def build(self) -> Network:
        network = self._network
        begin, end = network.state(), network.state()
        network.final = network.state()
        self._template = Template("skip_words", None)
        network.connect(0, begin)
        for word in self._given.skip_words:
            network.connect(self._add(word, 0), begin, text=SPACE)
            network.connect(self._add(word, network.say(end, SPACE)), network.final)
        network.connect(end, network.final)
        heaviest = max(template.weight for template in self._given.templates)
        for number, template in enumerate(self._given.templates):
            self._template = template
            first = network.state()
            weight = math.log(template.weight / heaviest)
            network.connect(begin, first, ("template", number), weight=weight)
            network.connect(self._add(template.expression, first), end)
        return network

    def _add(self, expression: Any, state: int) -> int:
        """Add an expression of hassil after `state`; returns the state after it."""
        from hassil.expression import (
            Alternative,
            ListReference,
            Permutation,
            RuleReference,
            TextChunk,
        )

        if isinstance(expression, TextChunk):
            return self._network.say(state, self._words(expression.original_text))
        if isinstance(expression, ListReference):
            return self._add_list(expression, state)
        if isinstance(expression, RuleReference):
            return self._add_rule(expression.rule_name, state)
        if isinstance(expression, Alternative):
            after = self._network.state()
            for item in expression.items:
                self._network.connect(self._add(item, state), after)
            return after
        if isinstance(expression, Permutation):
            return self._add_permutation(expression.items, state)
        for item in expression.items:
            state = self._add(item, state)
        return state

    def _words(self, text: str) -> str:
        """The text with numbers in words; the spaces at its ends are kept."""
        if not any(map(str.isalnum, text)):
            return text if text.isspace() else text.replace("%", f"{SPACE}percent{SPACE}")
        inner = text.strip()
        at = text.index(inner)
        return text[:at] + " ".join(self._spell(inner).split()) + text[at + len(inner) :]

    def _add_rule(self, name: str, state: int) -> int:
        rule = self._template.rules.get(name, self._given.rules.get(name))
        if rule is None:
            raise self._error(f"<{name}>: no such rule; add it to expansion_rules")
        if name in self._rules_open:
            raise self._error(f"<{name}>: the rule contains itself")
        self._rules_open.append(name)
        after = self._add(rule, state)
        self._rules_open.pop()
        return after

    def _add_permutation(self, items: list[Any], state: int) -> int:
        """All orders of the items; the states are the sets of the items that have been said."""
        if len(items) > MOST_PERMUTED:
            raise self._error(f"({len(items)} items in any order): give at most {MOST_PERMUTED}")
        states = {0: state}
        for said in range(1 << len(items)):
            for i, item in enumerate(items):
                if not said & 1 << i:
                    to = states.setdefault(said | 1 << i, self._network.state())
                    self._network.connect(self._add(item, states[said]), to)
        return states[(1 << len(items)) - 1]

    def _add_list(self, reference: Any, state: int) -> int:
        network = self._network
        name, slot = reference.list_name, reference.slot_name
        where = f"{self._given.name}: {self._template.text!r}"
        if slot != name and (inline := parse_range(name, where)):
            found: SlotList | None = SlotList(numbers=inline)
        else:
            found = self._template.lists.get(name, self._given.lists.get(name))
        if found is None and name[:1].isdigit():
            raise self._error(f"{{{name}}}: a range needs the name of a slot: {{{name}:number}}")
        if found is None:
            raise self._error(
                f"{{{name}}}: no such list, or a wildcard; give its values under lists"
            )
        if found.numbers is not None:
            first = network.state()
            network.connect(state, first, ("number", slot, found.numbers.multiplier))
            language = self._given.language
            return add_numbers(network, first, found.numbers.values, self._spell, language)
        after = network.state()
        heaviest = max(value.weight for value in found.values)
        for value in found.values:
            weight = math.log(value.weight / heaviest)
            end = self._add(value.expression, state)
            network.connect(end, after, ("set", slot, value.out), weight=weight)
        return after

    def _error(self, message: str) -> UserError:
        return UserError(f"{self._given.name}: {self._template.text!r}: {message}")


def words_after(network: Network, state: int) -> tuple[list[WordArc], list[WordArc]]:
    """The words that can begin in `state`, which lies between words, and the ends of the sentence.

    Returns the word arcs, which lead to the state after the space or to the final state, and arcs
    without a word to the final state. Of arcs that differ in their weights alone, the heaviest is
    returned.
    """
    found: dict[tuple[str, int, tuple[Instruction, ...]], float] = {}
    seen: dict[tuple[int, str, tuple[Instruction, ...]], float] = {}
    waiting: list[tuple[int, str, tuple[Instruction, ...], float]] = [(state, "", (), 0.0)]
    while waiting:
        at, word, instructions, weight = waiting.pop()
        if seen.get((at, word, instructions), -math.inf) >= weight:
            continue
        seen[at, word, instructions] = weight
        network.budget.spend(len(network.arcs[at]))
        if at == network.final:
            _keep_heaviest(found, (word, at, instructions), weight)
        for arc in reversed(network.arcs[at]):
            after, total = instructions + arc.instructions, weight + arc.weight
            if arc.text == SPACE and word:
                _keep_heaviest(found, (word, arc.to, after), total)
            else:
                text = "" if arc.text == SPACE else arc.text
                waiting.append((arc.to, word + text, after, total))
    arcs = [WordArc(word, to, after, weight) for (word, to, after), weight in found.items()]
    return [arc for arc in arcs if arc.word], [arc for arc in arcs if not arc.word]


def _keep_heaviest(found: dict, key: tuple, weight: float) -> None:
    if weight > found.get(key, -math.inf):
        found[key] = weight
