"""`asr config`: print every setting with its value, its allowed values and its meaning."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.syntax import Syntax

from asr.cli.console import out
from asr.errors import UserError

if TYPE_CHECKING:
    from asr.config import Config, Setting

WIDTH = 96  # characters in a line of comments
REQUIRED = "NAME"  # the value of a setting that has no default


def config(
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="A section or setting, such as train or train.epochs."),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Show the values of this recipe or model file."),
    ] = None,
) -> None:
    """Print settings as YAML, with their defaults, allowed values and meaning."""
    from asr.config import settings

    known = settings()
    chosen = [s for s in known if key is None or f"{s.key}.".startswith(f"{key}.")]
    if not chosen:
        near = nearest(key, known)
        raise UserError(f"{key}: no such setting" + (f"; did you mean {near}?" if near else ""))
    text = to_yaml(chosen, None if recipe is None else _read(recipe))
    if out.is_terminal:
        colored = Syntax("", "yaml", theme="ansi_dark", background_color="default")
        out.print(colored.highlight(text), end="")
    else:
        print(text, end="")


def to_yaml(chosen: Iterable[Setting], values: Config | None = None) -> str:
    """Settings as a configuration file with a comment above each.

    values: a resolved configuration; by default each setting has its default.
    """
    lines: list[str] = []
    section = None
    for setting in chosen:
        above, _, name = setting.key.rpartition(".")
        if above != section:
            lines += ["", f"{above}:"] if lines else [f"{above}:"] if above else []
            section = above
        indent = "  " if above else ""
        default = REQUIRED if setting.default is None and not above else setting.default
        value = default if values is None else _value(values, setting.key)
        lines += textwrap.wrap(
            _comment(setting, default, value),
            WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# ",
        )
        lines.append(f"{indent}{name}: {_yaml(value)}")
    return "\n".join(lines) + "\n"


def _comment(setting: Setting, default: Any, value: Any) -> str:
    facts = [setting.values]
    if default == REQUIRED:
        facts.append("required")
    elif value != default:
        facts.append(f"default {_yaml(default)}")
    facts += [f"needs {condition}" for condition in setting.conditions]
    return f"{setting.meaning} [{'; '.join(facts)}]"


def _value(values: Config, key: str) -> Any:
    return reduce(getattr, key.split("."), values)


def _yaml(value: Any) -> str:
    """A value on one line."""
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(
        plain, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False
    )
    return text.removesuffix("...\n").strip()


def nearest(key: str, known: Sequence[Setting]) -> str | None:
    """The setting or section whose name, or last part of the name, is most similar to `key`."""
    keys = [setting.key for setting in known]
    sections = [key.partition(".")[0] for key in keys if "." in key]
    by_last = {key.rpartition(".")[2]: key for key in reversed(keys)}
    whole = difflib.get_close_matches(key, [*keys, *dict.fromkeys(sections)], n=1, cutoff=0.7)
    last = difflib.get_close_matches(key.rpartition(".")[2], by_last, n=1, cutoff=0.7)
    return whole[0] if whole else by_last[last[0]] if last else None


def _read(path: Path) -> Config:
    from asr.recognition.model import is_model, read_model

    if is_model(path):
        return read_model(path).config
    from asr.pipeline.run import load_recipe

    return load_recipe(path).config
