"""Watch a folder for recordings; a file is reported when it is complete, and when it changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from asr.audio import AUDIO_SUFFIXES
from asr.errors import UserError

POLL_S = 1.0
STILL = 2  # a file is complete after this many polls without a change of size and time

State = tuple[int, int]  # bytes, nanoseconds


def watch(folder: str | Path, poll_s: float = POLL_S) -> Iterator[list[Path]]:
    """The audio files below a folder: first the existing ones, then new ones, without end.

    Yields a list at every poll, which is often empty. Polling, unlike the events of a file system,
    also detects files that other machines write into a shared folder. Raises `UserError` if the
    folder is missing or disappears.
    """
    folder = Path(folder)
    seen: dict[Path, tuple[State, int]] = {}  # state, polls without a change (above STILL: yielded)
    while True:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        states = {p: s for p in sorted(folder.rglob("*")) if (s := _state(p)) is not None}
        whole = []
        for path, state in states.items():
            before, polls = seen.get(path, (None, 0))
            polls = polls + 1 if state == before else 0
            if polls == STILL:
                whole.append(path)
            seen[path] = state, min(polls, STILL + 1)
        seen = {path: found for path, found in seen.items() if path in states}
        yield whole
        time.sleep(poll_s)


def _state(path: Path) -> State | None:
    """(size, modification time) of an audio file; None if it is not audio, missing or empty.

    An empty file has most likely just been created.
    """
    if path.suffix.lower() not in AUDIO_SUFFIXES or path.name.startswith("."):
        return None
    try:
        found = path.stat()
    except OSError:
        return None  # deleted in the meantime
    return (found.st_size, found.st_mtime_ns) if found.st_size and path.is_file() else None
