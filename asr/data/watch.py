"""A folder that recordings are put into: each file once it is whole, and again when it changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from asr.audio import AUDIO_SUFFIXES
from asr.errors import UserError

POLL_S = 1.0
STILL = 2  # polls in which size and time stayed as they were: it is not being written any more

State = tuple[int, int]  # bytes, nanoseconds


def watch(folder: str | Path, poll_s: float = POLL_S) -> Iterator[list[Path]]:
    """The audio files below a folder, those there first, then those that come; forever.

    Yields at every poll, often an empty list. Polling also sees what other machines write into a
    shared folder, which a file system's events do not. Raises `UserError` where the folder is
    missing or vanishes.
    """
    folder = Path(folder)
    seen: dict[Path, tuple[State, int]] = {}  # and polls without a change; STILL: it was yielded
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
    """None for what is no audio file, or an empty one: most often not written yet."""
    if path.suffix.lower() not in AUDIO_SUFFIXES or path.name.startswith("."):
        return None
    try:
        found = path.stat()
    except OSError:
        return None  # gone meanwhile
    return (found.st_size, found.st_mtime_ns) if found.st_size and path.is_file() else None
