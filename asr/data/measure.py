"""Check imported utterances against their recordings, and measure their durations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from asr import audio
from asr.audio import AudioInfo, Member
from asr.data.importers.audio_store import AudioStore
from asr.data.importers.base import ImportLog
from asr.data.manifest import Utterance
from asr.errors import UserError

BEYOND_S = 0.5  # a segment that ends less than this after its recording is shortened
SHORTEST_S = 0.01


def measured(
    utterances: Iterable[Utterance],
    store: AudioStore,
    log: ImportLog,
    language: str | None = None,
    open_audio: bool = True,
) -> Iterator[Utterance]:
    """The utterances that can be used, each with its duration and the absolute path of its audio.

    If an utterance is one channel of a recording with several, the channel is written to the store.
    If `open_audio` is false, only files of unknown duration are opened.
    """
    look = _Look()
    for u in utterances:
        if u.language is None and language is not None:
            u = replace(u, language=language)
        if not isinstance(u.audio, Member):
            u = replace(u, audio=_absolute(u.audio))
        # A file must be opened to find out whether it has several channels.
        if not open_audio and u.duration_s is not None and "channel" not in u.extra:
            yield u
            continue
        info = look.at(u.audio)
        if isinstance(info, str):
            log.leave_out(*_reason(u, info))
            continue
        found = _within(u, info, log)
        if found is None:
            continue
        try:
            yield _of_channel(found, info, store)
        except (UserError, ValueError) as error:
            log.leave_out("the channel cannot be taken", u.id, error)


class _Look:
    """Calls `audio.info` only once for consecutive utterances of the same recording."""

    def __init__(self):
        self.path, self.info = None, ""

    def at(self, path: str | Member) -> AudioInfo | str:
        """The header of the file, or the error message."""
        if path != self.path:
            self.path = path
            try:
                self.info = audio.info(path)
            except UserError as error:
                self.info = str(error)
        return self.info


def _reason(u: Utterance, error: str) -> tuple[str, str, str]:
    if not isinstance(u.audio, Member):
        try:
            if os.path.getsize(u.audio) == 0:
                return "the audio file is empty", u.id, u.audio
        except OSError:
            return "the audio file does not exist", u.id, u.audio
    return "the audio cannot be read", u.id, error


def _within(u: Utterance, info: AudioInfo, log: ImportLog) -> Utterance | None:
    left_s = info.duration_s - u.start_s
    if left_s < SHORTEST_S:
        detail = f"{u.start_s:.2f} s of {info.duration_s:.2f} s in {u.audio}"
        log.leave_out("the segment starts after the end of the recording", u.id, detail)
        return None
    if u.duration_s is not None and u.duration_s > left_s + BEYOND_S:
        detail = f"{u.start_s + u.duration_s:.2f} s of {info.duration_s:.2f} s in {u.audio}"
        log.leave_out("the recording ends before the segment does", u.id, detail)
        return None
    return u.lasting(min(left_s, u.duration_s or left_s))


def _of_channel(u: Utterance, info: AudioInfo, store: AudioStore) -> Utterance:
    """The utterance with only its channel; raises `UserError` or `ValueError` if it is missing."""
    if "channel" not in u.extra:
        return u
    extra = {key: value for key, value in u.extra.items() if key != "channel"}
    if info.channels == 1:
        return replace(u, extra=extra)
    channel = int(u.extra["channel"])
    if not 0 <= channel < info.channels:
        raise ValueError(f"channel {channel} of {info.channels} in {u.audio}")
    path = store.cut(f"{u.id}", u.audio, u.start_s, u.duration_s, channel)
    return replace(u, audio=_absolute(path), start_s=0.0, extra=extra)


def _absolute(path: str) -> str:
    """The absolute path, because the manifests are written to another folder."""
    folder, name = os.path.split(path)
    return os.path.join(_folder(folder), name)


@lru_cache(maxsize=4096)
def _folder(path: str) -> str:
    return str(Path(path).resolve())
