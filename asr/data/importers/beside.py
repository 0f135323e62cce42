"""Recordings with a file beside each, which has its text or its segments with their texts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

from asr.audio import AUDIO_SUFFIXES
from asr.data import nist
from asr.data.importers.base import (
    MAYBE,
    NO,
    Importer,
    ImportLog,
    ImportSettings,
    Source,
    head,
    lines_of,
    set_name,
    text_of,
)
from asr.data.importers.columns import CLIP_FOLDERS, AudioFinder
from asr.data.importers.elan import media, read_elan
from asr.data.importers.segments import TimedText, join_words, to_utterances
from asr.data.importers.subtitles import is_labels, read_labels, read_subtitles
from asr.data.importers.textgrid import read_textgrid
from asr.data.manifest import Utterance
from asr.errors import UserError

_HTK_LABEL = re.compile(r"\d+ \d+ \S+")
Texts = Callable[[Path], str]
Segments = Callable[[Path, ImportSettings, ImportLog], Iterator[TimedText]]


def pairs(source: Source, suffix: str, log: ImportLog) -> Iterator[tuple[Path, Path]]:
    """Each recording with the file beside it: `a.wav` with `a.txt` or `a.wav.txt`.

    Recordings and files without a partner are left out.
    """
    if not source.is_dir:
        for audio in sorted(source.path.parent.iterdir()):
            if audio.suffix.lower() in AUDIO_SUFFIXES and source.path.stem in (
                audio.stem,
                audio.name,
            ):
                yield audio, source.path
                return
        for name in media(source.path) if suffix == ".eaf" else ():
            if found := AudioFinder(source.path).find(name):
                yield Path(found), source.path
                return
        raise UserError(f"{source.path}: no recording of this name beside it")
    for at, folders, names in os.walk(source.path):
        folders.sort()
        beside = {}
        for name in sorted(names):
            if name.lower().endswith(suffix) and not name.startswith("."):
                beside[name[: -len(suffix)]] = Path(at, name)
        used = set()
        for name in sorted(names):
            stem, ending = os.path.splitext(name)
            if ending.lower() not in AUDIO_SUFFIXES or name.startswith("._"):
                continue
            found = stem if stem in beside else name
            if found in beside:
                used.add(found)
                yield Path(at, name), beside[found]
            else:
                log.leave_out(f"no {suffix} beside the recording", Path(at, name))
        for stem in sorted(beside.keys() - used):
            log.leave_out("no recording beside the text", beside[stem])


def place(audio: Path, source: Source) -> tuple[str, str | None, str | None]:
    """(id, speaker, set) of a recording, from the folders between the source and the file.

    If the first folder is named after a set (train, dev-clean), it is the set. Folders such as
    `audio` and `wavs` are ignored. The remaining folders are the speaker.
    """
    root = source.path if source.is_dir else source.path.parent
    path = audio.relative_to(root).with_suffix("")
    folders = [name for name in path.parent.parts if name.lower() not in CLIP_FOLDERS[1:]]
    split = set_name(folders[0]) if folders else None
    if split is not None:
        folders.pop(0)
    return path.as_posix(), "/".join(folders) or None, split


def read_texts(
    suffix: str, text: Texts, source: Source, settings: ImportSettings, log: ImportLog
) -> Iterator[Utterance]:
    """Read short recordings: each is an utterance, and the file beside it is its text."""
    for audio, beside in pairs(source, suffix, log):
        try:
            said = text(beside)
        except UserError as error:
            log.leave_out("the text cannot be read", beside, error)
            continue
        if not said:
            log.leave_out("no text", beside)
            continue
        id, speaker, split = place(audio, source)
        extra = {} if split is None else {"split": split}
        yield Utterance(id, str(audio), text=said, speaker=speaker, extra=extra)


def plain(path: Path) -> str:
    return " ".join(text_of(path).split())


def label(path: Path) -> str:
    """The words of a .lab file. Raises `UserError` if it is HTK's list of timed phones."""
    text = text_of(path)
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and all(_HTK_LABEL.match(line) for line in lines):
        raise UserError(f"{path}: timed labels in HTK's form, not a transcript")
    return " ".join(text.split())


def transcription(path: Path) -> str:
    """The first line of a .trn file without NIST's (id) at its end; further lines have phones."""
    line = next((line for line in text_of(path).splitlines() if line.strip()), "")
    return re.sub(r"\s*\([^()\s]*\)\s*$", "", " ".join(line.split()))


def read_segments(
    suffix: str, read: Segments, source: Source, settings: ImportSettings, log: ImportLog
) -> Iterator[Utterance]:
    """Read long recordings: the file beside each has segments with their times and texts."""
    for audio, beside in pairs(source, suffix, log):
        id, speaker, split = place(audio, source)
        extra = {} if split is None else {"split": split}
        try:
            segments = list(read(beside, settings, log))
        except UserError as error:
            log.leave_out("the segments cannot be read", beside, error)
            continue
        for u in to_utterances(id, str(audio), segments, beside, log):
            if not u.text:
                log.leave_out("no text in the segment", f"{beside}: {u.id}", meant=True)
                continue
            yield Utterance(
                u.id,
                u.audio,
                u.start_s,
                u.duration_s,
                u.text,
                u.speaker or speaker,
                None,
                u.extra | extra,
            )


def read_nist(suffix: str, source: Source, settings: ImportSettings, log: ImportLog):
    """Read STM or CTM files, whose lines name recordings beside the file or in a folder below."""
    paths = source.with_suffix(suffix) if source.is_dir else [source.path]
    for path in paths:
        finder = AudioFinder(path, settings.audio_root)
        read = _stm if suffix == ".stm" else _ctm
        for file, segments in read(path, log):
            audio = finder.find(file)
            if audio is None:
                log.leave_out("the audio file does not exist", path, file)
                continue
            yield from to_utterances(file, audio, segments, path, log)


def _parsed(parse: Callable, path: Path, log: ImportLog) -> Iterator[tuple[str, object]]:
    for where, line in lines_of(path):
        if nist.is_comment(line):
            continue
        try:
            yield where, parse(line)
        except ValueError as error:
            log.leave_out("the line cannot be read", where, error)


def _stm(path: Path, log: ImportLog) -> Iterator[tuple[str, list[TimedText]]]:
    for where, s in _parsed(nist.parse_stm, path, log):
        if s.ignored or s.speaker.lower() in ("inter_segment_gap", "excluded_region"):
            log.leave_out("the stm says not to score it", where, meant=True)
            continue
        if not s.words:
            log.leave_out("no text", where, meant=True)
            continue
        text, channel = " ".join(s.words), channel_index(s.channel)
        extra = {} if s.label is None else {"label": s.label}
        yield s.file, [TimedText(s.start_s, s.end_s, text, s.speaker, channel, extra)]


def _ctm(path: Path, log: ImportLog) -> Iterator[tuple[str, Iterator[TimedText]]]:
    words = (word for _, word in _parsed(nist.parse_ctm, path, log))
    for (file, channel), spoken in groupby(words, lambda word: (word.file, word.channel)):
        at = channel_index(channel)
        ordered = sorted(spoken, key=lambda word: word.start_s)
        segments = (
            TimedText(w.start_s, w.start_s + w.duration_s, w.text, None, at) for w in ordered
        )
        yield file, join_words(segments)


def channel_index(name: str) -> int | None:
    """The index of a channel: 0 for NIST's `1` and `A`, 1 for `2` and `B`, None for other names."""
    names = {"1": 0, "A": 0, "0": 0, "2": 1, "B": 1}
    return names.get(name.upper())


def _sniff(suffix: str, fits: Callable[[Path], bool], source: Source) -> int:
    """MAYBE if the first file with the suffix `fits` and a recording lies beside it."""
    if not source.is_dir:
        return MAYBE if source.suffix == suffix and fits(source.path) else NO
    stems = {path.with_suffix("") for path in source.files if path.suffix.lower() in AUDIO_SUFFIXES}
    for path in source.with_suffix(suffix):
        name = path.relative_to(source.path).with_suffix("")
        beside = name in stems or name.with_suffix("") in stems
        if (beside or suffix in (".stm", ".ctm")) and stems:
            return MAYBE if fits(path) else NO
    return NO


def _always(path: Path) -> bool:
    return True


def _is_plain(path: Path) -> bool:
    return not is_labels(head(path))


def _is_labels(path: Path) -> bool:
    return is_labels(head(path))


def _texts(name: str, suffix: str, text: Texts, fits: Callable[[Path], bool] = _always) -> Importer:
    title = f"recordings with a {suffix} beside each"
    return Importer(name, title, partial(_sniff, suffix, fits), partial(read_texts, suffix, text))


def _segments(
    name: str, suffix: str, what: str, read: Segments, fits: Callable[[Path], bool] = _always
) -> Importer:
    title = f"long recordings with {what} ({suffix})"
    sniff = partial(_sniff, suffix, fits)
    return Importer(name, title, sniff, partial(read_segments, suffix, read))


def _nist(name: str, suffix: str) -> Importer:
    title = f"long recordings with NIST's {name} ({suffix})"
    return Importer(name, title, partial(_sniff, suffix, _always), partial(read_nist, suffix))


IMPORTERS = (
    _texts("txt", ".txt", plain, _is_plain),
    _texts("lab", ".lab", label),
    _texts("trn", ".trn", transcription),
    _segments(
        "textgrid", ".textgrid", "Praat's TextGrids", lambda p, s, log: read_textgrid(p, s.tier)
    ),
    _segments("elan", ".eaf", "ELAN's annotations", lambda p, s, log: read_elan(p, s.tier)),
    _segments("srt", ".srt", "subtitles", lambda p, s, log: read_subtitles(p)),
    _segments("vtt", ".vtt", "WebVTT captions", lambda p, s, log: read_subtitles(p)),
    _segments(
        "audacity", ".txt", "Audacity's labels", lambda p, s, log: read_labels(p), _is_labels
    ),
    _nist("stm", ".stm"),
    _nist("ctm", ".ctm"),
)
