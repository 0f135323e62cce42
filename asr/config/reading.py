"""Read a configuration from YAML and `section.key=value` overrides; an error is one line."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from asr.config.augment import POLICIES, apply_policy
from asr.config.model import PRESETS, make_room_for_streaming
from asr.config.root import Config
from asr.errors import UserError


def to_yaml(config: Config) -> str:
    """The resolved configuration: every setting that has an effect, with the values of presets."""
    values = config.model_dump(mode="json")
    for section, name, other, needs in Config.conditions():
        if not needs.holds(config[other]):
            values[section].pop(name, None)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def from_yaml(data: str | bytes) -> Any:
    """Parse the output of `to_yaml` to plain values; ten times as fast as PyYAML's own parser."""
    return yaml.load(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def override(key: str, value: Any) -> str:
    """The override `key=value` for a Python value; a string is parsed as YAML."""
    if isinstance(value, (list, tuple, set, frozenset)):
        value = json.dumps(list(value))
    elif value is None:
        value = "null"
    return f"{key}={value}"


class _Loader(yaml.SafeLoader):
    """YAML whose only booleans are true and false, as in YAML 1.2, so that `no` is a word.

    PyYAML follows YAML 1.1, in which `train.precision=no` and `text.language=no` are false. A
    setting that is a boolean accepts yes, no, on and off all the same.
    """


_BOOLEAN = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile("^(true|True|TRUE|false|False|FALSE)$"), "tTfF")


class _UniqueKeys(_Loader):
    """Raises an error if a key occurs twice; PyYAML would silently drop the first one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key.value!r} occurs twice, again in line {line}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file, then apply `section.key=value` overrides; later ones take precedence.

    An override also drops the settings of the file that have no effect with its value, such as
    `tokenizer.vocab_size` with `tokenizer.kind=characters`. Raises `UserError`, which names the
    file (or the override), the key, and the most similar valid key.
    """
    return parse(read(path), str(path), overrides)


def read(path: str | Path) -> Any:
    """The values of a YAML file, unchecked, with {} for an empty one; raises `UserError`."""
    path = Path(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return values if values is not None else {}


def parse(values: Any, source: str, overrides: Iterable[str] = ()) -> Config:
    """Like `load`, for values in memory. source: their name in error messages."""
    if not isinstance(values, dict):
        raise UserError(f"{source}: expected `key: value` lines, found {type(values).__name__}")
    values = copy.deepcopy(values)
    overridden: dict[str, str] = {}
    replaced: set[str] = set()  # settings of the file whose values a policy's have replaced
    # A preset or policy is applied first, because it replaces the values of another one.
    groups = ("model.preset=", "model.streaming=", "augment.strength=")
    for override in sorted(overrides, key=lambda text: not text.startswith(groups)):
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UserError(f"override {override!r}: write it as section.key=value")
        try:
            _put(values, key.split("."), yaml.load(text, _Loader))
        except yaml.YAMLError:
            raise UserError(f"override {override!r}: the value is not valid YAML") from None
        overridden[key] = override
        if key == "model.preset" and isinstance(values["model"], dict):
            for filled in PRESETS["small"]:
                values["model"].pop(filled, None)
        if key == "model.streaming" and isinstance(values["model"], dict):
            make_room_for_streaming(values)
        if key == "augment.strength" and isinstance(values["augment"], dict):
            policy = POLICIES.get(str(values["augment"]["strength"]), {})
            values["augment"] |= policy
            replaced |= {f"augment.{name}" for name in policy}
    if isinstance(values.get("augment"), dict):
        values["augment"] = apply_policy(values["augment"])
    _drop_idle(values, overridden.keys() | replaced, overridden)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error, source, overridden)) from None


def _put(values: dict, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(values.get(key), dict):
            values[key] = {}
        values = values[key]
    values[keys[-1]] = value


def _get(values: dict, keys: list[str]) -> Any:
    for key in keys:
        values = values[key]
    return values


def _drop_idle(values: dict, changed: Collection[str], overridden: Collection[str]) -> None:
    """Remove settings of the file that have no effect because of the values of `changed` ones."""
    for section, name, other, needs in Config.conditions():
        if other in changed and f"{section}.{name}" not in overridden:
            below = values.get(section)
            if isinstance(below, dict) and not needs.holds(_get(values, other.split("."))):
                below.pop(name, None)


def _explain(error: ValidationError, source: str, overridden: Mapping[str, str]) -> str:
    """The first validation error as one line."""
    first = error.errors(include_url=False)[0]
    section = "".join(f"{part}." for part in first["loc"])
    key = section.removesuffix(".")
    if first["type"] == "setting":  # ours: it names the setting and its value
        key = section + first["ctx"]["key"]
    # The error may be in a part of the value of an override, or in a key above the override.
    related = [o for k, o in overridden.items() if f"{k}.".startswith(f"{key}.") and key]
    related += [o for k, o in overridden.items() if f"{key}.".startswith(f"{k}.")]
    where = f"override {related[-1]!r}" if related else source
    if first["type"] == "setting":
        return f"{where}: {section}{first['msg']}"
    if first["type"] == "extra_forbidden":
        near = _nearest(key)
        return f"{where}: unknown key {key!r}" + (f"; did you mean {near!r}?" if near else "")
    if first["type"] == "missing":
        return f"{where}: key {key!r} is missing"
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{where}: {key}: {what}"
    return f"{where}: {key}: {what}, not {first['input']!r}"


def _nearest(key: str) -> str | None:
    """The valid dotted key that is most similar to `key`, or None."""
    valid = list(Config.model_fields)
    for name, section in Config.sections().items():
        valid += [f"{name}.{sub}" for sub in section.model_fields]
    parent, _, last = key.rpartition(".")
    siblings = {v.rpartition(".")[2]: v for v in valid if v.rpartition(".")[0] == parent}
    near = difflib.get_close_matches(last, siblings, n=1, cutoff=0.5)
    if near:
        return siblings[near[0]]
    by_last = {v.rpartition(".")[2]: v for v in valid}
    near = difflib.get_close_matches(last, by_last, n=1)
    return by_last[near[0]] if near else None
