"""Corpora of any size as shards: tar files of many utterances, read by offset and never extracted.

The layout is that of webdataset. Each sample is an audio file KEY.flac (or with another suffix),
followed by KEY.json with text, speaker and so on, or by KEY.txt with only the text. The index of
00000.tar is 00000.jsonl, which has a row for each sample with the offset of its audio. shards.json
has the totals. A folder of tars without shards.json is indexed when it is first opened; audio is
read only if the JSON has no duration.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import tarfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr import audio, files
from asr.audio import AUDIO_SUFFIXES, Member
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.data.sampler import UNCHANGED, BatchSampler
from asr.errors import UserError

log = logging.getLogger("asr")

SUMMARY = "shards.json"
SECONDS = np.dtype("<f8")  # type of the durations in the file `seconds` of `Shards`
MOST_TEXT = 1 << 24  # largest size in bytes of a .json or .txt
OPEN_INDICES = 16  # number of indices in memory


@dataclass(frozen=True)
class Shard:
    """A tar file, with the totals and the digest of its index."""

    tar: str  # name in the folder
    size: int  # bytes
    utterances: int
    hours: float
    index: str  # digest of the index, so that changed texts are detected too


class Shards(Sequence[Utterance]):
    """The utterances of a folder of shards, in order; memory holds the indices of a few shards.

    `seconds` is a file with a float64 for each utterance, written by `asr.data.check.check_shards`:
    its duration, or NaN if it is to be left out. Without this file, all utterances are included.
    Raises `UserError`, which names the shard and the byte, if a shard is damaged or has changed.
    """

    def __init__(self, folder: str | Path, seconds: Path | None = None, cached: int = OPEN_INDICES):
        self.folder, self.seconds, self.cached = Path(folder), seconds, cached
        self.shards = _open(self.folder)
        self._tars = [str(self.folder / shard.tar) for shard in self.shards]
        self._indices: OrderedDict[int, tuple[list[bytes], np.ndarray]] = OrderedDict()
        self._rows = _starts(shard.utterances for shard in self.shards)
        self._first = self._rows
        if seconds is not None:
            kept = (len(self._kept(number)) for number in range(len(self.shards)))
            self._first = _starts(kept)

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, index: int) -> Utterance:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        return self._utterance(number, index - int(self._first[number]))

    def __iter__(self) -> Iterator[Utterance]:
        for number in range(len(self.shards)):
            yield from self.of(number)

    def of(self, number: int) -> list[Utterance]:
        """The utterances of one shard."""
        count = int(self._first[number + 1] - self._first[number])
        return [self._utterance(number, at) for at in range(count)]

    def indices(self, number: int) -> np.ndarray:
        """(n,) indices of the utterances of one shard."""
        return np.arange(self._first[number], self._first[number + 1])

    def durations_s(self, number: int) -> np.ndarray:
        """The durations (n,) in seconds of the utterances of one shard; NaN if unknown."""
        if self.seconds is not None:
            durations_s = self._durations_s(number)
            return durations_s[~np.isnan(durations_s)]
        rows = map(json.loads, self._index(number)[0])
        return np.array([row.get("duration_s", np.nan) for row in rows], dtype=np.float64)

    def _durations_s(self, number: int) -> np.ndarray:
        first, count = int(self._rows[number]), self.shards[number].utterances
        found = np.fromfile(self.seconds, SECONDS, count, offset=first * SECONDS.itemsize)
        if len(found) < count:
            raise UserError(f"{self.seconds}: truncated; delete it, and it is written again")
        return found

    def _kept(self, number: int) -> np.ndarray:
        """The rows of a shard's index that are used."""
        if self.seconds is None:
            return np.arange(self.shards[number].utterances)
        return np.flatnonzero(~np.isnan(self._durations_s(number)))

    def _index(self, number: int) -> tuple[list[bytes], np.ndarray]:
        """The rows of a shard's index, not parsed yet, and the numbers of those that are used."""
        index = self._indices.pop(number, None)
        if index is None:
            shard = self.shards[number]
            path = (self.folder / shard.tar).with_suffix(".jsonl")
            data = _read(path)
            lines = data.splitlines()
            if digest(data) != shard.index or len(lines) != shard.utterances:
                raise UserError(
                    f"{path}: differs from the index recorded in {SUMMARY}; delete "
                    f"{self.folder / SUMMARY}, and both are written again from the tars"
                )
            index = lines, self._kept(number)
        self._indices[number] = index
        if len(self._indices) > self.cached:
            self._indices.popitem(last=False)
        return index

    def _utterance(self, number: int, at: int) -> Utterance:
        lines, kept = self._index(number)
        columns = json.loads(lines[kept[at]])
        name, offset, size = columns.pop("audio")
        member = Member(self._tars[number], name, offset, size)
        known = {key: columns.pop(key) for key in manifest.COLUMNS if key in columns}
        return Utterance(audio=member, extra=columns, **known)


class ShardBatchSampler(BatchSampler):
    """Batches of utterances from `together` shards at a time; a new random choice in each epoch.

    Memory holds only the durations of these shards.
    """

    def __init__(
        self,
        shards: Shards,
        together: int,
        batch_s: float,
        seed: int,
        speeds: Sequence[float] = (),
        added_s: float = 0.0,
        tempo: tuple[float, float] = UNCHANGED,
    ):
        super().__init__((), batch_s, seed, speeds, added_s, tempo)
        self.shards, self.together = shards, together

    def windows(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        count = len(self.shards.shards)
        # Differs from the seed of a window, which is (seed, epoch, number).
        order = np.random.default_rng((self.seed, epoch, 0, 1)).permutation(count)
        for numbers in np.array_split(order, -(-count // self.together)):
            numbers = np.sort(numbers).tolist()
            indices = np.concatenate([self.shards.indices(number) for number in numbers])
            durations_s = np.concatenate([self.shards.durations_s(number) for number in numbers])
            if len(indices):
                yield indices, durations_s


def durations_s(utterances: Sequence[Utterance]) -> np.ndarray:
    """The durations (n,) in seconds of utterances that have been checked."""
    if isinstance(utterances, Shards):
        numbers = range(len(utterances.shards))
        return np.concatenate([utterances.durations_s(number) for number in numbers])
    return np.fromiter((u.duration_s for u in utterances), dtype=np.float64)


def read(path: str | Path) -> list[Utterance] | Shards:
    """Read a manifest, or open a folder of shards."""
    return Shards(path) if Path(path).is_dir() else manifest.read(path)


def parts(corpus: list[Utterance] | Shards) -> Iterator[list[Utterance]]:
    """Lists that fit in memory: the whole manifest, or one list for each shard."""
    if not isinstance(corpus, Shards):
        yield corpus
        return
    for number in range(len(corpus.shards)):
        yield corpus.of(number)


# ---- on disk -----------------------------------------------------------------------------------


def _open(folder: Path) -> list[Shard]:
    """The shards that shards.json lists; it is written again if it does not match the tars."""
    sizes = [(path.name, path.stat().st_size) for path in sorted(folder.glob("*.tar"))]
    if not sizes:
        raise UserError(
            f"{folder}: no .tar files in this folder; `asr shard` writes them from a manifest"
        )
    path = folder / SUMMARY
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not found["finished"]:
            raise UserError(f"{folder}: `asr shard` has not finished here; run it again")
        shards = [Shard(**shard) for shard in found["shards"]]
        if [(shard.tar, shard.size) for shard in shards] == sizes:
            return shards
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it, and it is written again") from None
    log.info("%s: indexing %d shards", folder, len(sizes))
    shards = [index_tar(folder / name) for name, _ in sizes]
    write_summary(folder, shards)
    return shards


def write_summary(folder: Path, shards: Sequence[Shard], finished: bool = True) -> None:
    found = {
        "finished": finished,
        "utterances": sum(shard.utterances for shard in shards),
        "hours": sum(shard.hours for shard in shards),
        "shards": [asdict(shard) for shard in shards],
    }
    files.write(folder / SUMMARY, json.dumps(found, indent=1) + "\n")


def index_tar(path: Path) -> Shard:
    """Write the index of a tar next to it; raises `UserError`, which names shard and byte."""
    size, seconds = path.stat().st_size, 0.0
    lines = []
    for key, members in samples(path):
        row = _row(path, key, members)
        seconds += row.get("duration_s", 0.0)
        try:
            lines.append(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        except UnicodeEncodeError as error:  # an escape that forms half a character
            raise UserError(f"{path}: sample {key!r}: not Unicode: {error.reason}") from None
    data = b"".join(lines)
    files.write(path.with_suffix(".jsonl"), data)
    return Shard(path.name, size, len(lines), seconds / 3600, digest(data))


def samples(path: Path) -> Iterator[tuple[str, dict[str, Member]]]:
    """(key, {suffix without its dot: member}) of each sample; only the tar headers are read."""
    for key, group in itertools.groupby(_plain_files(path), key=lambda info: _key(info)[0]):
        members: dict[str, Member] = {}
        for info in group:
            member = Member(str(path), info.name, info.offset_data, info.size)
            if members.setdefault(_key(info)[1], member) is not member:
                raise UserError(f"{path}: {info.name!r} at byte {info.offset} occurs twice")
        yield "/".join(filter(None, key)), members


def _key(info: tarfile.TarInfo) -> tuple[tuple[str, str], str]:
    """((folder, stem), suffix) of a member; the members of a sample share folder and stem."""
    folder, _, base = info.name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return (folder, stem), suffix.lower()


def _plain_files(path: Path) -> Iterator[tarfile.TarInfo]:
    """The headers of the files of a tar, without metadata files of webdataset (`__NAME__`).

    Raises `UserError` if the tar is damaged or has links or other special members.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                tar.members = []  # tarfile would keep them all
                base = info.name.rpartition("/")[2]
                if info.isdir() or (base.startswith("__") and base.endswith("__")):
                    continue
                if not info.isreg() or info.issparse():
                    raise UserError(
                        f"{path}: {info.name!r} at byte {info.offset} is not a plain file; a shard "
                        "may only have plain files"
                    )
                yield info
            # tarfile stops at an invalid header as if it were the end of the archive.
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise UserError(f"{path}: damaged or cut off at byte {tar.offset}; copy it again")
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"{path}: not a plain tar, or damaged: {error}") from None


def _row(path: Path, key: str, members: dict[str, Member]) -> dict[str, Any]:
    """The row of a sample in the index."""
    found = [m for m in members.values() if Path(m.name).suffix.lower() in AUDIO_SUFFIXES]
    if len(found) != 1:
        raise UserError(
            f"{path}: sample {key!r} at byte {min(m.offset for m in members.values())} has "
            f"{len(found)} audio files ({', '.join(members)}); it must have exactly one"
        )
    columns = _json(members["json"]) if "json" in members else {}
    if "txt" in members:
        columns.setdefault("text", _text(members["txt"]).strip())
    # These columns locate the audio in its source; the tar has the audio itself.
    for name in ("audio", "audio_filepath", "offset", "start_s"):
        columns.pop(name, None)
    (member,) = found
    columns = {"id": key} | columns | {"audio": member.name}
    u = manifest.to_utterance(columns, path, member.name)
    duration_s = u.duration_s
    if duration_s is None:
        try:
            duration_s = audio.info(member).duration_s
        except UserError as error:
            log.warning("%s; it is left out of training", error)
    row = {
        "id": u.id,
        "audio": [member.name, member.offset, member.size],
        "duration_s": None if duration_s is None else round(duration_s, 4),  # as in manifests
        "text": u.text,
        "speaker": u.speaker,
        "language": u.language,
    }
    return {name: value for name, value in row.items() if value is not None} | u.extra


def _json(member: Member) -> dict[str, Any]:
    try:
        columns = json.loads(_text(member))
    except json.JSONDecodeError as error:
        raise UserError(f"{member}: not valid JSON: {error.msg}") from None
    if not isinstance(columns, dict):
        raise UserError(f"{member}: expected an object with the column 'text'")
    return {name: value for name, value in columns.items() if value is not None}


def _text(member: Member) -> str:
    if member.size > MOST_TEXT:
        raise UserError(f"{member}: {member.size} bytes are too large for a text")
    try:
        return member.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{member}: not UTF-8: {error.reason}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _starts(counts: Iterator[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(list(counts), dtype=np.int64)])


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
