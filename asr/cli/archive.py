"""`asr transcribe --engine ray`: transcribe an archive on many machines."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.console import err, note, progress_bars, result, say_failed
from asr.cli.options import Decoding, Format
from asr.errors import UserError

if TYPE_CHECKING:
    from asr.cluster.worker import Work

Engine = Enum("Engine", {name: name for name in ("process", "ray")}, type=str)


@dataclass(frozen=True)
class EngineOptions:
    """The engine that transcribes: this process, or a Ray cluster."""

    engine: Annotated[
        Engine, typer.Option(help="Use this process, or all CPUs and machines of a Ray cluster.")
    ] = Engine.process
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Use this Ray cluster instead of starting one."),
    ] = None

    @property
    def is_ray(self) -> bool:
        return self.engine is Engine.ray

    def check(
        self,
        audio: list[str],
        output: Path | None,
        format: list[Format] | None,
        watch: Path | None,
    ) -> None:
        """Raise `UserError` for options that do not work on a cluster."""
        if format and list(format) != [Format.jsonl]:
            raise UserError("--engine ray writes JSON lines: leave --format out")
        if watch is not None or not audio or "-" in audio:
            raise UserError("--engine ray: give files, folders or manifests, not --watch or a pipe")
        if output is None:
            raise UserError("--engine ray: give a folder for the results, -o FOLDER")

    def work(self, model: Path, decoding: Decoding, vad: str) -> Work:
        """The settings of the workers."""
        from asr.cluster.cluster import require_ray
        from asr.cluster.worker import Work

        require_ray()
        d = decoding
        return Work(model, d.device, d.lm, d.hotwords, d.settings, vad, d.int8, d.grammar)


IN_THIS_PROCESS = EngineOptions()


def transcribe_on_ray(
    work: Work, audio: list[str], output: Path, address: str | None, overwrite: bool
) -> None:
    """Transcribe on Ray with a progress bar; list the failures and print the result folder."""
    from asr.cluster.archive import transcribe_archive
    from asr.data.sources import sources

    utterances = sources(audio)
    kept = failures = done = 0
    with (
        closing(transcribe_archive(work, utterances, output, address, overwrite)) as outcomes,
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
            note("stopped; finished transcripts are saved; the same command resumes from here")
            raise
    before = f", {kept} of them in an earlier run" if kept else ""
    result(f"{done - failures} of {done} recordings{before}: {output}/part-*.jsonl")
    if failures:
        err.print(
            f"{failures} of {done} could not be transcribed (listed in {output}/failed.jsonl)"
        )
        raise typer.Exit(2 if failures == done else 1)
