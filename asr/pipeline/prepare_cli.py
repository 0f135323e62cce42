"""The command line that the prepare.py scripts of all recipes share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from asr.errors import Failed, UserError


def main(
    prepare: Callable[..., None], about: str, options: Mapping[str, Mapping[str, Any]]
) -> None:
    """Call `prepare(out, **options)` with the values of the command line.

    about: the docstring of the script; its first line becomes the help text. options: {flag, or its
    name without dashes: arguments of argparse's `add_argument`}. An error is printed in one line,
    and ends the script with status 2 (`UserError`) or 1 (a failure).
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write into")
    for flag, settings in options.items():
        parser.add_argument(flag if flag.startswith("-") else "-" * 2 + flag, **settings)
    try:
        prepare(**vars(parser.parse_args()))
    except UserError as error:
        parser.exit(2, f"{error}\n")
    except (OSError, Failed, BrokenExecutor) as error:
        parser.exit(1, f"failed: {error}\n")
