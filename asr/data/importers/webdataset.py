"""Tars of many utterances: WebDataset's with texts inside, NeMo's with a manifest beside them.

    audio_0.tar  1.wav 2.wav ...     manifest.json  {"audio_filepath": "1.wav", "shard_id": 0, ...}
    00000.tar    a.flac a.json b.flac b.json ...

The tars are not extracted: the rows of a manifest state where in its tar the audio lies.
https://github.com/webdataset/webdataset
"""

from __future__ import annotations

import json
import re
from array import array
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr.audio import AUDIO_SUFFIXES, Member
from asr.data.importers.base import (
    MAYBE,
    NO,
    SURE,
    Importer,
    ImportLog,
    ImportSettings,
    Source,
    set_name,
)
from asr.data.importers.columns import Columns, find_columns, to_utterance, with_split
from asr.data.importers.shar import shards as shar_shards
from asr.data.importers.tables import column_names
from asr.data.manifest import Utterance
from asr.data.shards import samples
from asr.errors import UserError

TEXT_SUFFIXES = ("txt", "lab", "trn", "transcript", "text")
MOST_TEXT = 1 << 20  # bytes


class _OneMember:
    """An `AudioFinder` that always finds the member of the tar that is being read."""

    def __init__(self):
        self.member: Member | None = None

    def find(self, name: str) -> Member | None:
        return self.member


def sniff(source: Source) -> int:
    tars = _tars(source)
    if not tars or shar_shards(source):
        return NO
    return SURE if source.is_dir and _manifests(source) else MAYBE


def read(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    manifests = _manifests(source)
    if manifests:
        for manifest in manifests:
            yield from _read_nemo(manifest, _tars(source), settings, log)
        return
    for tar in _tars(source):
        split = source.set_of(tar, tar.stem.rstrip("0123456789-_."))
        try:
            for utterance in _read_tar(tar, settings, log):
                yield with_split(utterance, split)
        except UserError as error:  # the samples before the damage are usable
            log.leave_out("a tar cannot be read to its end", tar, error)


def _read_tar(tar: Path, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    finder, known = _OneMember(), {}
    for key, members in samples(tar):
        where = f"{tar}: {key}"
        found = [m for m in members.values() if Path(m.name).suffix.lower() in AUDIO_SUFFIXES]
        if len(found) != 1:
            log.leave_out("the sample does not have one audio file", where, ", ".join(members))
            continue
        (finder.member,) = found
        try:
            row = _row(members)
        except ValueError as error:
            log.leave_out("the text of the sample cannot be read", where, error)
            continue
        for name in ("audio", "audio_filepath", "offset", "start_s", "file_name"):
            row.pop(name, None)  # they belong to the original file; the tar has the segment alone
        row = {"id": key, "audio": finder.member.name} | row
        names = tuple(row)
        if names not in known:
            known[names] = _columns(names, settings, tar)
        utterance = to_utterance(row, known[names], finder, where, log)
        if utterance is not None:
            yield utterance


def _columns(names: tuple[str, ...], settings: ImportSettings, tar: Path) -> Columns:
    named = {role: name for role, name in settings.columns.items() if name in names}
    try:
        return find_columns(names, {"id": "id", "audio": "audio"} | named, tar)
    except UserError:
        return Columns({"id": "id", "audio": "audio", "text": "text"})  # the text is missing


def _row(members: dict[str, Member]) -> dict[str, Any]:
    """The columns of a sample, from its JSON and its text file. Raises `ValueError`."""
    row: dict[str, Any] = {}
    if "json" in members:
        row = json.loads(_bytes(members["json"]))
        if not isinstance(row, dict):
            raise ValueError("the JSON is not an object")
    for suffix in TEXT_SUFFIXES:
        if suffix in members and "text" not in row:
            row["text"] = _bytes(members[suffix]).decode("utf-8-sig")
    return row


def _bytes(member: Member) -> bytes:
    if member.size > MOST_TEXT:
        raise ValueError(f"{member.name}: {member.size} bytes are too many for a text")
    return member.read()


# ---- NeMo ------------------------------------------------------------------------------------


def _read_nemo(
    manifest: Path, tars: list[Path], settings: ImportSettings, log: ImportLog
) -> Iterator[Utterance]:
    """Utterances shard by shard, in any order of the manifest; memory holds one tar's names."""
    columns = find_columns(column_names(manifest), settings.columns, manifest)
    by_number = {int(m[1]): tar for tar in tars if (m := re.search(r"(\d+)\.tar$", tar.name))}
    split = set_name(manifest.stem)
    with manifest.open("rb") as file:
        for shard, rows in sorted(_rows_of_shards(file, manifest, log).items()):
            if shard not in by_number:
                log.leave_out("the tar with the audio is missing", manifest, f"shard {shard}")
                continue
            members = _names(by_number[shard], log)
            for number, offset in zip(rows[0], rows[1], strict=True):
                file.seek(offset)
                row, finder = json.loads(file.readline()), _OneMember()
                name = str(row.get(columns.of["audio"]))
                finder.member = members.get(name) or members.get(Path(name).name)
                row.pop("offset", None)  # the tar has the segment alone
                found = to_utterance(row, columns, finder, f"{manifest}:{number}", log)
                if found is not None:
                    found.extra.pop("shard_id", None)
                    yield with_split(found, split)


def _rows_of_shards(file, manifest: Path, log: ImportLog) -> dict[int, tuple[array, array]]:
    """{shard: (line numbers, byte offsets) of its rows in the manifest}."""
    found = defaultdict(lambda: (array("q"), array("q")))
    offset = 0
    for number, line in enumerate(file, 1):
        try:
            if line.strip():
                lines, offsets = found[int(json.loads(line)["shard_id"])]
                lines.append(number)
                offsets.append(offset)
        except (ValueError, TypeError, KeyError):
            log.leave_out("the row cannot be read", f"{manifest}:{number}")
        offset += len(line)
    return found


def _names(tar: Path, log: ImportLog) -> dict[str, Member]:
    found: dict[str, Member] = {}
    try:
        for _, members in samples(tar):
            for member in members.values():
                found[member.name.removeprefix("./")] = member
                found.setdefault(Path(member.name).name, member)
    except UserError as error:
        log.leave_out("a tar cannot be read to its end", tar, error)
    return found


def _tars(source: Source) -> list[Path]:
    if not source.is_dir:
        return [source.path] if source.suffix == ".tar" else []
    return sorted(path for path in source.with_suffix(".tar"))


def _manifests(source: Source) -> list[Path]:
    """NeMo's manifests: JSON Lines with audio_filepath and shard_id."""
    if not source.is_dir:
        return []
    found = source.with_suffix(".json", ".jsonl")
    return [path for path in found if {"audio_filepath", "shard_id"} <= set(column_names(path))]


IMPORTER = Importer("webdataset", "tars of audio and texts (WebDataset, NeMo)", sniff, read)
