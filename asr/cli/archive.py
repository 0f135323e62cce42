"""`asr transcribe --engine ray`: an archive on many machines."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from asr.cli.common import decoding, err, out, progress_bars, say_failed

if TYPE_CHECKING:
    from asr.cluster.worker import Work


def work_of(
    model: Path,
    device: str,
    lm: Path | None,
    hotword: list[str] | None,
    decoder: list[str] | None,
    vad: str,
    quantized: bool,
) -> Work:
    from asr.cluster.cluster import require_ray
    from asr.cluster.worker import Work

    require_ray()
    phrases, settings = decoding(hotword, decoder)
    return Work(model, device, lm, phrases, settings, vad, quantized)


def transcribe_on_ray(
    work: Work, audio: list[str], to: Path, address: str | None, overwrite: bool
) -> None:
    """Show how far it is, list what failed, and say where the results are."""
    from asr.cluster.archive import transcribe_archive
    from asr.data.sources import sources

    utterances = sources(audio)
    kept = failures = done = 0
    with (
        closing(transcribe_archive(work, utterances, to, address, overwrite)) as outcomes,
        progress_bars() as bars,
    ):
        task = bars.add_task("recordings", total=len(utterances))
        try:
            for outcome in outcomes:
                bars.advance(task)
                done += 1
                kept += outcome.kept
                if outcome.failure is not None:
                    failures += 1
                    say_failed("failed", outcome.failure)
        except KeyboardInterrupt:
            err.print("stopped; what is finished is written, the same command goes on")
            raise
    before = f", {kept} of them before" if kept else ""
    out.print(
        f"{done - failures} of {done} recordings{before}: {to}/part-*.jsonl",
        highlight=False,
        markup=False,
    )
    if failures:
        err.print(f"{failures} of {done} could not be transcribed (listed in {to}/failed.jsonl)")
        raise typer.Exit(2 if failures == done else 1)
