"""Lines of text from text files, plain or gzip, and from manifests."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from asr.data import manifest
from asr.errors import UserError

GZIP_MAGIC = b"\x1f\x8b"


def lines_of(path: str | Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, plain or gzip; raises `UserError` if it is damaged."""
    number = 0
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            for number, line in enumerate(gzip.open(raw) if packed else raw, 1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{number}: not UTF-8 ({error.reason}); convert it") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: damaged gzip file ({error}); download it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def sentences_of(
    paths: Iterable[str | Path], normalize: Callable[[str], str] = str.strip
) -> Iterator[str]:
    """The normalized, non-empty lines of text files and texts of manifests (.jsonl, .tsv, .csv)."""
    for path in map(Path, paths):
        if path.suffix in (".jsonl", ".tsv", ".csv"):
            lines = (utterance.text or "" for utterance in manifest.read(path))
        else:
            lines = lines_of(path)
        yield from filter(None, map(normalize, lines))
