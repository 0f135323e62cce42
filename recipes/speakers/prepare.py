"""Prepare a corpus with speakers for identification, and for verification of other speakers.

    python recipes/speakers/prepare.py OUT --manifests data/speechocean

The folder of --manifests has train.jsonl, dev.jsonl and test.jsonl with the column `speaker`, and
test.jsonl has speakers of its own, as recipes/speechocean/prepare.py writes them. The recordings of
train and dev become the classes: of each speaker, a tenth is the dev set, a tenth the test set, the
rest trains. The recordings of test.jsonl become unknown.jsonl, speakers that training never hears.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

from asr.data.manifest import Utterance, read, write
from asr.errors import UserError
from asr.pipeline.prepare_cli import main

SHARE = 0.1  # of the recordings of a speaker, for dev and for test


def split(utterances: list[Utterance]) -> dict[str, list[Utterance]]:
    """Recordings of the same speakers in train, dev and test, by a hash of their ids."""
    by_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for u in utterances:
        if u.speaker is not None:
            by_speaker[u.speaker].append(u)
    sets: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for speaker, group in sorted(by_speaker.items()):
        count = max(1, round(SHARE * len(group)))
        if len(group) < 2 * count + 1:
            raise UserError(f"speaker {speaker}: has {len(group)} recordings, fewer than 3")
        group.sort(key=lambda u: hashlib.sha256(u.id.encode()).digest())
        sets["dev"] += group[:count]
        sets["test"] += group[count : 2 * count]
        sets["train"] += group[2 * count :]
    return sets


def prepare(out: Path, manifests: Path) -> None:
    """Write the manifests; raises `UserError` if a speaker is in train and in test."""
    known = [u for name in ("train", "dev") for u in read(manifests / f"{name}.jsonl")]
    unknown = read(manifests / "test.jsonl")
    shared = {u.speaker for u in known} & {u.speaker for u in unknown} - {None}
    if shared:
        raise UserError(f"{manifests / 'test.jsonl'}: speaker {min(shared)} is in train as well")
    for name, utterances in (split(known) | {"unknown": unknown}).items():
        write(out / f"{name}.jsonl", utterances)
        speakers = len({u.speaker for u in utterances})
        print(f"{name}: {len(utterances)} recordings, {speakers} speakers")


if __name__ == "__main__":
    folder = {"type": Path, "required": True, "help": "folder with manifests by speaker"}
    main(prepare, __doc__, {"--manifests": folder})
