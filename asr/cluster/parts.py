"""A folder of results in part files, to which later runs add the missing results."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr import files
from asr.errors import UserError
from asr.recognition.transcribe import Failure

try:
    import fcntl
except ImportError:  # on Windows the folder is not locked
    fcntl = None

PART_ROWS = 1000
PART_S = 60.0  # interval between part files: the work lost when the process is killed


class PartFiles:
    """Results as JSON lines in `part-00000.jsonl` etc., each written atomically; a context manager.

    folder: created if it does not exist. settings: all settings that the texts depend on, as JSON
    types; they are stored in job.json, so that results of different models are never mixed.
    overwrite: whether to delete the existing results. part_rows, part_s: a part is written when it
    has this many rows, or after this many seconds.

    `done` maps the id of each existing result to its audio. Raises `UserError` when the existing
    results have other settings, a part is damaged, or another process is writing to the folder.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        overwrite: bool = False,
        part_rows: int = PART_ROWS,
        part_s: float = PART_S,
    ):
        self.folder, self.part_rows, self.part_s = Path(folder), part_rows, part_s
        job = self.folder / "job.json"
        self._lock = _lock(self.folder)
        try:
            written = sorted(self.folder.glob("part-[0-9]*.jsonl"))
            for path in [*written, job] if overwrite else ():
                path.unlink(missing_ok=True)
            written = [] if overwrite else written
            if written or job.exists():
                _compare(job, settings)
            else:
                files.write(job, json.dumps(settings, indent=2) + "\n")
            self.done: dict[str, str] = {}
            for path in written:
                self._read(path)
        except BaseException:
            self._unlock()
            raise
        self._next = 1 + max((int(path.stem.removeprefix("part-")) for path in written), default=-1)
        self._lines: list[bytes] = []
        self._failures: list[Failure] = []
        self._since_s = 0.0

    def __enter__(self) -> PartFiles:
        return self

    def __exit__(self, *_) -> None:
        """Write the pending results, also after an exception."""
        try:
            self._flush()
            self._write_failures()
        finally:
            self._unlock()

    def add(self, id: str, audio: str, line: bytes) -> None:
        """Add a result, as a JSON line. A part is written at `part_rows` rows or after `part_s`."""
        if id in self.done:
            raise ValueError(f"{id!r} has a result already")
        self.done[id] = audio
        if not self._lines:
            self._since_s = time.monotonic()
        self._lines.append(line)
        full = len(self._lines) >= self.part_rows
        if full or time.monotonic() - self._since_s >= self.part_s:
            self._flush()

    def add_failure(self, failure: Failure) -> None:
        """Add a row to failed.jsonl, a manifest of this run's failures with their reasons."""
        self._failures.append(failure)

    def _flush(self) -> None:
        if self._lines:
            files.write(self.folder / f"part-{self._next:05d}.jsonl", b"".join(self._lines))
            self._next += 1
            self._lines = []

    def _write_failures(self) -> None:
        path = self.folder / "failed.jsonl"
        if self._failures:
            rows = (
                {"id": u.id, "audio": u.audio, "start_s": u.start_s, "duration_s": u.duration_s}
                | {"reason": failure.reason}
                for failure in self._failures
                for u in [failure.utterance]
            )
            files.write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        else:
            path.unlink(missing_ok=True)

    def _read(self, path: Path) -> None:
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                row = json.loads(line)  # not `manifest.read`: paths may be invalid UTF-8
                id, audio = row["id"], row["audio"]
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(
                    f"{path}:{number}: not a result ({error}); delete the line to transcribe its "
                    "recording again"
                ) from None
            if id in self.done:
                raise UserError(
                    f"{path}:{number}: id {id!r} has a result already; delete one of the lines"
                )
            self.done[id] = audio

    def _unlock(self) -> None:
        os.close(self._lock)


def _lock(folder: Path) -> int:
    """Open and lock a file; the lock ends when the file is closed or the process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UserError(f"{folder}: another run is writing here; wait until it ends") from None
    return lock


def _compare(job: Path, settings: Mapping[str, Any]) -> None:
    try:
        written = json.loads(job.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{job}: cannot be read, so the settings of its results are unknown: {error}"
        ) from None
    for name, value in settings.items():
        if written.get(name) != value:
            raise UserError(
                f"{job.parent}: has results with another {name}: {written.get(name)}, not {value}; "
                "choose another folder"
            )
