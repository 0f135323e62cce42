"""Importers: each reads one format of corpora; `recognize` finds out which one it is."""

from __future__ import annotations

from asr.data.importers import (
    beside,
    common_voice,
    kaldi,
    lhotse,
    librispeech,
    ljspeech,
    named,
    parquet,
    shar,
    sphinx,
    tables,
    tedlium,
    voxforge,
    webdataset,
)
from asr.data.importers.base import Importer, ImportLog, ImportSettings, Source
from asr.errors import UserError

IMPORTERS: dict[str, Importer] = {
    importer.name: importer
    for importer in (
        librispeech.IMPORTER,
        tedlium.IMPORTER,
        ljspeech.IMPORTER,
        common_voice.IMPORTER,
        sphinx.IMPORTER,
        voxforge.IMPORTER,
        kaldi.IMPORTER,
        lhotse.IMPORTER,
        shar.IMPORTER,
        webdataset.IMPORTER,
        parquet.IMPORTER,
        tables.IMPORTER,
        *named.IMPORTERS,
        *beside.IMPORTERS,
    )
}

__all__ = ["IMPORTERS", "ImportLog", "ImportSettings", "Importer", "Source", "recognize"]


def recognize(source: Source, format: str | None = None) -> Importer:
    """The importer whose format a source has, or the one with the name `format`.

    Raises `UserError` if no format fits, or more than one.
    """
    if format is not None:
        if format not in IMPORTERS:
            raise UserError(f"{format}: no such format; choose one of {', '.join(IMPORTERS)}")
        return IMPORTERS[format]
    found = {importer: importer.sniff(source) for importer in IMPORTERS.values()}
    best = max(found.values())
    fitting = [importer for importer, answer in found.items() if answer == best and answer]
    if not fitting:
        what = "a folder without audio and texts" if source.is_dir else "a file"
        raise UserError(
            f"{source.path}: {what} in no format that is known; "
            f"the formats are {', '.join(IMPORTERS)}"
        )
    if len(fitting) > 1:
        names = " or ".join(f"{importer.name} ({importer.title})" for importer in fitting)
        raise UserError(f"{source.path}: could be {names}; name the format")
    return fitting[0]
