"""Exporters: each writes a manifest in the format of another toolkit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from asr.data.exporters.base import Exported, Exporter
from asr.data.exporters.huggingface import HUGGINGFACE
from asr.data.exporters.kaldi import KALDI
from asr.data.exporters.lhotse import LHOTSE
from asr.data.exporters.nemo import NEMO
from asr.data.manifest import Utterance
from asr.errors import UserError

EXPORTERS: dict[str, Exporter] = {
    exporter.name: exporter for exporter in (NEMO, KALDI, LHOTSE, HUGGINGFACE)
}

__all__ = ["EXPORTERS", "Exported", "Exporter", "check_format", "export_manifest"]


def export_manifest(
    utterances: Iterable[Utterance],
    folder: str | Path,
    format: str,
    progress: Callable[[], None] = lambda: None,
) -> Exported:
    """Write utterances to a folder in the format of another toolkit.

    Audio that this format cannot refer to is written to FOLDER/audio: audio inside archives, and
    for Hugging Face also segments of longer recordings. Raises `UserError` if the format is unknown
    or the folder cannot be written.
    """
    check_format(format)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None
    return EXPORTERS[format].write(utterances, folder, progress)


def check_format(format: str) -> None:
    """Raises `UserError` for an unknown format."""
    if format not in EXPORTERS:
        raise UserError(f"{format}: no such format; choose one of {', '.join(EXPORTERS)}")
