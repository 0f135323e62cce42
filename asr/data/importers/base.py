"""What all importers share: their shape, their settings, and the record of what they leave out."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TextIO

from asr.data.importers.audio_store import AudioStore
from asr.data.manifest import Utterance
from asr.errors import UserError

NO, MAYBE, SURE = 0, 1, 2  # what `sniff` answers
LISTED_FILES = 2000  # of a folder, to recognize its format
HEAD_BYTES = 1 << 16
NAMED_EXAMPLES = 3  # of each reason


class ImportLog:
    """What an import decided, and what it left out: counts by reason, and the full list in a file.

    Memory does not grow with the number of entries.
    """

    def __init__(self, file: TextIO | None = None):
        self.file = file
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.faults = 0
        self.notes: list[str] = []  # decisions that a user should see, once each
        if file is not None:
            file.write("reason\twhere\tdetail\n")

    def leave_out(
        self, reason: str, where: object, detail: object = "", meant: bool = False
    ) -> None:
        """Rows with the same problem have the same `reason`; `where` and `detail` are the row's.

        `meant`: the corpus itself says so, or nothing is said there; it is no fault.
        """
        self.counts[reason] += 1
        self.faults += not meant
        where, detail = (" ".join(str(value).split()) for value in (where, detail))
        examples = self.examples.setdefault(reason, [])
        if len(examples) < NAMED_EXAMPLES:
            examples.append(f"{where}: {detail}" if detail else where)
        if self.file is not None:
            line = f"{reason}\t{where}\t{detail}\n"
            self.file.write(line.encode(errors="backslashreplace").decode())

    def note(self, text: str) -> None:
        if text and text not in self.notes:
            self.notes.append(text)

    @property
    def total(self) -> int:
        return self.counts.total()

    def lines(self) -> list[str]:
        """For people: each reason with its count and its first examples."""
        lines = []
        for reason, count in self.counts.most_common():
            lines.append(f"{count} left out: {reason}")
            lines += [f"  {example}" for example in self.examples[reason]]
            if count > len(self.examples[reason]):
                lines.append("  ...")
        return lines


@dataclass(frozen=True)
class ImportSettings:
    """What a user may say about a source; most sources need none of it."""

    # Role (id, audio, text, speaker, language, start, end, duration) -> name of the column.
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    audio_root: Path | None = None  # what relative paths of audio start from
    tier: str | None = None  # of a TextGrid or an ELAN file
    store: AudioStore = field(default_factory=AudioStore)


class Source:
    """A file or folder to import, and a cheap look at it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.exists():
            raise UserError(f"{path}: no such file or folder")
        self.is_dir = self.path.is_dir()

    @cached_property
    def files(self) -> list[Path]:
        """The first `LISTED_FILES` files of a folder, relative to it, those nearest to it first."""
        found: list[Path] = []
        if not self.is_dir:
            return found
        folders = deque([self.path])
        while folders and len(found) < LISTED_FILES:
            with os.scandir(folders.popleft()) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    elif not entry.name.startswith("."):
                        found.append(Path(entry.path).relative_to(self.path))
        return found[:LISTED_FILES]

    @cached_property
    def names(self) -> frozenset[str]:
        """Of the first files of a folder, without their folders."""
        return frozenset(path.name for path in self.files)

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """Of the first files, those whose names end in one of the suffixes, in any case."""
        found = [path for path in self.files if path.name.lower().endswith(suffixes)]
        return [self.path / path for path in found]

    def set_of(self, path: Path, name: str | None = None) -> str | None:
        """The set that a file in this folder belongs to, by its name or that of its folder.

        The name of the source itself says nothing: somebody's `test_recordings` are no test set.
        """
        found = set_name(path.name.split(".")[0] if name is None else name)
        if found is None and self.is_dir and path.parent != self.path:
            found = set_name(path.parent.name)
        return found

    @property
    def suffix(self) -> str:
        return "" if self.is_dir else self.path.suffix.lower()


@dataclass(frozen=True)
class Importer:
    """A format of corpora.

    `sniff` answers NO, MAYBE (a general layout that a more specific one overrides) or SURE.
    `read` yields utterances one by one and reports to the log what it cannot use. It raises
    `UserError` where the source as a whole is not what `sniff` took it for.
    """

    name: str
    title: str  # in words
    sniff: Callable[[Source], int]
    read: Callable[[Source, ImportSettings, ImportLog], Iterator[Utterance]]


_SET = re.compile(
    r"(?:^|[_.])((?:train|dev|valid|validation|val|test|eval)(?:[-_.][\w.-]*)?)$", re.IGNORECASE
)


def set_name(name: str) -> str | None:
    """`train`, `dev-clean` and so on, where a file or folder is called after a set of a corpus.

    The name may stand behind another one, as in `librispeech_cuts_dev-clean`.
    """
    match = _SET.search(name)
    return match[1] if match else None


def head(path: Path) -> str:
    """The beginning of a text file in UTF-8 or UTF-16; "" where it is neither."""
    try:
        with path.open("rb") as file:
            data = file.read(HEAD_BYTES)
    except OSError:
        return ""
    try:
        return decode(data, whole=len(data) < HEAD_BYTES)
    except UnicodeDecodeError:
        return ""


def decode(data: bytes, whole: bool = True) -> str:
    """Text in UTF-8, or in UTF-16 with a byte order mark. Raises `UnicodeDecodeError`."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data[: len(data) // 2 * 2].decode("utf-16")
    if not whole:
        data = data[: data.rfind(b"\n") + 1] or data
    return data.decode("utf-8-sig")


def text_of(path: Path) -> str:
    """A whole text file. Raises `UserError` where it cannot be read."""
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; convert it") from None


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers, from 1. Raises `UserError`."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            for number, line in enumerate(file, 1):
                yield number, line.rstrip("\n")
    except UnicodeDecodeError:
        raise UserError(f"{path}:{number + 1}: not UTF-8; convert it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
