"""Prepare recordings in several languages for the classification of the language.

    python recipes/spoken_languages/prepare.py OUT --corpora en=FOLDER,fr=FOLDER,...
        [--unheard en=FOLDER,...]

Each folder has a manifest.tsv. A tenth of the recordings of --corpora, by a hash of their ids, is
the dev set, another tenth the test set, the rest trains. The recordings of --unheard, of speakers
that no other folder has, are unheard.jsonl. A language with a single speaker proves little: the
model may recognize the voice or the microphone. A warning names such languages.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from rich.progress import track

from asr.data.manifest import Utterance, read, write
from asr.data.wav import as_wav
from asr.errors import UserError
from asr.pipeline.prepare_cli import main

RATE_HZ = 16000
PER_LANGUAGE = 600  # recordings at most


def folders(text: str, option: str) -> list[tuple[str, Path]]:
    """[(language, folder)] of "en=a,fr=b"."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    for language, equals, folder in pairs:
        if not equals or not (Path(folder) / "manifest.tsv").is_file():
            raise UserError(f"{option} {language}{equals}{folder}: give LANGUAGE=FOLDER with a "
                            "manifest.tsv in the folder")  # fmt: skip
    return [(language, Path(folder)) for language, _, folder in pairs]


def recordings(language: str, folder: Path, out: Path) -> list[Utterance]:
    """The recordings of a corpus as WAV files, in an order that is random."""
    found = [
        replace(
            u,
            id=f"{folder.name}-{u.id}",
            language=language,
            speaker=f"{folder.name}-{u.speaker or 'speaker'}",
        )
        for u in read(folder / "manifest.tsv")
    ]
    found.sort(key=lambda u: hashlib.sha256(u.id.encode()).digest())
    return [as_wav(u, out / "audio", RATE_HZ) for u in track(found[:PER_LANGUAGE], folder.name)]


def prepare(out: Path, corpora: str, unheard: str) -> None:
    """Write the manifests; raises `UserError` for fewer than two languages."""
    named = folders(corpora, "--corpora")
    if len({language for language, _ in named}) < 2:
        raise UserError(f"--corpora {corpora}: give at least two languages")
    sets: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": [], "unheard": []}
    speakers: dict[str, set] = defaultdict(set)
    for language, folder in named:
        found = recordings(language, folder, out)
        speakers[language] |= {u.speaker for u in found}
        tenth = max(1, len(found) // 10)
        sets["dev"] += found[:tenth]
        sets["test"] += found[tenth : 2 * tenth]
        sets["train"] += found[2 * tenth :]
    for language, folder in folders(unheard, "--unheard"):
        sets["unheard"] += recordings(language, folder, out)
    for name, utterances in sets.items():
        if utterances:
            write(out / f"{name}.jsonl", utterances)
            print(f"{name}: {len(utterances)} recordings")
    single = sorted(language for language, heard in speakers.items() if len(heard) == 1)
    if single:
        print(f"warning: one speaker only: {', '.join(single)}; the score says little about others")


if __name__ == "__main__":
    main(
        prepare,
        __doc__,
        {
            "--corpora": {"required": True, "help": "LANGUAGE=FOLDER, between commas"},
            "--unheard": {"default": "", "help": "the same, of speakers for a second test"},
        },
    )
