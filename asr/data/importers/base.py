"""What all importers share: their interface, their settings, and the log of left-out rows."""

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
LISTED_FILES = 2000  # at most this many files of a folder are looked at to recognize its format
HEAD_BYTES = 1 << 16
NAMED_EXAMPLES = 3  # for each reason


class ImportLog:
    """The decisions of an import, and the rows that it left out.

    Rows are counted by reason, and all are listed in `file`, so that memory does not grow with
    their number.
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
        """Record a row that is left out.

        reason: the same words for all rows with the same problem. where, detail: the place of the
        row, and the value that is wrong. meant: whether the corpus itself excludes the row, or it
        has no speech; such rows are not counted as faults.
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

    def incomplete(self, where: object, audio: object, text: str, name: object = "") -> bool:
        """Whether a row lacks its recording (None) or its text (""); the row is then left out.

        name: of the recording, as the row has it.
        """
        if audio is None:
            self.leave_out("the audio file does not exist", where, name)
        elif not text:
            self.leave_out("no text", where, name)
        return audio is None or not text

    def note(self, text: str) -> None:
        """Keep a decision that a user should see; a repeated or empty one is dropped."""
        if text and text not in self.notes:
            self.notes.append(text)

    @property
    def total(self) -> int:
        return self.counts.total()

    def lines(self) -> list[str]:
        """A summary: each reason with its count and its first examples."""
        lines = []
        for reason, count in self.counts.most_common():
            lines.append(f"{count} left out: {reason}")
            lines += [f"  {example}" for example in self.examples[reason]]
            if count > len(self.examples[reason]):
                lines.append("  ...")
        return lines


@dataclass(frozen=True)
class ImportSettings:
    """Settings of an import; their defaults fit most sources."""

    # {role: name of the column}; roles are id, audio, text, speaker, language, start, end, ...
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    audio_root: Path | None = None  # the folder that relative paths of audio start from
    tier: str | None = None  # the tier of a TextGrid or an ELAN file that is the transcript
    store: AudioStore = field(default_factory=AudioStore)


class Source:
    """A file or folder to import, and the names of its files."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.exists():
            raise UserError(f"{path}: no such file or folder")
        self.is_dir = self.path.is_dir()

    @cached_property
    def files(self) -> list[Path]:
        """The first `LISTED_FILES` files of a folder, relative to it; upper levels come first."""
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
        """The names of `files`, without their folders."""
        return frozenset(path.name for path in self.files)

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """Those of `files` whose names end in one of the suffixes, in upper or lower case."""
        found = [path for path in self.files if path.name.lower().endswith(suffixes)]
        return [self.path / path for path in found]

    def set_of(self, path: Path, name: str | None = None) -> str | None:
        """The set of a file, from `name` (by default the file's) or the name of its folder.

        The name of the source itself is not used, because a folder `test_recordings` need not be a
        test set.
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

    `sniff` returns NO, SURE, or MAYBE for a general layout, which a more specific one overrides.
    `read` yields utterances one by one and logs the rows that it cannot use. It raises `UserError`
    if the source as a whole does not have the format.
    """

    name: str
    title: str  # in words
    sniff: Callable[[Source], int]
    read: Callable[[Source, ImportSettings, ImportLog], Iterator[Utterance]]


_SET = re.compile(
    r"(?:^|[_.])((?:train|dev|valid|validation|val|test|eval)(?:[-_.][\w.-]*)?)$", re.IGNORECASE
)


def set_name(name: str) -> str | None:
    """The set that a file or folder is named after, such as `train` or `dev-clean`, or None.

    Another name may come before it, as in `librispeech_cuts_dev-clean`.
    """
    match = _SET.search(name)
    return match[1] if match else None


def head(path: Path) -> str:
    """The beginning of a text file in UTF-8 or UTF-16; "" if the file is neither."""
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
    """The contents of a text file. Raises `UserError` if it cannot be read."""
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; convert it") from None


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """(PATH:NUMBER, line) of each line of a UTF-8 file, numbered from 1. Raises `UserError`."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            for number, line in enumerate(file, 1):
                yield f"{path}:{number}", line.rstrip("\n")
    except UnicodeDecodeError:
        raise UserError(f"{path}:{number + 1}: not UTF-8; convert it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
