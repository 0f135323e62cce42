"""Grammars: the sentences that may be said, written as templates, and what they mean."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from asr.config import TextConfig
from asr.errors import UserError
from asr.lm.network import (
    SPACE,
    ArcBudget,
    GrammarTooLarge,
    Instruction,
    Network,
    WordArc,
    build_network,
    words_after,
)
from asr.lm.templates import Definitions, parse_definitions, read_source
from asr.lm.token_grammar import GrammarArrays, TokenNetwork, determinize
from asr.text.normalize import normalize
from asr.text.tokenizer import WORD_START, Tokenizer, unknown_characters

GrammarSource = str | Path | Mapping[str, Any] | Sequence[str]
Meaning = tuple[str | None, dict[str, Any]]  # the intent, and the slots by name


class Grammar:
    """The sentences of templates, each with an intent and typed slots.

    source: the path of a YAML file in Home Assistant's format, its contents as a dict, or a list of
    templates in Hassil's syntax:

    >>> grammar = Grammar(["turn (on|off) the light[s]", "dim to {0..100:level} percent"])
    >>> grammar
    <Grammar grammar: 2 templates, 105 sentences>

    most_arcs: how many arcs its construction, and then its compilation, may take; None for no
    limit. A million of them take about two seconds.

    `text` is the YAML that defines it and `language` the language of its numbers. Raises
    `UserError` for a file that cannot be read and for any error in it, and `GrammarTooLarge`.
    """

    def __init__(self, source: GrammarSource, most_arcs: int | None = None):
        name, text = read_source(source)
        self._define(name, text, ArcBudget(most_arcs))

    @classmethod
    def parse(cls, text: str, name: str = "grammar") -> Grammar:
        """The grammar of a YAML text; name: what messages call it."""
        grammar = cls.__new__(cls)
        grammar._define(name, text, ArcBudget())
        return grammar

    def _define(self, name: str, text: str, budget: ArcBudget) -> None:
        self.name, self.text = name, text
        self._definitions: Definitions = parse_definitions(text, name)
        self.language = self._definitions.language
        try:
            self._network: Network = build_network(self._definitions, budget)
        except GrammarTooLarge as error:
            raise GrammarTooLarge(f"{name}: {error}") from None
        self._words: dict[int, tuple[list[WordArc], list[WordArc]]] = {}
        self._compiled: tuple[tuple[str, bytes, TextConfig], CompiledGrammar] | None = None

    def __repr__(self) -> str:
        count = self.sentence_count
        return (
            f"<Grammar {self.name}: {self.template_count} templates, "
            f"{count if count < 10**6 else f'{count:.1e}'} sentences>"
        )

    @property
    def template_count(self) -> int:
        return len(self._definitions.templates)

    @property
    def intents(self) -> tuple[str, ...]:
        """The intents in the order of the file."""
        named = (template.intent for template in self._definitions.templates)
        return tuple(dict.fromkeys(intent for intent in named if intent is not None))

    @cached_property
    def sentence_count(self) -> int:
        """The number of ways through the templates; a sentence with two readings counts twice."""
        counts = self._ways
        return counts[0]

    @cached_property
    def _ways(self) -> list[int]:
        """For each state of the network, the number of ways from it to the end."""
        network = self._network
        counts = [-1] * len(network.arcs)
        counts[network.final] = 1
        stack = [0]
        while stack:
            state = stack[-1]
            missing = [arc.to for arc in network.arcs[state] if counts[arc.to] < 0]
            if missing and counts[state] < 0:
                stack += missing
                continue
            stack.pop()
            if counts[state] < 0:
                counts[state] = sum(counts[arc.to] for arc in network.arcs[state])
        return counts

    def sentences(self) -> Iterator[str]:
        """All sentences, for small grammars: each way through the templates gives one."""
        stack: list[tuple[int, str]] = [(0, "")]
        while stack:
            state, text = stack.pop()
            if state == self._network.final:
                yield " ".join(text.split())
            stack += [(arc.to, text + arc.text) for arc in reversed(self._network.arcs[state])]

    def sample(self, count: int, seed: int = 0) -> list[str]:
        """Distinct random sentences: at most `count`, fewer if the grammar has fewer.

        Each branch is as likely as any other, so that a long list does not crowd out the rest.
        """
        draw = random.Random(seed)
        found: dict[str, None] = {}
        for _ in range(20 * count):
            if len(found) == count:
                break
            found[self._draw(draw)] = None
        return list(found)

    def accepts(self, text: str) -> bool:
        """Whether a text, in the words of the templates, is one of the sentences."""
        states = {0}
        for word in text.split():
            states = {arc.to for s in states for arc in self._following(s)[0] if arc.word == word}
        return any(s == self._network.final or self._following(s)[1] for s in states)

    def _following(self, state: int) -> tuple[list[WordArc], list[WordArc]]:
        """`words_after` of a state, computed once."""
        if state not in self._words:
            self._words[state] = words_after(self._network, state)
        return self._words[state]

    def _draw(self, draw: random.Random) -> str:
        state, text = 0, ""
        while state != self._network.final:
            arcs = [arc for arc in self._network.arcs[state] if self._ways[arc.to]]
            arc = draw.choice(arcs)
            state, text = arc.to, text + arc.text
        return " ".join(text.split())

    def compile(self, tokenizer: Tokenizer, text: TextConfig) -> CompiledGrammar:
        """The grammar in the tokens of a model; kept for the next call with the same arguments.

        text: how the model's training texts were normalized. Raises `UserError` for a word with a
        character that the model cannot write and for a template that allows an empty sentence, and
        `GrammarTooLarge`.
        """
        key = (tokenizer.kind, tokenizer.to_bytes(), text)
        if self._compiled is None or self._compiled[0] != key:
            self._compiled = key, self._compile(tokenizer, text)
        return self._compiled[1]

    def _compile(self, tokenizer: Tokenizer, text: TextConfig) -> CompiledGrammar:
        self._network.budget.spent = 0
        try:
            network = TokenNetwork(self._network, partial(self._encode, tokenizer, text))
            arrays = determinize(network)
        except UserError as error:
            raise type(error)(f"{self.name}: {error}") from None
        return CompiledGrammar(self, network, arrays)

    def _encode(
        self, tokenizer: Tokenizer, config: TextConfig, word: str, first: bool
    ) -> list[tuple[int, ...]]:
        """The tokens of a word; none for a word without a letter."""
        text = normalize(word, config)
        alphabet: set[str] = getattr(tokenizer, "alphabet", set())
        for sign, replacement in (("-", SPACE), ("'", "")):
            if alphabet and sign not in alphabet:
                text = " ".join(text.replace(sign, replacement).split())
        if alphabet and (unknown := unknown_characters(text, alphabet)):
            raise UserError(
                f"the model cannot write {unknown!r} of the word {word!r}; spell it otherwise"
            )
        if not text:
            raise UserError(f"the word {word!r} has no letter; leave it out or write it in words")
        tokens = tokenizer.encode(text)
        if not first and not tokenizer.pieces[tokens[0]].startswith(WORD_START):
            tokens = [tokenizer.pieces.index(WORD_START), *tokens]
        return [tuple(tokens)]

    def meaning(self, instructions: Sequence[Instruction]) -> Meaning:
        """The intent and the slots of a sentence from the instructions on its way.

        A slot that is said more than once has a list of its values.
        """
        intent: str | None = None
        slots: dict[str, list[Any]] = {}
        multipliers: dict[tuple[str, int], float] = {}
        fixed: dict[str, Any] = {}
        last = ""
        for kind, *values in instructions:
            if kind == "template":
                template = self._definitions.templates[values[0]]
                intent, fixed = template.intent, template.slots
            elif kind == "set":
                slots.setdefault(values[0], []).append(values[1])
            elif kind == "number":
                last = values[0]
                slots.setdefault(last, []).append(0)
                if values[1] is not None:
                    multipliers[last, len(slots[last]) - 1] = values[1]
            else:
                slots[last][-1] += values[0]
        for (name, at), multiplier in multipliers.items():
            slots[name][at] *= multiplier
        said = {name: found[0] if len(found) == 1 else found for name, found in slots.items()}
        return intent, fixed | said


@dataclass(frozen=True)
class CompiledGrammar:
    """A grammar in the tokens of one model."""

    grammar: Grammar
    network: TokenNetwork
    arrays: GrammarArrays

    def meaning(self, tokens: Sequence[int]) -> Meaning | None:
        """The intent and the slots of a sentence; None if it is not in the grammar."""
        instructions = self.network.read(tokens)
        return None if instructions is None else self.grammar.meaning(instructions)
