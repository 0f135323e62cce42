"""Corpora by name: a table of what they are and where they lie; download, unpack, prepare."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from asr.data.download import (
    DiskFull,
    DownloadError,
    download,
    download_from,
    extract,
    verify,
)
from asr.data.prepare import Prepared, prepare
from asr.errors import UserError

UNPACKED = 2.0  # times the size of the archives, at most, of those in the table
MARGIN_BYTES = 200_000_000  # of the disk, left free
LISTED = re.compile(
    r"""href=["']?([\w.+-]+\.tgz)["'>\s]"""
)  # archives beside a page, not elsewhere

log = logging.getLogger("asr")


class Archive(BaseModel):
    """A file to download; the mirrors are tried in order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    urls: tuple[str, ...] = Field(min_length=1)
    bytes: int | None = Field(None, gt=0)  # exact
    about_bytes: int | None = Field(None, gt=0)
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}$")

    @model_validator(mode="after")
    def _sized(self) -> Archive:
        if (self.bytes is None) == (self.about_bytes is None):
            raise ValueError("give one of bytes and about_bytes")
        return self

    @property
    def name(self) -> str:
        """The file name; the archives of GitHub are called after a version alone."""
        repository = re.fullmatch(r"https://github\.com/[^/]+/([^/]+)/archive/.*", self.urls[0])
        name = self.urls[0].rpartition("/")[2]
        return f"{repository[1]}-{name}" if repository else name

    @property
    def checksum(self) -> str | None:
        return self.sha256 or self.md5

    @property
    def size(self) -> int:
        return self.bytes or self.about_bytes


class Index(BaseModel):
    """A web page that links to many small archives (.tgz), which are all downloaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    about_bytes: int = Field(gt=0)  # of all archives


class Corpus(BaseModel):
    """An entry of the table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    license: str
    page: str
    language: str | None = None
    archives: tuple[Archive, ...] = ()
    index: Index | None = None
    utterances: Mapping[str, int] = {}  # of published sets, after preparing
    total: int | None = None
    by_hand: str | None = None  # how to get it, where nobody may download it without asking

    @model_validator(mode="after")
    def _reachable(self) -> Corpus:
        if sum(map(bool, (self.archives, self.index, self.by_hand))) != 1:
            raise ValueError("give one of archives, index and by_hand")
        return self

    @property
    def size(self) -> int:
        """Bytes to download."""
        listed = self.index.about_bytes if self.index is not None else 0
        return listed + sum(archive.size for archive in self.archives)


@cache
def corpora() -> dict[str, Corpus]:
    """{name: corpus}, in the order of the table."""
    return parse(resources.files("asr.data").joinpath("corpora.yaml").read_text("utf-8"))


def parse(text: str) -> dict[str, Corpus]:
    """A table in YAML. Raises `ValueError` that names the entry."""
    found = {}
    for name, entry in yaml.safe_load(text).items():
        try:
            found[name] = Corpus.model_validate(entry)
        except ValidationError as error:
            raise ValueError(f"{name}: {error.errors()[0]['msg']}") from None
    return found


def find(name: str) -> Corpus:
    """The entry of a corpus. Raises `UserError` for a name that is not in the table."""
    known = corpora()
    if name not in known:
        raise UserError(f"{name}: no such corpus; choose one of {', '.join(known)}")
    return known[name]


def get(name: str, folder: str | Path, archives: Sequence[Path] = ()) -> tuple[Prepared, list[str]]:
    """Download a corpus, unpack it (see `fetch`), and write its manifests to FOLDER.

    Returns what was prepared, and a line for each set that does not have as many utterances as its
    publisher says, and for each archive of an index that is missing.
    """
    corpus = find(name)
    source, missing = fetch(name, folder, archives)
    prepared = prepare(source, folder, language=corpus.language)
    return prepared, missing + differences(corpus, prepared)


def fetch(name: str, folder: str | Path, archives: Sequence[Path] = ()) -> tuple[Path, list[str]]:
    """Download the archives of a corpus to FOLDER/archives, and unpack them to FOLDER/corpus.

    Each step that is complete is skipped the next time: an archive has its name, and an unpacked
    folder too, only once it is whole. archives: files that are on disk already; they are used
    instead of downloads with the same names, and for a corpus that cannot be downloaded. Returns
    the folder where the corpus begins, and a line for each archive of an index that could not be
    downloaded or unpacked. Raises `UserError` where the disk is too small or an archive must be
    given, and `DownloadError` where no mirror has the archive.
    """
    corpus, folder = find(name), Path(folder)
    if corpus.by_hand is not None:
        if not archives:
            raise UserError(f"{name}: {corpus.page}: {corpus.by_hand}")
        sources = [(path, None) for path in archives]
        needed = sum(_unpacked_bytes(path.stat().st_size) for path, _ in sources if path.exists())
    else:
        sources = _matched(name, corpus, archives)
        needed = disk_needed(corpus, folder)
    _check_disk(name, needed, folder)
    for given, archive in sources:
        path = given if given is not None else folder / "archives" / archive.name
        if given is not None:
            _check_given(given, archive)
        unpacked = folder / "corpus" / _stem(path.name)
        if not unpacked.exists():
            if given is None:
                download_from(archive.urls, path, archive.checksum, archive.bytes)
            extract(path, unpacked)
    missing = _fetch_listed(corpus.index.url, folder) if corpus.index is not None else []
    return _source(folder / "corpus"), missing


def _matched(
    name: str, corpus: Corpus, given: Sequence[Path]
) -> list[tuple[Path | None, Archive | None]]:
    """(file on disk or None, archive) for each archive of a corpus."""
    by_name = {path.name: path for path in given}
    names = [archive.name for archive in corpus.archives]
    for path in given:
        if path.name not in names:
            wanted = f"one of {', '.join(names)}" if names else "none can be given"
            raise UserError(f"{path}: not an archive of {name}: {wanted}")
    return [(by_name.get(archive.name), archive) for archive in corpus.archives]


def _check_given(path: Path, archive: Archive | None) -> None:
    if not path.is_file():
        raise UserError(f"{path}: no such archive")
    if archive is not None and (wrong := verify(path, archive.checksum)):
        raise UserError(f"{path}: {wrong}; download it again")


def _fetch_listed(url: str, folder: Path) -> list[str]:
    """Download and unpack all archives that a web page links to; a line for each that failed."""
    page = folder / "archives" / "index.html"
    download(url, page, None)
    names = sorted(set(LISTED.findall(page.read_text("utf-8", errors="replace"))))
    if not names:
        page.unlink()  # so that the next call asks again
        raise DownloadError(f"{url}: links to no archive (.tgz)")
    missing = []
    for number, name in enumerate(names, 1):
        unpacked, path = folder / "corpus" / _stem(name), folder / "archives" / name
        if unpacked.exists():
            continue
        log.info("%d of %d: %s", number, len(names), name)
        try:
            extract(download(f"{url.rstrip('/')}/{name}", path, None), unpacked)
        except DiskFull:
            raise
        except DownloadError as error:
            missing.append(str(error))
            path.unlink(missing_ok=True)
    if len(missing) == len(names):
        raise DownloadError(f"{url}: no archive could be used, the first because: {missing[0]}")
    return missing


def _stem(name: str) -> str:
    """The name of an archive without its suffixes: the folder into which it is unpacked."""
    return re.sub(r"\.(tar(\.\w+)?|tgz|tbz2?|txz)$", "", name)


def _unpacked_bytes(archive_bytes: int) -> int:
    return round(UNPACKED * archive_bytes)


def disk_needed(corpus: Corpus, folder: Path) -> int:
    """Bytes that archives and unpacked files still need."""
    needed = 0
    for archive in corpus.archives:
        if not (folder / "corpus" / _stem(archive.name)).exists():
            path = folder / "archives" / archive.name
            parts = (path, path.with_name(path.name + ".part"))
            there = sum(part.stat().st_size for part in parts if part.exists())
            needed += max(archive.size - there, 0) + _unpacked_bytes(archive.size)
    if corpus.index is not None:
        there = sum(path.stat().st_size for path in folder.glob("archives/*.tgz"))
        left = max(corpus.index.about_bytes - there, 0)
        needed += left + _unpacked_bytes(left)
    return needed


def _check_disk(name: str, needed: int, folder: Path) -> None:
    there = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if needed and needed + MARGIN_BYTES > free:
        raise UserError(
            f"{folder}: {name} needs up to {needed / 1e9:.1f} GB, of which {free / 1e9:.1f} GB are "
            "free; choose a folder on a larger disk"
        )


def _source(folder: Path) -> Path:
    """Down to where the corpus begins, past folders that hold nothing but one folder."""
    while True:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if len(inside) != 1 or not inside[0].is_dir():
            return folder
        folder = inside[0]


def differences(corpus: Corpus, prepared: Prepared) -> list[str]:
    """Published sets are compared with ours; what was taken from the training set counts there."""
    found = dict.fromkeys(corpus.utterances, 0)
    for part in prepared.sets:
        name = part.name if part.name in found or "train" not in found else "train"
        found[name] = found.get(name, 0) + part.utterances
    lines = [
        f"{name}: {found[name]} utterances, published are {count}"
        for name, count in corpus.utterances.items()
        if found[name] != count
    ]
    if corpus.total is not None and prepared.utterances != corpus.total:
        lines.append(f"{prepared.utterances} utterances in all, published are {corpus.total}")
    return lines
