"""Prepare FSDD for the classification of single spoken digits, with speakers held out.

The Free Spoken Digit Dataset by Zohar Jackson and others has 3000 real recordings of digits by six
speakers, CC-BY-SA-4.0, <https://github.com/Jakobovski/free-spoken-digit-dataset>.

    python recipes/keywords/prepare.py OUT [--audio FOLDER] [--held-out theo,yweweler]
        [--other FOLDER,FOLDER]

downloads the corpus (16 MB) into OUT, or takes a copy on disk. All clips of the held-out speakers
are the test set; the last tenth of the clips of each other speaker and digit are the dev set. The
column `text` has the digit.

Each folder of --other has a manifest.tsv of transcribed speech. Pieces of it, from utterances whose
texts have no digit, get the text "other": 1 piece for each training clip, and as many dev pieces as
dev clips, from other utterances.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from rich.progress import track

from asr import audio as audio_file
from asr.audio import AUDIO_SUFFIXES
from asr.data import manifest
from asr.data.corpora import fetch
from asr.data.manifest import Utterance
from asr.data.wav import as_wav
from asr.errors import UserError
from asr.files import replacing
from asr.pipeline.prepare_cli import main

RATE_HZ = 8000
DIGITS = "zero one two three four five six seven eight nine".split()
OTHER = "other"
PIECE_S = (0.3, 1.0)  # of other speech
DEV_SHARE = 0.1


def find_clips(folder: Path) -> list[Utterance]:
    """The recordings in `folder`, by speaker, digit and number; raises `UserError` without any."""
    found = []
    for path in folder.rglob("*"):
        named = re.fullmatch(r"(\d)_([a-z]+)_(\d+)", path.stem)
        if named and path.suffix.lower() in AUDIO_SUFFIXES:
            order = named[2], int(named[1]), int(named[3])
            found.append((order, path))
    if not found:
        raise UserError(f"{folder}: no recording named like 7_theo_12.wav")
    return [
        Utterance(path.stem, str(path), text=DIGITS[digit], speaker=speaker, language="en")
        for (speaker, digit, _), path in sorted(found)
    ]


def split(clips: list[Utterance], held_out: list[str]) -> dict[str, list[Utterance]]:
    """Test: the held-out speakers; dev: the last tenth of the clips of each speaker and digit."""
    speakers = {clip.speaker for clip in clips}
    for speaker in held_out:
        if speaker not in speakers:
            raise UserError(f"--held-out {speaker}: not one of {', '.join(sorted(speakers))}")
    if speakers <= set(held_out):
        raise UserError(f"--held-out {','.join(held_out)}: leaves nobody to train on")
    sets: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    groups: dict[tuple, list[Utterance]] = defaultdict(list)
    for clip in clips:
        groups[clip.speaker, clip.text].append(clip)
    for (speaker, _), group in groups.items():
        if speaker in held_out:
            sets["test"] += group
        else:
            kept = max(1, round(DEV_SHARE * len(group)))
            sets["train"] += group[:-kept]
            sets["dev"] += group[-kept:]
    return sets


def other_speech(folders: list[Path]) -> list[Utterance]:
    """The utterances of other corpora whose texts have no digit, in an order that is random."""
    found = []
    for folder in folders:
        for u in manifest.read(folder / "manifest.tsv"):
            words = re.findall(r"[a-z]+", (u.text or "").lower())
            if not set(words) & set(DIGITS):
                found.append(replace(u, id=f"{folder.name}-{u.id}", speaker=None))
    return sorted(found, key=lambda u: hashlib.sha256(u.id.encode()).digest())


def pieces(utterances: list[Utterance], count: int, folder: Path) -> list[Utterance]:
    """`count` pieces of `PIECE_S` seconds at random places of the utterances, as WAV files."""
    draw, found = np.random.default_rng(0), []
    for number in track(range(count), OTHER):
        u = utterances[number % len(utterances)]
        samples = audio_file.read(u.audio, RATE_HZ, u.start_s, u.duration_s)
        length = min(len(samples), round(draw.uniform(*PIECE_S) * RATE_HZ))
        start = int(draw.integers(len(samples) - length + 1))
        target = folder / f"{OTHER}-{number:05d}-{u.id}.wav"
        with replacing(target) as beside:
            part = samples[start : start + length]
            soundfile.write(beside, part, RATE_HZ, format="WAV", subtype="PCM_16")
        seconds = length / RATE_HZ
        found.append(Utterance(target.stem, str(target), duration_s=seconds, text=OTHER))
    return found


def prepare(out: Path, audio: Path | None, held_out: str, other: str) -> None:
    """Write the corpus to `out`; raises `UserError` for unknown speakers in `held_out`."""
    if audio is None:
        audio, _ = fetch("fsdd", out)
    sets = split(find_clips(audio), held_out.split(","))
    folder = out / "audio"
    written = {
        name: [as_wav(clip, folder, RATE_HZ) for clip in track(clips, name)]
        for name, clips in sets.items()
    }
    if other:
        speech = other_speech([Path(name) for name in other.split(",")])
        kept = max(1, round(DEV_SHARE * len(speech)))
        for name, part in (("train", speech[:-kept]), ("dev", speech[-kept:])):
            written[name] += pieces(part, len(sets[name]), out / f"{OTHER}-{name}")
    for name, utterances in written.items():
        manifest.write(out / f"{name}.jsonl", utterances)
        print(f"{name}: {len(utterances)} recordings")


if __name__ == "__main__":
    main(
        prepare,
        __doc__,
        {
            "--audio": {"type": Path, "help": "folder with the recordings (no download)"},
            "--held-out": {"default": "theo,yweweler", "help": "speakers of the test"},
            "--other": {"default": "", "help": "folders with other speech, between commas"},
        },
    )
