"""lhotse's Shar: numbered files of cuts, each with a tar of their audio, in the same order.

    cuts.000000.jsonl.gz  recording.000000.tar

https://lhotse.readthedocs.io/en/latest/datasets.html. The tars are never extracted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from asr.audio import AUDIO_SUFFIXES, Member
from asr.data.importers.base import NO, SURE, Importer, ImportLog, ImportSettings, Source, set_name
from asr.data.importers.lhotse import NoAudio, utterances_of
from asr.data.importers.tables import whole_rows
from asr.data.manifest import Utterance
from asr.data.shards import samples
from asr.errors import UserError

CUTS = re.compile(r"cuts\.(\d+)\.jsonl(\.gz)?")


def sniff(source: Source) -> int:
    return SURE if shards(source) else NO


def read(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    for cuts, tar in shards(source):
        split = set_name(cuts.parent.name) if cuts.parent != source.path else None
        if not tar.is_file():
            log.leave_out("the tar with the audio is missing", tar)
            continue
        try:
            members = dict(_members(tar))
        except UserError as error:
            log.leave_out("a tar cannot be read", tar, error)
            continue
        for where, cut in whole_rows(cuts, log):
            # The tar has only the audio of the cut.
            cut = dict(cut, start=0.0)

            audio = partial(_audio, members.get(cut.get("id")), cut.get("channel"))
            yield from utterances_of(cut, audio, split, where, log)


def _audio(
    member: Member | None, channels: int | list[int] | None, channel: int | None
) -> tuple[Member, int | None]:
    """(audio, channel in it); `channels` are those of the cut. Raises `NoAudio`."""
    if member is None:
        raise NoAudio("the audio is not in the tar")
    several = isinstance(channels, list) and channel in channels
    return member, channels.index(channel) if several else None


def _members(tar: Path) -> Iterator[tuple[str, Member]]:
    """(id of a cut, its audio); the id is the name without the suffix of the audio."""
    for _, found in samples(tar):
        for member in found.values():
            stem, suffix = member.name[: member.name.rfind(".")], Path(member.name).suffix
            if suffix.lower() in AUDIO_SUFFIXES:
                yield stem, member


def shards(source: Source) -> list[tuple[Path, Path]]:
    """Pairs (cuts, tar) of the folder and of the folders in it."""
    if not source.is_dir:
        return []
    found = []
    paths = [*source.path.glob("cuts.*.jsonl*"), *source.path.glob("*/cuts.*.jsonl*")]
    for path in sorted(paths):
        match = CUTS.fullmatch(path.name)
        if match:
            found.append((path, path.with_name(f"recording.{match[1]}.tar")))
    return found


IMPORTER = Importer("shar", "lhotse's Shar (cuts.*.jsonl.gz and recording.*.tar)", sniff, read)
