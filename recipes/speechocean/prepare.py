"""Prepare speechocean762: 5000 English sentences read by 250 speakers of Mandarin, half children.

By Junbo Zhang and others (Interspeech 2021), CC-BY-4.0, <https://www.openslr.org/101>. It was made
for pronunciation scoring, and ranges from hardly intelligible to nearly native. The official split
has 125 speakers for training and 125 others for testing, with 20 sentences each.

    python recipes/speechocean/prepare.py OUT [--audio FOLDER]

downloads the corpus into OUT, or takes a copy on disk: the original folders (WAVE, train, test),
or one with a manifest.tsv (id, audio, speaker, text) and a split.tsv (id, split, age, gender). It
writes OUT/train.jsonl and dev.jsonl (an eighth of the training speakers, of each age and gender),
test.jsonl, and the same test once more by age: test_adults.jsonl and test_children.jsonl.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.progress import track

from asr.config import TextConfig
from asr.data import manifest
from asr.data.corpora import fetch
from asr.data.importers.kaldi import kaldi_table, read_kaldi
from asr.data.manifest import Utterance, write
from asr.data.wav import as_wav
from asr.errors import UserError
from asr.pipeline.prepare_cli import main
from asr.text.normalize import normalize

RATE_HZ = 16000
ADULT = 18  # years; the corpus has nobody of 16 to 18
DEV_SHARE = 1 / 8  # of the training speakers
Splits = dict[str, list[Utterance]]


def read_original(folder: Path) -> Splits:
    """Read the published Kaldi folders; `read_kaldi` finds the paths in wav.scp below `folder`."""
    splits = {}
    for split in ("train", "test"):
        ages = kaldi_table(folder / split / "spk2age")
        genders = kaldi_table(folder / split / "spk2gender")
        splits[split] = [
            replace(
                u,
                extra=traits(u.id, u.speaker in ages and ages[u.speaker], genders.get(u.speaker)),
            )
            for u in read_kaldi(folder / split)
        ]
    return splits


def read_tables(folder: Path) -> Splits:
    """Read manifest.tsv and split.tsv; splits other than train and test are ignored."""
    with (folder / "split.tsv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        if missing := {"id", "split", "age", "gender"} - set(reader.fieldnames or ()):
            raise UserError(f"{file.name}: no column {min(missing)!r}")
        rows = {row["id"]: row for row in reader}
    splits: Splits = {"train": [], "test": []}
    for u in manifest.read(folder / "manifest.tsv"):
        row = rows.get(u.id)
        if row is None:
            raise UserError(f"{folder / 'split.tsv'}: no row for {u.id} of manifest.tsv")
        if row["split"] in splits:
            splits[row["split"]].append(replace(u, extra=traits(u.id, row["age"], row["gender"])))
    return splits


def traits(name: str, age: str | None, gender: str | None) -> dict[str, int | str]:
    if not (age and age.isdecimal() and gender in ("f", "m")):
        raise UserError(f"{name}: its speaker's age and gender are {age!r} and {gender!r}")
    return {"age": int(age), "gender": gender}


def read_corpus(folder: Path) -> Splits:
    """Read either layout; raises `UserError` if both are missing or the splits share a speaker."""
    if (folder / "manifest.tsv").is_file() and (folder / "split.tsv").is_file():
        splits = read_tables(folder)
    elif (folder / "train" / "wav.scp").is_file() and (folder / "test" / "wav.scp").is_file():
        splits = read_original(folder)
    else:
        raise UserError(
            f"{folder}: has neither train/wav.scp and test/wav.scp nor manifest.tsv and split.tsv"
        )
    speakers = {split: {u.speaker for u in utterances} for split, utterances in splits.items()}
    if shared := speakers["train"] & speakers["test"]:
        raise UserError(f"{folder}: speaker {min(shared)} is in train and in test")
    return splits


def take_dev(train: Iterable[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """(train, dev): dev has `DEV_SHARE` of the speakers among girls, boys, women and men.

    Speakers are chosen by a hash of their names, independently of the order of the files.
    """
    strata: dict[tuple[bool, str], set[str]] = defaultdict(set)
    for u in train:
        strata[u.extra["age"] < ADULT, u.extra["gender"]].add(u.speaker)
    dev = {
        speaker
        for speakers in strata.values()
        for speaker in sorted(speakers, key=lambda name: hashlib.sha256(name.encode()).digest())[
            : max(1, round(DEV_SHARE * len(speakers)))
        ]
    }
    return [u for u in train if u.speaker not in dev], [u for u in train if u.speaker in dev]


def overlap(train: Iterable[Utterance], other: Iterable[Utterance]) -> tuple[float, float]:
    """(share of the texts of `other` that occur in `train`, share of its words that do not)."""
    known = {normalize(u.text, TextConfig()) for u in train}
    vocabulary = {word for text in known for word in text.split()}
    texts = [normalize(u.text, TextConfig()) for u in other]
    words = [word for text in texts for word in text.split()]
    unknown = sum(word not in vocabulary for word in words)
    return sum(text in known for text in texts) / len(texts), unknown / len(words)


def prepare(out: Path, audio: Path | None) -> None:
    """Write the corpus to `out`; raises `UserError` if a split would be empty."""
    if audio is None:
        audio, _ = fetch("speechocean762", out)
    splits = {
        split: [
            replace(as_wav(u, out / "audio", RATE_HZ), language="en")
            for u in track(utterances, split)
        ]
        for split, utterances in read_corpus(audio).items()
    }
    splits["train"], splits["dev"] = take_dev(splits["train"])
    splits["test_adults"] = [u for u in splits["test"] if u.extra["age"] >= ADULT]
    splits["test_children"] = [u for u in splits["test"] if u.extra["age"] < ADULT]
    for split, utterances in splits.items():
        if not utterances:
            raise UserError(f"{audio}: has no utterance for {split}")
        write(out / f"{split}.jsonl", utterances)
        said = (
            f"{split}: {len(utterances)} utterances, {len({u.speaker for u in utterances})} "
            f"speakers, {sum(u.duration_s for u in utterances) / 3600:.2f} h"
        )
        if split != "train":
            shared, unknown = overlap(splits["train"], utterances)
            said += f"; not in train: {1 - shared:.1%} of the texts, {unknown:.1%} of the words"
        print(said)


if __name__ == "__main__":
    folder = {"type": Path, "help": "a copy on disk, in either layout (no download)"}
    main(prepare, __doc__, {"--audio": folder})
