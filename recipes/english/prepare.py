"""Prepare English for the model that the toolkit contains: real and synthetic speech.

    python recipes/english/prepare.py OUT --corpora FOLDER [--synthetic FOLDER]

FOLDER of --corpora has one folder for each of `CORPORA`, with a manifest.tsv (id, audio, speaker,
text); that of speechocean762 also has a split.tsv (id, split, age, gender). FOLDER of --synthetic
has corpora that `asr synth` wrote. --more names manifests of further training speech, such as those
of AN4. OUT then has

    train.jsonl            all training speech; real utterances occur several times (`REPEAT`)
    dev.jsonl, dev_*.jsonl the dev sets, together and one by one
    test_*.jsonl           the test sets
    noises/                the folder for augment.noise_folder: recorded noise and babble

No speaker of the dev and test sets of speechocean762 and LibriSpeech is in training, and no prompt
of those of Kathleen.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from rich.progress import track

from asr import audio as audio_file
from asr.data import manifest
from asr.data.manifest import Utterance, write
from asr.errors import UserError
from asr.files import replacing
from asr.pipeline.prepare_cli import main

RATE_HZ = 16000
ADULT = 18  # years
LJ_TEST = 40  # the last utterances
READERS = {"19", "26", "27"}  # the speakers of librispeech_part with many utterances
REPEAT = {"speechocean762": 2, "librispeech_part": 3, "ljspeech_part": 3, "rhasspy_kathleen": 2}
REPEAT_MORE = 3
BABBLE, BABBLE_S = 12, 20.0  # number of files with babble, and their length
Split = Callable[[Utterance], str]


def hash_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def split_speechocean(folder: Path) -> Split:
    """The official split; an eighth of the training speakers is dev."""
    with (folder / "split.tsv").open(encoding="utf-8", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file, delimiter="\t")}

    def split(u: Utterance) -> str:
        row = rows[u.id]
        if row["split"] == "test":
            return "test_adults" if int(row["age"]) >= ADULT else "test_children"
        return "dev_speechocean" if hash_of(u.speaker) % 8 == 0 else "train"

    return split


def split_kathleen(_folder: Path) -> Split:
    """By prompt, because some prompts were read several times."""

    def split(u: Utterance) -> str:
        prompt = u.id.split("_")[1]
        return {"0": "test_kathleen", "5": "dev_kathleen"}.get(prompt[-1], "train")

    return split


def split_lj(folder: Path) -> Split:
    ids = [u.id for u in manifest.read(folder / "manifest.tsv")]
    test = set(ids[-LJ_TEST:])
    return lambda u: "test_lj" if u.id in test else "train"


def split_librispeech(_folder: Path) -> Split:
    """Speakers with one utterance are divided by the number of the speaker modulo 3."""
    parts = {0: "test_librispeech", 1: "dev_librispeech", 2: "train"}
    return lambda u: "train" if u.speaker in READERS else parts[int(u.speaker) % 3]


CORPORA: dict[str, Callable[[Path], Split]] = {
    "speechocean762": split_speechocean,
    "rhasspy_kathleen": split_kathleen,
    "ljspeech_part": split_lj,
    "librispeech_part": split_librispeech,
}


def as_wav(utterance: Utterance, folder: Path) -> Utterance:
    """The utterance with its audio as WAV, which is read 17 times faster than Opus."""
    target = folder / f"{utterance.id}.wav"
    if not target.exists():
        samples = audio_file.read(Path(utterance.audio), RATE_HZ)
        with replacing(target) as beside:
            soundfile.write(beside, samples, RATE_HZ, format="WAV", subtype="PCM_16")
    seconds = soundfile.info(target).duration
    return replace(utterance, audio=str(target.resolve()), duration_s=seconds, language="en")


def repeated(utterances: Iterable[Utterance], times: int) -> list[Utterance]:
    """Each utterance `times` times; the ids of the repetitions end in -2, -3, ..."""
    given = list(utterances)
    again = [replace(u, id=f"{u.id}-{i}") for i in range(2, times + 1) for u in given]
    return given + again


def write_babble(train: list[Utterance], out: Path) -> None:
    """Mix three to eight training utterances at a time, looped over `BABBLE_S`, at equal levels."""
    draw = np.random.default_rng(0)
    size = int(BABBLE_S * RATE_HZ)
    for i in range(BABBLE):
        mix = np.zeros(size)
        for k in draw.choice(len(train), int(draw.integers(3, 9)), replace=False):
            samples, _ = soundfile.read(train[k].audio)
            looped = np.resize(samples / (np.sqrt(np.mean(samples**2)) + 1e-6), size)
            mix += np.roll(looped, int(draw.integers(size)))
        with replacing(out / f"babble-{i:02d}.wav") as beside:
            soundfile.write(beside, 0.5 * mix / np.abs(mix).max(), RATE_HZ, format="WAV")


def prepare(
    out: Path, corpora: Path, synthetic: Path | None, more: list[Path], noises: list[Path]
) -> None:
    """Write the manifests to `out`; raises `UserError` if a corpus is missing."""
    sets: dict[str, list[Utterance]] = {}
    for name, split_of in CORPORA.items():
        folder = corpora / name
        if not (folder / "manifest.tsv").is_file():
            raise UserError(f"{folder}: has no manifest.tsv")
        split = split_of(folder)
        for u in track(manifest.read(folder / "manifest.tsv"), name):
            part = split(u)
            key = f"train_{name}" if part == "train" else part
            sets.setdefault(key, []).append(as_wav(u, out / "audio" / name))
    real = {name: sets.pop(f"train_{name}") for name in CORPORA}
    train = [u for name, found in real.items() for u in repeated(found, REPEAT[name])]
    further = [u for path in more for u in manifest.read(path)]
    real["more"] = [as_wav(u, out / "audio" / "more") for u in track(further, "more")]
    train += repeated(real["more"], REPEAT_MORE)
    corpora_spoken = sorted(synthetic.glob("*/manifest.jsonl")) if synthetic else []
    spoken = [u for path in corpora_spoken for u in manifest.read(path)]
    sets["train"] = train + spoken
    once = [u for found in real.values() for u in found]
    sets["dev"] = [u for key in sorted(sets) if key.startswith("dev_") for u in sets[key]]
    for name, utterances in sets.items():
        write(out / f"{name}.jsonl", utterances)
        hours = sum(u.duration_s for u in utterances) / 3600
        speakers = len({u.speaker for u in utterances})
        print(f"{name}: {len(utterances)} utterances, {speakers} speakers, {hours:.2f} h")
    write_babble(once, out / "noises")
    for path in noises:
        samples = audio_file.read(path, RATE_HZ)
        with replacing(out / "noises" / f"{path.stem}.wav") as beside:
            soundfile.write(beside, samples, RATE_HZ, format="WAV", subtype="PCM_16")


if __name__ == "__main__":
    main(
        prepare,
        __doc__,
        {
            "--corpora": {"type": Path, "required": True, "help": "folder of the real corpora"},
            "--synthetic": {"type": Path, "help": "folder of corpora that asr synth wrote"},
            "--more": {"type": Path, "nargs": "*", "default": [], "help": "further manifests"},
            "--noises": {"type": Path, "nargs": "*", "default": [], "help": "recorded noise"},
        },
    )
