"""`asr corpus`: published corpora by name."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from asr.cli.console import err, out, result
from asr.errors import Failed, UserError


class Action(StrEnum):
    list = "list"
    get = "get"


def corpus(
    action: Annotated[Action, typer.Argument(metavar="ACTION", help="list or get.")],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Of the corpus to get.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where a corpus goes."),
    ] = None,
    archive: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="An archive of the corpus that is on disk already."),
    ] = None,
) -> None:
    """List published corpora, or download, unpack and prepare one of them."""
    from asr.data import corpora
    from asr.data.download import DownloadError

    if action is Action.list:
        out.print(_table(corpora.corpora()))
        return
    if name is None or output is None:
        raise UserError("get needs the name of a corpus and --output FOLDER")
    try:
        prepared, differences = corpora.get(name, output, archive or [])
    except DownloadError as error:
        raise Failed(str(error)) from None
    for part in prepared.sets:
        result(f"{part.path}: {part.utterances} utterances, {part.hours:.2f} hours")
    for line in [*prepared.log.notes, *prepared.log.lines(), *differences]:
        err.print(line, highlight=False, markup=False)
    if differences:
        raise typer.Exit(1)


def _table(corpora) -> Table:
    table = Table("name", "what it is", "download", "license", box=None, pad_edge=False)
    for name, each in corpora.items():
        size = f"{each.size / 1e9:.2f} GB" if each.size else "by hand"
        table.add_row(name, each.title, size, each.license)
    return table
