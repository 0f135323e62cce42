"""`asr doctor`: what is installed."""

from __future__ import annotations

import typer
from rich.table import Table
from rich.text import Text

from asr.cli.common import out


def doctor() -> None:
    """What is installed, on what device it runs, what is missing and how to mend it."""
    from asr.doctor import examine

    table = Table(show_header=False, box=None)
    findings = examine()
    for finding in findings:
        table.add_row("ok" if finding.ok else "[red]mend[/red]", finding.what, Text(finding.found))
    out.print(table)
    broken = [finding for finding in findings if not finding.ok]
    for finding in broken:
        out.print(f"{finding.what}: {finding.mend}", highlight=False, markup=False)
    if broken:
        raise typer.Exit(1)
    out.print("all is well")
