"""What all exporters share: their interface, and utterances with their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr import audio
from asr.audio import AudioInfo, Member
from asr.data.importers.audio_store import AudioStore
from asr.data.manifest import Utterance
from asr.errors import UserError


@dataclass
class Exported:
    """The files that were written, and a line for each utterance that was left out."""

    files: list[Path] = field(default_factory=list)
    utterances: int = 0
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Exporter:
    """A format: its name, its title, and the function that writes to an existing folder."""

    name: str
    title: str
    write: Callable[[Iterable[Utterance], Path, Callable[[], None]], Exported]


def in_files(
    utterances: Iterable[Utterance],
    folder: Path,
    exported: Exported,
    progress: Callable[[], None],
) -> Iterator[tuple[Utterance, AudioInfo]]:
    """The utterances with durations and absolute paths, each with the header of its file.

    Audio inside an archive is written to FOLDER/audio. An utterance whose audio cannot be read is
    left out.
    """
    store, last = AudioStore(folder / "audio"), (None, None)
    for u in utterances:
        progress()
        try:
            if isinstance(u.audio, Member):
                u = replace(u, audio=store.put(u.id, u.audio.read()))
            path = str(Path(u.audio).resolve())
            if path != last[0]:
                last = path, audio.info(path)
        except UserError as error:
            exported.left_out.append(f"{u.id}: {error}")
            continue
        info = last[1]
        left_s = info.duration_s - u.start_s
        if left_s <= 0:
            exported.left_out.append(f"{u.id}: starts after the end of {path}")
            continue
        duration_s = left_s if u.duration_s is None else min(u.duration_s, left_s)
        exported.utterances += 1
        yield replace(u, audio=path, duration_s=duration_s), info


def plain(text: str | None) -> str:
    """The text on one line."""
    return " ".join((text or "").split())
