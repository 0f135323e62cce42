"""Somebody's recordings and texts -> train, dev and test manifests that share no speaker."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from asr import audio, manifest
from asr.config import TextConfig
from asr.errors import UserError
from asr.manifest import Utterance
from asr.text import normalise

FEWEST_SPEAKERS = 5  # with fewer, whole texts are kept apart instead of whole speakers


@dataclass(frozen=True)
class Split:
    train: list[Utterance]
    dev: list[Utterance]
    test: list[Utterance]
    by: str  # what no two of them share: "speaker" or "text"


# ---- sources -----------------------------------------------------------------------------------


def read_source(path: str | Path) -> tuple[list[Utterance], list[str]]:
    """Utterances of a manifest, a Kaldi folder, or a folder of recordings with texts beside them.

    Returns them with a line for each recording that was left out, saying why. Raises `UserError`
    where nothing is found.
    """
    path = Path(path)
    if path.is_file():
        return manifest.read(path), []
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    if (path / "wav.scp").is_file():
        return read_kaldi(path), []
    return read_folder(path)


def read_folder(folder: Path) -> tuple[list[Utterance], list[str]]:
    """`a.wav` with its text in `a.txt`; a folder below `folder` is taken for a speaker's."""
    utterances, left_out = [], []
    for recording in manifest.audio_files(folder):
        text = recording.with_suffix(".txt")
        if not text.is_file():
            left_out.append(f"{recording}: no text beside it ({text.name})")
            continue
        name = recording.relative_to(folder).with_suffix("")
        try:
            said = " ".join(text.read_text(encoding="utf-8-sig").split())
        except UnicodeDecodeError:
            raise UserError(f"{text}: not UTF-8; convert it") from None
        speaker = str(name.parent) if name.parent != Path(".") else None
        utterances.append(Utterance(str(name), str(recording), text=said, speaker=speaker))
    if not utterances:
        raise UserError(f"{left_out[0]}: put the text of a.wav into a.txt, or list both in a .tsv")
    return utterances, left_out


def read_kaldi(folder: Path) -> list[Utterance]:
    """A Kaldi data folder: wav.scp, text, and segments and utt2spk where they are."""
    recordings = kaldi_table(folder / "wav.scp")
    texts = kaldi_table(folder / "text")
    speakers = kaldi_table(folder / "utt2spk") if (folder / "utt2spk").is_file() else {}
    for name, recording in recordings.items():
        if recording.endswith("|"):
            raise UserError(f"{folder / 'wav.scp'}: {name} is a command; give a file instead")
    stretches = {name: (name, 0.0, None) for name in recordings}
    if (folder / "segments").is_file():
        stretches = {}
        for name, row in kaldi_table(folder / "segments").items():
            try:
                recording, start, end = row.split()
                stretches[name] = (recording, float(start), float(end) - float(start))
            except ValueError:
                bad = f"{folder / 'segments'}: {name}: {row!r} is not `recording start end`"
                raise UserError(bad) from None
    utterances = []
    for name, (recording, start_s, duration_s) in stretches.items():
        if recording not in recordings:
            raise UserError(f"{folder / 'segments'}: {name}: {recording} is not in wav.scp")
        path = recordings[recording]
        utterances.append(
            Utterance(name, path, start_s, duration_s, texts.get(name), speakers.get(name))
        )
    return utterances


def kaldi_table(path: Path) -> dict[str, str]:
    """The rows of a Kaldi file by their first word; raises `UserError` where it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    rows = (line.split(maxsplit=1) for line in lines if line.strip())
    return {row[0]: row[1] if len(row) == 2 else "" for row in rows}


# ---- splits ------------------------------------------------------------------------------------


def split(utterances: Iterable[Utterance], dev: float, test: float) -> Split:
    """Set shares of the audio apart for dev and test; the same input always gives the same split.

    Whole speakers where every utterance has one and there are `FEWEST_SPEAKERS`; otherwise all
    utterances of a text, whoever reads it. Raises `UserError` when there is too little to split.
    """
    utterances = list(utterances)
    speakers = {u.speaker for u in utterances}
    by = "speaker" if None not in speakers and len(speakers) >= FEWEST_SPEAKERS else "text"
    groups: dict[str, list[Utterance]] = defaultdict(list)
    for u in utterances:
        groups[u.speaker if by == "speaker" else normalise(u.text or "", TextConfig())].append(u)
    if len(groups) < 3:
        raise UserError(f"{len(groups)} different {by}s are too few for train, dev and test")
    # By hash: an order that no property of the recordings has a part in, and that stays.
    names = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).digest())
    length_s = {name: sum(u.duration_s for u in groups[name]) for name in names}
    total_s = sum(length_s.values())
    chosen: dict[str, list[str]] = {"test": [], "dev": [], "train": []}
    for name in names:
        for part, share in (("test", test), ("dev", dev)):
            # Taken when that brings a part nearer to its share: what is too large is for training.
            if sum(length_s[n] for n in chosen[part]) + length_s[name] / 2 < share * total_s:
                chosen[part].append(name)
                break
        else:
            chosen["train"].append(name)
    for part in ("test", "dev", "train"):
        if not chosen[part]:
            most = max(chosen.values(), key=len)
            pick = max if part == "train" else min
            moved = pick(most, key=length_s.__getitem__)
            most.remove(moved)
            chosen[part].append(moved)
    parts = {part: [u for name in chosen[part] for u in groups[name]] for part in chosen}
    return Split(parts["train"], parts["dev"], parts["test"], by)


def prepare(
    source: str | Path,
    out: str | Path,
    dev: float = 0.1,
    test: float = 0.1,
    progress: Callable[[], None] = lambda: None,
) -> tuple[Split, list[str]]:
    """Write OUT/train.jsonl, dev.jsonl and test.jsonl; audio stays where it is.

    Returns the split, and a line for each recording that was left out.
    """
    if not (0 < dev < 1 and 0 < test < 1 and dev + test < 1):
        raise UserError(f"shares: dev {dev:g} and test {test:g} must lie between 0 and 1 together")
    utterances, left_out = read_source(source)
    usable = []
    for utterance in utterances:
        progress()
        try:
            left_s = audio.info(utterance.audio).duration_s - utterance.start_s
        except UserError as error:
            left_out.append(str(error))
            continue
        if not (utterance.text or "").strip():
            left_out.append(f"{utterance.id}: no text")
            continue
        duration_s = min(left_s, utterance.duration_s or left_s)
        # Made absolute: the manifests lie elsewhere, and what they name must be found from there.
        usable.append(
            replace(utterance, duration_s=duration_s, audio=str(Path(utterance.audio).resolve()))
        )
    if not usable:
        raise UserError(f"{source}: nothing can be used: {left_out[0]}")
    parts = split(usable, dev, test)
    for name in ("train", "dev", "test"):
        manifest.write(Path(out) / f"{name}.jsonl", getattr(parts, name))
    return parts, left_out
