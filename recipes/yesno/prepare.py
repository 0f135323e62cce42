"""Prepare yesno: 60 recordings of one man saying "yes" or "no" in Hebrew, eight words in each.

It is the smallest public speech corpus, and Kaldi's first recipe; CC0, <https://www.openslr.org/1>.
The name of a recording is its text: 0_1_0_0_1_0_1_1 is "no yes no no yes no yes yes". The texts are
written in English, as in Kaldi; the spoken words are ken and lo.

    python recipes/yesno/prepare.py OUT [--audio FOLDER]

downloads the corpus (5 MB) into OUT, or takes a copy that is on disk already, in any format that
asr reads, and writes OUT/{train,dev,test}.jsonl and OUT/audio. In sorted order, the first 30
recordings are for training, as in Kaldi and icefall, except for 4 of them, which are the dev set;
the last 30 are the test set, and nothing is tuned on it.

This split has a flaw: each of the first 30 recordings begins with "no", each of the last 30 with
"yes". A recurrent model trained on the 26 recordings learns their word order, and that the first
word is "no". So the training recordings are cut into words, and the model is trained on strings of
one to eight words drawn at random, whose order cannot be predicted.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from rich.progress import track

from asr import audio as audio_file
from asr.data.corpora import fetch
from asr.data.manifest import Utterance, write
from asr.errors import UserError
from asr.files import replacing
from asr.pipeline.prepare_cli import main

# The eight words of each recording as the bits of one byte.
RECORDINGS = bytes.fromhex(
    "0f111622262728292b3134363738393c3e44464a4b505a5c666770727"
    "57a7f8081838997a9b7babdc1c7cacbced4d6d9dbdee1e5e7eaebf2f4f8fcff"
)
WORDS = {"1": "yes", "0": "no"}
N_TRAIN = 30
DEV_EVERY = 8  # every 8th of the first 30 recordings is in dev
RATE_HZ = 8000
WORDS_EACH = 8  # words per recording
STRINGS = 200  # training utterances that are made from the words
PAUSE_FRAMES, WORD_FRAMES = 12, 8  # minimum lengths of a pause and of a word, in 10 ms frames


def expected_ids() -> list[str]:
    return sorted("_".join(f"{recording:08b}") for recording in RECORDINGS)


def find_recordings(folder: Path) -> dict[str, Path]:
    """{id: path} of the recordings in `folder`; raises `UserError` if any are missing or wrong."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if not re.fullmatch(r"[01](_[01])+", path.stem) or not path.is_file():
            continue  # a README, a manifest
        if path.stem in found:
            raise UserError(f"{path}: the same recording as {found[path.stem]}; remove one")
        found[path.stem] = path
    wrong = sorted(set(found) - set(expected_ids()))
    if wrong:
        raise UserError(f"{found[wrong[0]]}: not a recording of yesno (there are {len(wrong)})")
    missing = [name for name in expected_ids() if name not in found]
    if missing:
        named = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise UserError(f"{folder}: {len(missing)} of the 60 recordings are missing: {named}")
    return found


def split_of(index: int) -> str:
    """The split of the recording at this index in sorted order."""
    if index >= N_TRAIN:
        return "test"
    return "dev" if index % DEV_EVERY == 3 else "train"


def find_words(samples: np.ndarray) -> list[tuple[float, float]] | None:
    """(start, end) in seconds of the eight words of a recording; None if they cannot be found.

    A word is a sequence of frames whose level exceeds a threshold. Of the thresholds that give
    exactly eight words, the middle one is used.
    """
    hop = RATE_HZ // 100
    power = np.add.reduceat(samples**2, np.arange(0, len(samples) - hop + 1, hop)) / hop
    level = np.convolve(np.sqrt(power), np.ones(5) / 5, mode="same")  # over 50 ms
    found = []
    for share in np.geomspace(0.02, 0.5, 30):
        on = np.diff(np.concatenate([[0], level > share * level.max(), [0]]).astype(int))
        words: list[list[float]] = []
        for start, end in zip(np.flatnonzero(on > 0), np.flatnonzero(on < 0), strict=True):
            if words and start - words[-1][1] < PAUSE_FRAMES:
                words[-1][1] = end
            else:
                words.append([start, end])
        words = [word for word in words if word[1] - word[0] >= WORD_FRAMES]
        if len(words) == WORDS_EACH:
            found.append([(start / 100, end / 100) for start, end in words])
    return found[len(found) // 2] if found else None


def cut(samples: np.ndarray, words: list[tuple[float, float]]) -> list[np.ndarray]:
    """Split samples into the silence before the words, the words, and the silence after them.

    A word includes half of the pause on each side.
    """
    pauses = [(a[1] + b[0]) / 2 for a, b in itertools.pairwise(words)]
    margin = (words[1][0] - words[0][1]) / 2
    edges_s = [max(0.0, words[0][0] - margin), *pauses, words[-1][1] + margin]
    return np.split(samples, [round(edge_s * RATE_HZ) for edge_s in edges_s])


def join(out: Path, clips: dict[str, list[np.ndarray]]) -> Iterator[Utterance]:
    """Make random strings of one to eight words, equally many of each length.

    clips: the samples of each word; those of "" are the silence before and after a string.
    """
    draw = np.random.default_rng(0)
    for i in range(STRINGS):
        labels = draw.choice(list(WORDS.values()), 1 + i % WORDS_EACH).tolist()
        parts = [clips[label][draw.integers(len(clips[label]))] for label in ["", *labels, ""]]
        samples = np.concatenate(parts)
        target = out / "audio" / f"string-{i:03d}.wav"
        with replacing(target) as beside:
            soundfile.write(beside, samples, RATE_HZ, format="WAV", subtype="PCM_16")
        yield Utterance(
            id=target.stem,
            audio=str(target),
            duration_s=len(samples) / RATE_HZ,
            text=" ".join(labels),
            speaker="anonymous",
            language="he",
        )


def prepare(out: Path, audio: Path | None) -> None:
    """Write the corpus to `out`; raises `UserError` if `audio` lacks any of the 60 recordings."""
    if audio is None:
        audio, _ = fetch("yesno", out)
    recordings = find_recordings(audio)
    (out / "audio").mkdir(parents=True, exist_ok=True)
    splits: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    clips: dict[str, list[np.ndarray]] = {label: [] for label in ["", *WORDS.values()]}
    uncut = []
    for index, name in enumerate(track(expected_ids(), "checking")):
        source = recordings[name]
        target = out / "audio" / source.name
        info = audio_file.info(source)
        samples = audio_file.read(source, RATE_HZ)  # raises `UserError` for a truncated file
        beside = target.with_name(target.name + ".part")
        shutil.copyfile(source, beside)
        os.replace(beside, target)
        recording = Utterance(
            id=name,
            audio=str(target),
            duration_s=info.duration_s,
            text=" ".join(WORDS[bit] for bit in name.split("_")),
            speaker="anonymous",
            language="he",
        )
        split = split_of(index)
        splits[split].append(recording)
        if split == "train":
            words = find_words(samples)
            if words is None:
                uncut.append(name)
                continue
            labels = ["", *recording.text.split(), ""]
            for label, clip in zip(labels, cut(samples, words), strict=True):
                clips[label].append(clip)
    if uncut:
        print(f"{len(uncut)} recordings could not be cut into eight words: {', '.join(uncut)}")
    if all(clips.values()):
        splits["train"] = list(join(out, clips))
    for split, utterances in splits.items():
        write(out / f"{split}.jsonl", utterances)
        print(
            f"{split}: {len(utterances)} utterances, {sum(u.duration_s for u in utterances):.0f} s"
        )


if __name__ == "__main__":
    folder = {"type": Path, "help": "folder with the 60 recordings (no download)"}
    main(prepare, __doc__, {"--audio": folder})
