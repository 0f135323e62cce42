"""VoxForge: one folder for each submission of about ten sentences. http://www.voxforge.org

ralfherzog-20080101-abc/etc/PROMPTS    ralfherzog-20080101-abc/mfc/de1-01 THE TEXT
ralfherzog-20080101-abc/etc/README     Gender: Male; Language: EN; ...
ralfherzog-20080101-abc/wav/de1-01.wav, or flac/de1-01.flac

Each submission without the name of a user is taken for a speaker of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from asr.data.importers.base import (
    NO,
    SURE,
    Importer,
    ImportLog,
    ImportSettings,
    Source,
    lines_of,
)
from asr.data.manifest import Utterance
from asr.errors import UserError

PROMPTS = ("PROMPTS", "prompts", "prompts-original", "PROMPTS-ORIGINAL")
AUDIO = (("wav", ".wav"), ("flac", ".flac"))
SUBMISSION = re.compile(r"(.+)-\d{8}-?\w*")  # user-YYYYMMDD-letters
_TRAIT = re.compile(
    r"^\s*(Gender|Age Range|Pronunciation dialect|Language)\s*:\s*([^;\n\[]+)", re.M
)
_NAMES = {"Gender": "gender", "Age Range": "age", "Pronunciation dialect": "accent"}


def sniff(source: Source) -> int:
    if not source.is_dir:
        return NO
    of_prompts = (p for p in source.files if p.name in PROMPTS and p.parent.name == "etc")
    found = (source.path / p.parent.parent for p in of_prompts)
    return SURE if any((folder / name).is_dir() for folder in found for name, _ in AUDIO) else NO


def read(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    for at, folders, _ in os.walk(source.path):
        folders.sort()
        if "etc" not in folders:
            continue
        folder = Path(at)
        folders.clear()  # a submission holds no other one
        prompts = next((p for n in PROMPTS if (p := folder / "etc" / n).is_file()), None)
        if prompts is None:
            log.leave_out("the submission has no etc/PROMPTS", folder)
            continue
        try:
            yield from _submission(folder, prompts, log)
        except UserError as error:
            log.leave_out("the prompts cannot be read", prompts, error)


def _submission(folder: Path, prompts: Path, log: ImportLog) -> Iterator[Utterance]:
    speaker, traits = _speaker(folder.name), _traits(folder / "etc" / "README")
    language = traits.pop("Language", "").lower() or None
    if language is not None and not re.fullmatch(r"[a-z]{2,3}", language):
        language = None
    extra = {_NAMES[name]: value.lower() for name, value in traits.items()}
    for where, line in lines_of(prompts):
        name, _, text = line.strip().partition(" ")
        name, text = name.rpartition("/")[2], " ".join(text.split())
        if not name:
            continue
        paths = (folder / kind / f"{name}{suffix}" for kind, suffix in AUDIO)
        audio = next((path for path in paths if path.is_file()), None)
        if not log.incomplete(where, audio, text, name):
            id = f"{folder.name}/{name}"
            yield Utterance(
                id, str(audio), text=text, speaker=speaker, language=language, extra=dict(extra)
            )


def _speaker(name: str) -> str:
    named = SUBMISSION.fullmatch(name)
    anonymous = named is None or named[1].lower() in ("anonymous", "unknown")
    return name if anonymous else named[1].lower()


def _traits(path: Path) -> dict[str, str]:
    """What a README tells about its speaker; it may have any encoding."""
    if not path.is_file():
        return {}
    text = path.read_text("latin-1")
    found = ((name, value.strip()) for name, value in _TRAIT.findall(text))
    return {name: value for name, value in found if value and value.lower() != "unknown"}


IMPORTER = Importer("voxforge", "VoxForge's submissions (etc/PROMPTS and wav/)", sniff, read)
