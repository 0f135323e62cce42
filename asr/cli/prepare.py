"""`asr prepare`: convert a corpus in any known format to manifests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.console import err, note, progress_bars, result, say_failed

if TYPE_CHECKING:
    from asr.data.importers import ImportLog
    from asr.data.manifest import Utterance
    from asr.data.prepare import Prepared, PreparedSet

FORMAT, SETS = "Format", "Sets"


def _option(metavar: str, help: str, panel: str):
    return typer.Option(metavar=metavar, help=help, rich_help_panel=panel)


@dataclass(frozen=True)
class FormatOptions:
    """How to read a source whose format or columns are not recognized automatically."""

    format: Annotated[str | None, _option("NAME", "The format, if not recognized.", FORMAT)] = None
    audio_column: Annotated[str | None, _option("NAME", "Column of the audio.", FORMAT)] = None
    text_column: Annotated[str | None, _option("NAME", "Column of the text.", FORMAT)] = None
    speaker_column: Annotated[str | None, _option("NAME", "Column of the speaker.", FORMAT)] = None
    id_column: Annotated[str | None, _option("NAME", "Column of the id.", FORMAT)] = None
    audio_root: Annotated[
        Path | None, _option("FOLDER", "The folder of relative audio paths.", FORMAT)
    ] = None
    tier: Annotated[str | None, _option("NAME", "Tier of a TextGrid or ELAN file.", FORMAT)] = None
    language: Annotated[
        str | None, _option("CODE", "Language of rows without one, such as de.", FORMAT)
    ] = None

    @property
    def columns(self) -> dict[str, str]:
        """{role of a column: its name}."""
        named = {
            "audio": self.audio_column,
            "text": self.text_column,
            "speaker": self.speaker_column,
            "id": self.id_column,
        }
        return {role: name for role, name in named.items() if name is not None}


@dataclass(frozen=True)
class SetOptions:
    """How utterances are split into training, dev and test sets."""

    dev: Annotated[
        float, _option("AMOUNT", "Share of the audio, or number of utterances, for dev.", SETS)
    ] = 0.1
    test: Annotated[
        float, _option("AMOUNT", "Share of the audio, or number of utterances, for test.", SETS)
    ] = 0.1
    split_by: Annotated[
        str | None,
        _option("NAME", "Keep its values in one set: speaker, text, utterance, a column.", SETS),
    ] = None
    seed: Annotated[int, _option("N", "Seed of the random split.", SETS)] = 0
    resplit: Annotated[
        bool,
        typer.Option("--resplit", help="Ignore the sets of the corpus.", rich_help_panel=SETS),
    ] = False


def prepare(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="A folder, table, archive or file of subtitles."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for the manifests.")
    ],
    formats: FormatOptions,
    sets: SetOptions,
    to: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help="Also export to nemo, kaldi, lhotse or huggingface."),
    ] = None,
    trust_durations: Annotated[
        bool,
        typer.Option("--trust-durations", help="Do not open audio whose duration is known."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the first rows, write nothing.")
    ] = False,
) -> None:
    """Write train, dev and test manifests of recordings and texts in any known format.

    No speaker is in two sets; if speakers are not known, no text is in two sets. A corpus that has
    its own sets keeps them.
    """
    from asr.data.exporters import check_format
    from asr.data.importers import ImportSettings
    from asr.data.prepare import prepare, preview
    from asr.data.split import SplitSettings

    if to is not None:
        check_format(to)
    settings = ImportSettings(formats.columns, formats.audio_root, formats.tier)
    if dry_run:
        _show(*preview(source, formats.format, settings))
        return
    split = SplitSettings(sets.dev, sets.test, sets.split_by, sets.seed)
    with progress_bars() as progress:
        task = progress.add_task("importing", total=None)
        prepared = prepare(
            source,
            output,
            format=formats.format,
            settings=settings,
            split=split,
            keep_sets=not sets.resplit,
            language=formats.language,
            open_audio=not trust_durations,
            progress=lambda: progress.advance(task),
        )
    _summarize(source, prepared)
    failed = prepared.log.faults
    for part in prepared.sets if to is not None else ():
        failed += _export(part, output / part.name, to)
    if failed:
        raise typer.Exit(1)


def _export(part: PreparedSet, folder: Path, to: str) -> int:
    """Export one set; returns the number of utterances that were left out."""
    from asr.data import manifest
    from asr.data.exporters import export_manifest

    with progress_bars() as progress:
        task = progress.add_task(f"writing {part.name}", total=part.utterances)
        utterances = manifest.read(part.path)
        exported = export_manifest(utterances, folder, to, lambda: progress.advance(task))
    for line in exported.left_out:
        say_failed("left out", line)
    names = ", ".join(path.name for path in exported.files)
    result(f"{folder}: {exported.utterances} utterances for {to}: {names}")
    return len(exported.left_out)


def _show(title: str, rows: list[Utterance], log: ImportLog) -> None:
    result(f"Recognized: {title}")
    for line in log.notes:
        note(line)
    for u in rows:
        end = "the end" if u.duration_s is None else f"{u.start_s + u.duration_s:.2f} s"
        speaker = f" {u.speaker}:" if u.speaker else ""
        result(f"{u.id} ({u.start_s:.2f} s to {end} of {u.audio}){speaker} {u.text}")
    for line in log.lines():
        note(line)


def _summarize(source: Path, prepared: Prepared) -> None:
    result(f"{source}: {prepared.format}")
    for line in prepared.log.notes:
        note(line)
    for part in prepared.sets:
        result(f"{part.path}: {part.utterances} utterances, {part.hours * 60:.1f} minutes")
    if len(prepared.sets) > 1:
        result(f"No {prepared.by} is in two of the sets.")
    log = prepared.log
    for line in log.lines():
        err.print(line, highlight=False, markup=False)
    if log.total:
        err.print(f"All {log.total} are listed in {prepared.left_out}", highlight=False)
