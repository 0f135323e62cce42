"""`asr config`: every setting with its value, what it may be, and what it means."""

from __future__ import annotations

import difflib
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.syntax import Syntax

from asr.cli.console import out
from asr.config import Config
from asr.errors import UserError

WIDTH = 96  # of comments
REQUIRED = "NAME"  # the value of a setting that has no default
NUMBERS = {int: "integer", float: "number", bool: "true or false", str: "text"}
BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def config(
    key: Annotated[
        str | None,
        typer.Argument(help="A section or a setting, such as train or train.epochs."),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe", metavar="PATH", help="Show the values of this recipe or model file."
        ),
    ] = None,
) -> None:
    """Print settings as YAML, with their defaults, allowed values and meaning."""
    settings = list(walk(Config, None if recipe is None else _read(recipe)))
    if key is not None:
        chosen = [s for s in settings if f"{s.key}.".startswith(f"{key}.")]
        if not chosen:
            near = nearest(key, [s.key for s in settings])
            raise UserError(f"{key}: no such setting" + (f"; did you mean {near}?" if near else ""))
        above = {".".join(key.split(".")[:i]) for i in range(1, key.count(".") + 1)}
        settings = [s for s in settings if s.key in above or s in chosen]
    text = to_yaml(settings, documented=key is None or key.count(".") == 0)
    if out.is_terminal:
        colored = Syntax("", "yaml", theme="ansi_dark", background_color="default")
        out.print(colored.highlight(text), end="")
    else:
        print(text)


@dataclass(frozen=True)
class Setting:
    """A setting, or a section of settings."""

    key: str  # dotted
    value: Any = None  # as the YAML has it
    section: bool = False
    allowed: str = ""  # which values are valid
    meaning: str = ""
    default: Any = None
    changed: bool = False  # `value` is another than the default
    only_with: str = ""  # the choice that the setting belongs to, unless it is the chosen one


def walk(
    kind: type[BaseModel], values: BaseModel | None = None, above: str = "", only_with: str = ""
) -> Iterator[Setting]:
    """The settings of a model class in their order: of `values`, or their defaults."""
    for name, field in kind.model_fields.items():
        key = f"{above}{name}"
        sections = _sections(field.annotation)
        if not sections:
            yield _setting(key, field, values, name, only_with)
            continue
        value = field.get_default(call_default_factory=True) if values is None else None
        value = value if values is None else getattr(values, name)
        meaning = field.description or _summary(type(value))
        yield Setting(key, section=True, meaning=meaning, only_with=only_with)
        told: set[str] = set()
        for section in sorted(sections, key=lambda s: not isinstance(value, s)):
            chosen = isinstance(value, section)
            choice = only_with if chosen else f"{name}.{_choice(section)}"
            of_values = value if values is not None and chosen else None
            for setting in walk(section, of_values, f"{key}.", choice):
                if setting.key not in told:
                    told.add(setting.key)
                    yield setting


def _setting(
    key: str, field: FieldInfo, values: BaseModel | None, name: str, only_with: str
) -> Setting:
    required = field.is_required()
    default = REQUIRED if required else field.get_default(call_default_factory=True)
    value = default if values is None else getattr(values, name)
    allowed = allowed_values(field.annotation, field.metadata) + (", required" if required else "")
    return Setting(
        key,
        _plain(value),
        allowed=allowed,
        meaning=field.description or "",
        default=_plain(default),
        changed=value != default and not required,
        only_with=only_with,
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The classes of a section; several where one of its settings chooses among them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        return [section for part in get_args(annotation) for section in _sections(part)]
    return []


def _choice(section: type[BaseModel]) -> str:
    """What chooses this class, such as kind=sgd."""
    for name, field in section.model_fields.items():
        if get_origin(field.annotation) is Literal:
            return f"{name}={get_args(field.annotation)[0]}"
    return section.__name__


def _summary(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def allowed_values(annotation: Any, metadata: list[Any] = ()) -> str:
    """Which values a setting takes, in words: `integer >= 1 or null`."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return allowed_values(parts[0], [*parts[1:], *metadata])
    if origin is Literal:
        return f"one of {', '.join(_yaml(part) for part in parts)}"
    if origin in (Union, types.UnionType):
        return " or ".join(allowed_values(part, metadata) for part in parts)
    if annotation is type(None):
        return "null"
    if origin is list:
        return f"list of [{allowed_values(parts[0])}]"
    if origin is tuple:
        return f"[{', '.join(allowed_values(part) for part in parts)}]"
    if origin is dict:
        return "keys and values"
    name = NUMBERS.get(annotation) or getattr(annotation, "__name__", str(annotation))
    return f"{name} {_bounds(metadata)}".strip() if annotation in (int, float) else name


def _bounds(metadata: list[Any]) -> str:
    limits = {
        bound: f"{getattr(item, bound):g}"
        for item in _flat(metadata)
        for bound in BOUNDS
        if getattr(item, bound, None) is not None
    }
    if limits.keys() == {"ge", "le"}:
        return f"from {limits['ge']} to {limits['le']}"
    return " and ".join(f"{BOUNDS[bound]} {limit}" for bound, limit in limits.items())


def _flat(metadata: list[Any]) -> Iterator[Any]:
    for item in metadata:
        yield from item.metadata if isinstance(item, FieldInfo) else [item]


def _yaml(value: Any) -> str:
    """A value on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False
    )
    return text.removesuffix("...\n").strip()


def to_yaml(settings: list[Setting], documented: bool = True) -> str:
    """Settings as a configuration file, a comment above each.

    Settings of a choice that is not made are comments as a whole.
    """
    lines: list[str] = []
    for setting in settings:
        *above, name = setting.key.split(".")
        indent = "  " * len(above)
        if not setting.section:
            lines += _comment(_explain(setting), indent)
            off = "# " if setting.only_with else ""
            lines.append(f"{indent}{off}{name}: {_yaml(setting.value)}")
            continue
        if not above and lines:
            lines.append("")
        lines.append(f"{indent}{name}:")
        if setting.meaning and documented:
            lines += _comment(setting.meaning, f"{indent}  ")
    return "\n".join(lines)


def _explain(setting: Setting) -> str:
    parts = [setting.meaning.rstrip("."), setting.allowed]
    if setting.changed:
        parts.append(f"default {_yaml(setting.default)}")
    if setting.only_with:
        parts.append(f"only with {setting.only_with}")
    return "; ".join(part for part in parts if part)


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def nearest(key: str, keys: list[str]) -> str | None:
    """The key that was probably meant: alike as a whole, or in its last part."""
    by_last = {known.rpartition(".")[2]: known for known in reversed(keys)}
    found = difflib.get_close_matches(key, keys, n=1, cutoff=0.7)
    last = difflib.get_close_matches(key.rpartition(".")[2], by_last, n=1, cutoff=0.7)
    return found[0] if found else by_last[last[0]] if last else None


def _read(path: Path) -> Config:
    if path.suffix == ".asr":
        from asr.model.model_file import load_model

        return load_model(path).config
    from asr.pipeline.run import load_recipe

    return load_recipe(path).config
