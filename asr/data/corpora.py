"""Corpora by name: a table of what they are and where they lie; download, unpack, prepare."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from asr.data.download import download_from, extract
from asr.data.prepare import Prepared, prepare
from asr.errors import UserError

UNPACKED = 2.0  # times the size of the archives, at most, of those in the table
MARGIN_BYTES = 200_000_000  # of the disk, left free


class Archive(BaseModel):
    """A file to download; the mirrors are tried in order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    urls: tuple[str, ...] = Field(min_length=1)
    bytes: int | None = Field(None, gt=0)  # exact
    about_bytes: int | None = Field(None, gt=0)
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _sized(self) -> Archive:
        if (self.bytes is None) == (self.about_bytes is None):
            raise ValueError("give one of bytes and about_bytes")
        return self

    @property
    def name(self) -> str:
        return self.urls[0].rpartition("/")[2]

    @property
    def size(self) -> int:
        return self.bytes or self.about_bytes


class Corpus(BaseModel):
    """An entry of the table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    license: str
    page: str
    language: str | None = None
    archives: tuple[Archive, ...] = ()
    utterances: Mapping[str, int] = {}  # of published sets, after preparing
    total: int | None = None
    by_hand: str | None = None  # how to get it, where nobody may download it without asking

    @model_validator(mode="after")
    def _reachable(self) -> Corpus:
        if bool(self.archives) == bool(self.by_hand):
            raise ValueError("give either archives or by_hand")
        return self

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(archive.size for archive in self.archives)


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
    """Raises `UserError` for a name that is not in the table, and for what must be got by hand."""
    known = corpora()
    if name not in known:
        raise UserError(f"{name}: no such corpus; choose one of {', '.join(known)}")
    corpus = known[name]
    if corpus.by_hand is not None:
        raise UserError(f"{name}: {corpus.page}: {corpus.by_hand}")
    return corpus


def get(name: str, folder: str | Path) -> tuple[Prepared, list[str]]:
    """Download a corpus to FOLDER/archives, unpack it to FOLDER/corpus, and write its manifests.

    Each step that is complete is skipped the next time: an archive has its name, and an unpacked
    folder too, only once it is whole. Returns what was prepared, and a line for each set that does
    not have as many utterances as its publisher says. Raises `UserError` where the disk is too
    small, and `DownloadError` where no mirror has the archive.
    """
    corpus, folder = find(name), Path(folder)
    _check_disk(name, corpus, folder)
    for archive in corpus.archives:
        unpacked = folder / "corpus" / archive.name.split(".")[0]
        if not unpacked.exists():
            path = folder / "archives" / archive.name
            download_from(archive.urls, path, archive.sha256, archive.bytes)
            extract(path, unpacked)
    prepared = prepare(_source(folder / "corpus"), folder, language=corpus.language)
    return prepared, _differences(corpus, prepared)


def disk_needed(corpus: Corpus, folder: Path) -> int:
    """Bytes that archives and unpacked files still need."""
    needed = 0
    for archive in corpus.archives:
        if not (folder / "corpus" / archive.name.split(".")[0]).exists():
            path = folder / "archives" / archive.name
            parts = (path, path.with_name(path.name + ".part"))
            there = sum(part.stat().st_size for part in parts if part.exists())
            needed += max(archive.size - there, 0) + round(UNPACKED * archive.size)
    return needed


def _check_disk(name: str, corpus: Corpus, folder: Path) -> None:
    there = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    needed, free = disk_needed(corpus, folder), shutil.disk_usage(there).free
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


def _differences(corpus: Corpus, prepared: Prepared) -> list[str]:
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
