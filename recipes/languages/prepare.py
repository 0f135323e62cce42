"""Prepare a corpus of one language that is a folder with a manifest.tsv (id, audio, speaker, text).

    python recipes/languages/prepare.py OUT --audio FOLDER --language de [--held-out last|hash]

A tenth of the utterances is the test set and a twentieth the dev set: the last ones in the order of
the ids, or those that a hash of the text chooses. The last ids suit a corpus of sentences in random
order; the hash suits one whose ids are sorted by subject, and keeps equal texts in one set. Nothing
is downloaded.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

from rich.progress import track

from asr.config import TextConfig
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.data.wav import as_wav
from asr.errors import UserError
from asr.pipeline.prepare_cli import main
from asr.text.normalize import normalize

RATE_HZ = 16000
TEST_SHARE, DEV_SHARE = 0.1, 0.05


def place_of(utterance: Utterance, index: int, count: int, held_out: str) -> float:
    """Where an utterance stands in [0, 1): by its index in the order of the ids, or by a hash."""
    if held_out == "last":
        return index / count
    text = normalize(utterance.text, TextConfig())
    return 1 - (zlib.crc32(text.encode()) % 1000 + 1) / 1000


def split_of(place: float) -> str:
    """The set of an utterance: the end of [0, 1) is the test set, and dev lies before it."""
    if place >= 1 - TEST_SHARE:
        return "test"
    return "dev" if place >= 1 - TEST_SHARE - DEV_SHARE else "train"


def prepare(out: Path, audio: Path, language: str, held_out: str) -> None:
    """Write the manifests to `out`; raises `UserError` if a set would be empty."""
    found = sorted(manifest.read(audio / "manifest.tsv"), key=lambda u: u.id)
    splits: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for index, utterance in enumerate(track(found, language)):
        split = split_of(place_of(utterance, index, len(found), held_out))
        splits[split].append(replace(as_wav(utterance, out / "audio", RATE_HZ), language=language))
    for name, utterances in splits.items():
        if not utterances:
            raise UserError(f"{audio}: too few utterances: none is in {name}")
        manifest.write(out / f"{name}.jsonl", utterances)
        minutes = sum(utterance.duration_s for utterance in utterances) / 60
        print(f"{name}: {len(utterances)} utterances, {minutes:.1f} minutes")


if __name__ == "__main__":
    main(
        prepare,
        __doc__,
        {
            "--audio": {"type": Path, "required": True, "help": "folder with a manifest.tsv"},
            "--language": {"required": True, "help": "code of the language, such as de"},
            "--held-out": {
                "choices": ["last", "hash"],
                "default": "last",
                "help": "which utterances are the test set",
            },
        },
    )
