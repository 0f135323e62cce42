"""Find the utterances of files, folders, patterns, manifests and standard input."""

from __future__ import annotations

import atexit
import glob
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from asr import audio
from asr.audio import AUDIO_SUFFIXES
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError

STDIN = "-"
MANIFEST_SUFFIXES = (".jsonl", ".tsv", ".csv")


def sources(paths: Iterable[str | Path]) -> list[Utterance]:
    """The utterances of a list of paths.

    A path is an audio file, a folder (all audio files below it), a pattern, a manifest (its rows),
    or `-` for standard input. A pattern has *, ? or [...], and ** for folders of any depth; an
    existing file whose name looks like a pattern is taken as a file. The id of a file is its name
    without the suffix, or its whole path if the name occurs twice. Raises `UserError` if a folder
    or pattern has no audio; a missing file is reported when it is read.
    """
    found = [utterance for path in paths for utterance in _named(path)]
    count = Counter(utterance.id for utterance in found)
    return [u if count[u.id] == 1 else replace(u, id=_whole_path(u)) for u in found]


def _named(name: str | Path) -> Iterator[Utterance]:
    path = Path(name)
    if str(name) == STDIN:
        yield Utterance("stdin", str(_stdin()))
    elif path.is_dir():
        for file in audio.audio_files(path):
            yield Utterance(str(file.relative_to(path).with_suffix("")), str(file))
    elif not path.exists() and (found := _matching(str(name))) is not None:
        yield from found
    elif path.suffix.lower() in MANIFEST_SUFFIXES:
        yield from manifest.read(path)
    else:
        yield Utterance(path.stem, str(path))


def _matching(pattern: str) -> list[Utterance] | None:
    """The utterances that a pattern matches; None if it is a plain name.

    Brackets that match nothing are taken as part of a name.
    """
    found = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    files = [p for p in found if p.suffix.lower() in AUDIO_SUFFIXES and not p.is_dir()]
    if not files and ("*" in pattern or "?" in pattern):
        other = f", only {found[0]}" + (" and others" * (len(found) > 1)) if found else ""
        raise UserError(f"{pattern}: matches no audio file{other}")
    return [Utterance(file.stem, str(file)) for file in files] or None


def _whole_path(utterance: Utterance) -> str:
    path = os.path.abspath(utterance.audio)
    return f"{path}@{utterance.start_s:.3f}" if utterance.start_s else path


def _stdin() -> Path:
    """Copy standard input to a temporary file, because audio formats need seeking."""
    if sys.stdin.isatty():
        raise UserError("-: standard input is a terminal; pipe an audio file into it")
    folder = Path(tempfile.mkdtemp(prefix="asr-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with (folder / "stdin").open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return folder / "stdin"
