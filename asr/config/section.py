"""The base class of configuration sections, and the conditions on which settings depend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

MANIFESTS = (".jsonl", ".tsv", ".csv")


@dataclass(frozen=True)
class Needs:
    """Marks a setting that has an effect only if another setting has certain values.

    It is part of the annotation, as in `Annotated[float, one_of("optimizer", "sgd")]`. If the
    condition does not hold and the value is not the default, validation fails.
    """

    key: str  # the other setting: KEY in the same section, SECTION.KEY, or .KEY of no section
    holds: Callable[[Any], bool]  # whether a value of `key` fulfills the condition
    condition: str  # in words, for messages and help: "optimizer=sgd"


def one_of(key: str, *values: str) -> Needs:
    return Needs(
        key, lambda value: value in values, " or ".join(f"{key.lstrip('.')}={v}" for v in values)
    )


def above(key: str, least: int = 0) -> Needs:
    def holds(value: Any) -> bool:
        return isinstance(value, (int, float)) and value > least

    return Needs(key, holds, f"{key} above {least}")


def given(key: str) -> Needs:
    """The condition that `key` is neither null nor empty."""
    return Needs(key, bool, key)


def without(key: str) -> Needs:
    return Needs(key, lambda value: not value, f"no {key}")


def shards(key: str) -> Needs:
    """The condition that `key` names a folder of shards, not a manifest."""
    return Needs(key, lambda value: not str(value).endswith(MANIFESTS), f"shards as {key}")


def refuse(key: str, problem: str) -> PydanticCustomError:
    """The error "KEY PROBLEM"; `key` is relative to the section whose validator raises it."""
    return PydanticCustomError("setting", "{key} {problem}", {"key": key, "problem": problem})


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def needs(cls) -> Iterator[tuple[str, Needs]]:
        """Each pair (setting, condition) of this section, without subsections."""
        for name, field in cls.model_fields.items():
            yield from ((name, one) for one in field.metadata if isinstance(one, Needs))

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> Section:
        for name, needs in self.needs():
            if "." not in needs.key:
                require_effect(self, name, needs, getattr(self, needs.key))
        return self


def require_effect(section: Section, name: str, needs: Needs, other: Any, prefix: str = "") -> None:
    """Raise an error if `section.name` is set but has no effect. other: the value of `needs.key`.

    The default value is accepted, because a resolved configuration may state it.
    """
    value = getattr(section, name)
    if needs.holds(other) or value == type(section).model_fields[name].get_default():
        return
    problem = (
        f"{_plain(value)} has no effect with {needs.key.lstrip('.')}={_plain(other)}; "
        f"leave it out or give {needs.condition}"
    )
    raise refuse(f"{prefix}{name}", problem)


def _plain(value: Any) -> str:
    """A value as YAML writes it."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_plain, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def require_range(section: Section, low: str, high: str) -> None:
    """Raise an error if setting `low` is above setting `high`."""
    least, most = getattr(section, low), getattr(section, high)
    if least > most:
        raise refuse(low, f"{least:g} is above {high} {most:g}; give {low} <= {high}")


def require_order(section: Section, names: Collection[str]) -> None:
    """Raise an error if one of these settings, a range [min, max], has min above max."""
    for name in names:
        low, high = getattr(section, name)
        if low > high:
            raise refuse(name, f"[{low:g}, {high:g}] is empty; write it as [min, max]")
