"""`asr doctor` and `asr bench`: check the installation, and benchmark a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from asr.cli.console import out, progress_bars, result
from asr.cli.options import AS_SAVED, Decoding, ModelArgument


def doctor() -> None:
    """Check the installation and the devices; say how to fix what is missing."""
    from asr.diagnostics.doctor import check_installation

    table = Table(show_header=False, box=None)
    checks = check_installation()
    for check in checks:
        table.add_row("ok" if check.ok else "[red]fix[/red]", check.name, Text(check.found))
    out.print(table)
    broken = [check for check in checks if not check.ok]
    for check in broken:
        result(f"{check.name}: {check.fix}")
    if broken:
        raise typer.Exit(1)
    out.print("no problem found")


def bench(
    model: ModelArgument,
    audio: Annotated[
        Path | None,
        typer.Argument(metavar="AUDIO", help="A recording of 3 s or more; by default noise."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    decoding: Decoding = AS_SAVED,
) -> None:
    """Measure the speed, latency and memory of a model on this machine."""
    from asr.diagnostics.bench import BATCHES, CLIP_S, LENGTHS_S
    from asr.diagnostics.bench import bench as measure

    with progress_bars() as bars:
        task = bars.add_task("measuring", total=2 + len(BATCHES) * len(LENGTHS_S))
        found = measure(model, lambda: decoding.load(model), audio, lambda: bars.advance(task))
    if as_json:
        print(json.dumps(found.to_dict(), indent=1))
        return
    out.print(
        f"{found.parameters / 1e6:.1f} M parameters, file size {found.file_mib:.1f} MiB, "
        f"loaded in {found.load_s:.2f} s"
    )
    out.print(
        f"latency of a recording of {CLIP_S:g} s: {1000 * found.latency_s:.0f} ms; the first time: "
        f"{1000 * found.first_s:.0f} ms"
    )
    stages = Table("stage", "ms", "real-time factor", "times real time")
    for stage in found.stages:
        stages.add_row(
            stage.name,
            f"{1000 * stage.seconds:.1f}",
            f"{stage.rtf:.5f}",
            f"{1 / stage.rtf:.0f}" if stage.rtf else "",
        )
    out.print(f"one recording of {found.audio_s:.1f} s:")
    out.print(stages)
    growth = Table("recordings", "each, s", "ms", "times real time", "peak MiB")
    for row in found.growth:
        growth.add_row(
            str(row.batch),
            f"{row.length_s:g}",
            f"{1000 * row.seconds:.0f}",
            f"{row.times_real_time:.0f}",
            f"{row.peak_mib:.0f}",
        )
    out.print("features and model, by batch and length:")
    out.print(growth)
