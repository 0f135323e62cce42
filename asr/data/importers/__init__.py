"""Importers: each reads one layout of a corpus; `read_source` finds out which it is."""

from __future__ import annotations

from pathlib import Path

from asr.data import manifest
from asr.data.importers.folder import read_folder
from asr.data.importers.kaldi import read_kaldi
from asr.data.manifest import Utterance
from asr.errors import UserError


def read_source(path: str | Path) -> tuple[list[Utterance], list[str]]:
    """Utterances of a manifest, a Kaldi folder, or a folder of recordings with texts beside them.

    Returns them with a line for each recording that was left out, saying why. Raises `UserError`
    where nothing is found.
    """
    path = Path(path)
    if path.is_file():
        return manifest.read(path), []
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    if (path / "wav.scp").is_file():
        return read_kaldi(path), []
    return read_folder(path)
