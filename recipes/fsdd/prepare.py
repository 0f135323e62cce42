"""Prepare FSDD, the Free Spoken Digit Dataset: 3000 real recordings of single digits, six speakers.

By Zohar Jackson and others, CC-BY-SA-4.0, <https://github.com/Jakobovski/free-spoken-digit-dataset>.
The recordings are at 8 kHz, trimmed tightly, in several accents, and named DIGIT_SPEAKER_NUMBER.

    python recipes/fsdd/prepare.py OUT [--audio FOLDER] [--held-out theo,yweweler]

downloads the corpus (16 MB) into OUT, or takes a copy on disk. It joins clips into strings of one
to five digits for training and dev. The single clips of the held-out speakers are the test set,
which shares no speaker with training. Dev uses the last tenth of the clips of each training speaker
and digit, which training does not use.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile
from rich.progress import track

from asr import audio as audio_file
from asr.audio import AUDIO_SUFFIXES
from asr.data.corpora import fetch
from asr.data.manifest import Utterance, write
from asr.errors import UserError
from asr.files import replacing
from asr.pipeline.prepare_cli import main

RATE_HZ = 8000
DIGITS = "zero one two three four five six seven eight nine".split()
TRAIN_STRINGS, DEV_STRINGS = 2400, 100
Clips = dict[tuple[str, int], list[Path]]  # (speaker, digit): files in the order of their numbers


def find_clips(folder: Path) -> Clips:
    """The recordings in `folder`; raises `UserError` if there are none."""
    found: dict[tuple[str, int], list[tuple[int, Path]]] = defaultdict(list)
    for path in folder.rglob("*"):
        named = re.fullmatch(r"(\d)_([a-z]+)_(\d+)", path.stem)
        if named and path.suffix.lower() in AUDIO_SUFFIXES:
            found[named[2], int(named[1])].append((int(named[3]), path))
    if not found:
        raise UserError(f"{folder}: no recording named like 7_theo_12.wav")
    return {key: [path for _, path in sorted(clips)] for key, clips in sorted(found.items())}


def join(clips: list[np.ndarray], draw: np.random.Generator) -> np.ndarray:
    """Join clips at equal levels, with pauses of 0 to 0.3 s between them and none at the ends."""
    parts = []
    for clip in clips:
        parts += [0.3 * clip / np.abs(clip).max(), np.zeros(int(draw.uniform(0, 0.3) * RATE_HZ))]
    samples = np.concatenate(parts[:-1])
    return samples + 1e-4 * draw.standard_normal(len(samples))


def prepare(out: Path, audio: Path | None, held_out: str) -> None:
    """Write the corpus to `out`; raises `UserError` for unknown speakers in `held_out`."""
    if audio is None:
        audio, _ = fetch("fsdd", out)
    clips = find_clips(audio)
    speakers = sorted({speaker for speaker, _ in clips})
    test_speakers = held_out.split(",")
    for speaker in test_speakers:
        if speaker not in speakers:
            raise UserError(f"--held-out {speaker}: not one of {', '.join(speakers)}")
    train_speakers = [speaker for speaker in speakers if speaker not in test_speakers]
    if not train_speakers:
        raise UserError(f"--held-out {held_out}: leaves nobody to train on")
    draw = np.random.default_rng(0)
    loaded: dict[Path, np.ndarray] = {}
    for split, count in (("train", TRAIN_STRINGS), ("dev", DEV_STRINGS)):
        utterances = []
        for i in track(range(count), split):
            speaker = train_speakers[i % len(train_speakers)]
            length = 1 if draw.random() < 0.4 else int(draw.integers(2, 6))
            digits = draw.integers(0, 10, length).tolist()
            chosen = []
            for digit in digits:
                files = clips[speaker, digit]
                kept = max(1, len(files) // 10)
                files = files[-kept:] if split == "dev" else files[:-kept]
                path = files[int(draw.integers(len(files)))]
                if path not in loaded:
                    loaded[path] = audio_file.read(path, RATE_HZ)
                chosen.append(loaded[path])
            samples = join(chosen, draw)
            target = out / "audio" / f"{split}-{i:04d}.wav"
            with replacing(target) as beside:
                soundfile.write(beside, samples, RATE_HZ, format="WAV", subtype="PCM_16")
            text = " ".join(DIGITS[digit] for digit in digits)
            seconds = len(samples) / RATE_HZ
            utterances.append(Utterance(target.stem, str(target), 0, seconds, text, speaker, "en"))
        write(out / f"{split}.jsonl", utterances)
    test = [
        Utterance(
            path.stem, str(path.resolve()), text=DIGITS[digit], speaker=speaker, language="en"
        )
        for (speaker, digit), files in clips.items()
        if speaker in test_speakers
        for path in files
    ]
    write(out / "test.jsonl", test)
    print(f"{TRAIN_STRINGS} strings of {', '.join(train_speakers)}; {len(test)} clips to test")


if __name__ == "__main__":
    main(
        prepare,
        __doc__,
        {
            "--audio": {"type": Path, "help": "folder with the recordings (no download)"},
            "--held-out": {"default": "theo,yweweler", "help": "speakers of the test"},
        },
    )
