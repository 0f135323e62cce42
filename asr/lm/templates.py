"""Sentence templates: the files and values that a grammar is made of, checked and parsed.

The syntax is that of Hassil, in which Home Assistant's users write their sentences: `[optional]`,
`(one|other)`, `(any;order)`, `{list}`, `{list:slot}`, `{0..100,10:slot}` and `<rule>`. The package
hassil parses it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from asr.errors import UserError

INSTALL_HASSIL = "pip install 'asr[commands]'"
TOP_KEYS = ("language", "intents", "sentences", "lists", "expansion_rules", "skip_words")
# Keys of Home Assistant's files that say nothing about the words of a sentence
IGNORED_KEYS = ("settings", "responses")
DATA_KEYS = ("sentences", "slots", "weight", "lists", "expansion_rules")
IGNORED_DATA_KEYS = (
    "metadata",
    "response",
    "requires_context",
    "excludes_context",
    "required_keywords",
    "inferred_domain",
    "name_domains",
    "settings",
)
LARGEST = 10**12 - 1  # number of a range
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:,(\d+))?")


@dataclass(frozen=True)
class Value:
    """One value of a list: the words that are said, and the value of the slot."""

    expression: Any
    out: Any
    weight: float = 1.0


@dataclass(frozen=True)
class NumberRange:
    """The whole numbers from `start` to `stop`, which is included, spoken in words."""

    start: int
    stop: int
    step: int = 1
    multiplier: float | None = None  # the slot has the number times this

    @property
    def values(self) -> range:
        return range(self.start, self.stop + 1, self.step)


@dataclass(frozen=True)
class SlotList:
    """The values of a list, or its numbers."""

    values: tuple[Value, ...] = ()
    numbers: NumberRange | None = None


@dataclass(frozen=True)
class Template:
    """A sentence template with the intent that it stands for."""

    text: str
    expression: Any
    intent: str | None = None
    slots: dict[str, Any] = field(default_factory=dict)  # slots that the words do not name
    weight: float = 1.0
    lists: dict[str, SlotList] = field(default_factory=dict)  # lists of this intent alone
    rules: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Definitions:
    """All that a grammar file defines. `name` is the file, for messages."""

    name: str
    language: str
    templates: tuple[Template, ...]
    lists: dict[str, SlotList]
    rules: dict[str, Any]
    skip_words: tuple[Any, ...]


def read_source(source: str | Path | Mapping[str, Any] | Sequence[str]) -> tuple[str, str]:
    """The name and the YAML text of a grammar.

    source: the path of a YAML file, the contents of one as a dict, or a list of templates. Raises
    `UserError` if the file cannot be read.
    """
    if isinstance(source, (str, Path)):
        try:
            return str(source), Path(source).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{source}: cannot be read as a grammar: {error}") from None
    contents = dict(source) if isinstance(source, Mapping) else {"sentences": list(source)}
    return "grammar", yaml.safe_dump(contents, allow_unicode=True, sort_keys=False)


def parse_definitions(text: str, name: str) -> Definitions:
    """Parse the YAML text of a grammar.

    Raises `UserError` for text that is not YAML, for an unknown key, for a template with an error,
    and if there is no sentence.
    """
    try:
        contents = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(contents, dict):
        raise UserError(f"{name}: a grammar is a mapping with the keys {', '.join(TOP_KEYS)}")
    _check_keys(contents, TOP_KEYS, IGNORED_KEYS, name)
    templates = [
        Template(str(sentence), _parse(sentence, name))
        for sentence in _list_of(contents, "sentences", name)
    ]
    for intent, given in _mapping_of(contents, "intents", name).items():
        templates += _intent_templates(intent, given, f"{name}: intent {intent}")
    if not templates:
        raise UserError(f"{name}: has no sentence; list templates under sentences: or intents:")
    return Definitions(
        name=name,
        language=str(contents.get("language", "en")),
        templates=tuple(templates),
        lists=_lists(contents, name),
        rules=_rules(contents, name),
        skip_words=tuple(_parse(word, name) for word in _list_of(contents, "skip_words", name)),
    )


def _intent_templates(intent: str, given: Any, where: str) -> list[Template]:
    if isinstance(given, Mapping):
        _check_keys(given, ("data",), IGNORED_DATA_KEYS, where)
        blocks = _list_of(given, "data", where)
    else:  # the short form: a list of sentences
        blocks = [{"sentences": given}]
    templates = []
    for block in blocks:
        if not isinstance(block, Mapping):
            raise UserError(f"{where}: {block!r} is not a mapping with the key sentences")
        _check_keys(block, DATA_KEYS, IGNORED_DATA_KEYS, where)
        shared = {
            "intent": intent,
            "slots": _mapping_of(block, "slots", where),
            "weight": _weight(block, where),
            "lists": _lists(block, where),
            "rules": _rules(block, where),
        }
        templates += [
            Template(str(sentence), _parse(sentence, where), **shared)
            for sentence in _list_of(block, "sentences", where)
        ]
    return templates


def _lists(contents: Mapping[str, Any], where: str) -> dict[str, SlotList]:
    return {
        str(name): slot_list
        for name, given in _mapping_of(contents, "lists", where).items()
        if (slot_list := _slot_list(given, f"{where}: list {name}")) is not None
    }


def _slot_list(given: Any, where: str) -> SlotList | None:
    """A list in any of its forms; None for a wildcard, which is an error where it is used."""
    if isinstance(given, str) and (numbers := parse_range(given, where)):
        return SlotList(numbers=numbers)
    if isinstance(given, Mapping):
        if given.get("wildcard"):
            return None
        if isinstance(given.get("range"), Mapping):
            r = given["range"]
            _check_keys(r, ("from", "to", "step", "multiplier"), _RANGE_IGNORED, where)
            step, multiplier = r.get("step", 1), r.get("multiplier")
            return SlotList(
                numbers=_number_range(r.get("from"), r.get("to"), step, multiplier, where)
            )
        given = given.get("values")
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise UserError(f"{where}: give a list of values, or a range such as 0..100")
    return SlotList(values=tuple(_value(one, where) for one in given))


_RANGE_IGNORED = ("type", "digits", "words", "words_language")


def parse_range(text: str, where: str) -> NumberRange | None:
    """The range of a text such as 0..100 or 0..100,5; None for any other text.

    where: the place in the file, for the message of a `UserError` about a range that is wrong.
    """
    match = _RANGE.fullmatch(text.replace(" ", ""))
    return _number_range(*match.groups(), None, where) if match else None


def _number_range(start: Any, stop: Any, step: Any, multiplier: Any, where: str) -> NumberRange:
    try:
        times = None if multiplier is None else float(multiplier)
        found = NumberRange(int(start), int(stop), int(1 if step is None else step), times)
    except (TypeError, ValueError):
        raise UserError(f"{where}: a range needs whole numbers from and to") from None
    if max(-found.start, found.stop) > LARGEST:
        raise UserError(f"{where}: a number of the range is larger than {LARGEST}; shorten it")
    if found.start > found.stop or found.step < 1:
        raise UserError(
            f"{where}: the range {found.start}..{found.stop},{found.step} has no number"
        )
    return found


def _value(given: Any, where: str) -> Value:
    if isinstance(given, Mapping):
        if "in" not in given:
            raise UserError(f"{where}: {dict(given)!r} has no `in`, the words that are said")
        said = str(given["in"])
        return Value(_parse(said, where), given.get("out", said), _weight(given, where))
    return Value(_parse(given, where), given)


def _rules(contents: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {
        str(name): _parse(body, f"{where}: rule {name}")
        for name, body in _mapping_of(contents, "expansion_rules", where).items()
    }


def _weight(given: Mapping[str, Any], where: str) -> float:
    weight = given.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise UserError(f"{where}: weight {weight!r} is not a number")
    if not 0 < weight < math.inf:
        raise UserError(f"{where}: weight {weight!r}; give a number above 0")
    return float(weight)


def _parse(sentence: Any, where: str) -> Any:
    """The expression of a template; YAML reads `on`, `off` and numbers as other types than text."""
    if isinstance(sentence, bool) or not isinstance(sentence, (str, int, float)):
        raise UserError(f"{where}: {sentence!r} is not a sentence; put it in quotes")
    try:
        from hassil.parse_expression import parse_sentence
        from hassil.parser import ParseError
    except ImportError:
        raise UserError(f"{where}: grammars need hassil; {INSTALL_HASSIL}") from None
    try:
        return parse_sentence(str(sentence)).expression
    except (ParseError, AssertionError) as error:
        raise UserError(f"{where}: {sentence!r}: {error or 'not a sentence template'}") from None


def _check_keys(
    given: Mapping[str, Any], known: Sequence[str], ignored: Sequence[str], where: str
) -> None:
    for key in given:
        if key not in known and key not in ignored:
            raise UserError(f"{where}: unknown key {key!r}; known are {', '.join(known)}")


def _list_of(contents: Mapping[str, Any], key: str, where: str) -> list[Any]:
    found = contents.get(key) or []
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise UserError(f"{where}: {key} is {found!r}; give a list")
    return list(found)


def _mapping_of(contents: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    found = contents.get(key) or {}
    if not isinstance(found, Mapping):
        raise UserError(f"{where}: {key} is {found!r}; give a mapping")
    return dict(found)
