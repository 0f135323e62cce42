"""Parquet with audio, as Hugging Face stores data sets: bytes in the table, or paths of files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr.data.importers.base import NO, SURE, Importer, ImportLog, ImportSettings, Source
from asr.data.importers.columns import AudioFinder, Columns, find_columns, to_utterance, with_split
from asr.data.manifest import Utterance
from asr.errors import UserError

ROW = "\0row"  # the column of the id if the table has none
BATCH_ROWS = 32  # rows in memory at a time, with their audio
_PART = re.compile(r"-\d+-of-\d+$")  # train-00000-of-00002


class _Stored:
    """An `AudioFinder` that writes the bytes of the current row to the store, if it has bytes."""

    def __init__(self, path: Path, settings: ImportSettings):
        self.finder, self.store = AudioFinder(path, settings.audio_root), settings.store
        self.data: bytes | None = None

    def find(self, name: str):
        return self.finder.find(name) if self.data is None else self.store.put(name, self.data)


def sniff(source: Source) -> int:
    return SURE if _files(source) else NO


def read(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    for path in _files(source):
        split = source.set_of(path, _PART.sub("", path.stem))
        for utterance in _read(path, settings, log):
            yield with_split(utterance, split)


def _read(path: Path, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"{path}: reading parquet needs pyarrow: pip install pyarrow") from None
    try:
        file = parquet.ParquetFile(path)
        columns = find_columns(file.schema_arrow.names, settings.columns, path)
        columns = Columns({"id": ROW} | columns.of)
        number, stored = 0, _Stored(path, settings)
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            for row in batch.to_pylist():
                where, name = f"{path}: row {number}", f"{path.stem}-{number:07d}"
                number += 1
                row, stored.data = _with_name(row | {ROW: name}, columns.of["audio"], name)
                found = to_utterance(row, columns, stored, where, log)
                if found is not None:
                    yield found
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: not a parquet file, or damaged: {error}") from None


def _with_name(row: dict[str, Any], column: str, name: str) -> tuple[dict[str, Any], bytes | None]:
    """The row with the name of a file as its audio, and the bytes of the audio, or None.

    The audio of a row is {bytes, path}, bytes, {array, sampling_rate}, or a path.
    """
    audio, data = row[column], None
    if isinstance(audio, bytes):
        audio, data = name, audio
    elif isinstance(audio, dict):
        path = audio.get("path")
        if audio.get("bytes") is not None:
            # Names may occur twice in a data set; the number of the row does not.
            suffix = Path(path).suffix if path else ""
            audio, data = name + suffix, audio["bytes"]
        elif audio.get("array") is not None and audio.get("sampling_rate"):
            samples, file = np.asarray(audio["array"], np.float32), io.BytesIO()
            soundfile.write(file, samples, int(audio["sampling_rate"]), "FLOAT", format="WAV")
            audio, data = name + ".wav", file.getvalue()
        else:
            audio = path
    return row | {column: audio}, data


def _files(source: Source) -> list[Path]:
    if not source.is_dir:
        return [source.path] if source.suffix == ".parquet" else []
    return sorted(source.with_suffix(".parquet"))


IMPORTER = Importer("parquet", "parquet with audio, as Hugging Face stores it", sniff, read)
