"""Atomic writes: files are written under a temporary name, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from asr.errors import UserError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write to the path that this yields; it replaces `path` when the block ends without an error.

    Missing folders are made. If the block raises, `path` is unchanged. Raises `UserError` if
    nothing can be written there.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:  # from the first moment on, so that Ctrl-C leaves nothing behind
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.touch()
        except OSError as error:
            reason = f"{error.strerror}: {error.filename}"
            raise UserError(f"{path}: cannot be written: {reason}") from None
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())  # or the rename may reach the disk before the data
        os.replace(beside, path)
    finally:
        with suppress(OSError):  # a folder that could not be made
            beside.unlink()


def write(path: str | Path, data: str | bytes) -> None:
    """Write text (as UTF-8) or bytes atomically."""
    if isinstance(data, str):
        data = data.encode(errors="backslashreplace")  # file names need not be valid Unicode
    with replacing(path) as beside:
        beside.write_bytes(data)


def below(folder: str | Path, name: str) -> Path:
    """The path of `name`, which comes from data, inside the folder even if `name` is absolute.

    Raises `UserError` if `name` leads out of the folder.
    """
    inside = Path(name).relative_to(Path(name).anchor)
    if ".." in inside.parts:
        raise UserError(f"{name}: leads out of the folder {folder}; give it another id")
    return Path(folder) / inside
