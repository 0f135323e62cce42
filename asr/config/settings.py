"""Descriptions of all settings: default, allowed values and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from asr.config.root import Config
from asr.config.section import Section

BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
TYPES = {int: "integer", float: "number", str: "text", bool: "true or false"}


@dataclass(frozen=True)
class Setting:
    """The description of one setting."""

    key: str  # such as "train.epochs"
    default: Any  # None if there is none, as for `name`
    values: str  # the values it accepts, such as "integer, at least 1"
    meaning: str  # a sentence
    conditions: tuple[str, ...] = ()  # conditions for an effect, such as "optimizer=sgd"


def settings() -> list[Setting]:
    """All settings, in the order of a recipe."""
    found = []
    sections = Config.sections()
    for name, field in Config.model_fields.items():
        if name in sections:
            found += [
                _setting(f"{name}.{key}", below, sections[name], key)
                for key, below in sections[name].model_fields.items()
            ]
        else:
            found.append(_setting(name, field, Config, name))
    return found


def _setting(key: str, field: FieldInfo, section: type[Section], name: str) -> Setting:
    conditions = tuple(needs.condition for at, needs in section.needs() if at == name)
    default = None if field.is_required() else field.get_default()
    return Setting(key, default, _values(field), field.description or "", conditions)


def _values(field: FieldInfo) -> str:
    bounds = [
        f"{words} {getattr(one, bound):g}"
        for one in field.metadata
        for bound, words in BOUNDS.items()
        if getattr(one, bound, None) is not None
    ]
    return ", ".join([_kind(field.annotation), *bounds])


def _kind(annotation: Any) -> str:
    """A type in words: `int | None` -> "integer or null"."""
    if annotation in TYPES:
        return TYPES[annotation]
    if annotation is type(None):
        return "null"
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin is list or (origin is tuple and parts[-1] is ...):
        return f"list of {_kind(parts[0])}"
    if origin is tuple:
        return f"[{', '.join(map(_kind, parts))}]"
    if origin is dict:
        return "names with values"
    if hasattr(annotation, "__metadata__"):  # Annotated, as PositiveFloat is
        return _kind(parts[0])
    return " or ".join(map(_kind, parts))  # a union
