"""Prepare English read by three women: books, phonetically balanced sentences, voice prompts.

- LJSpeech by Linda Johnson, public domain, <https://keithito.com/LJ-Speech-Dataset>: sentences from
  books, the whole corpus or a part of it;
- Kathleen, CC0, <https://github.com/rhasspy/dataset-voice-kathleen>: the CMU ARCTIC prompts, some
  of them read two or three times;
- Allison Smith's prompts of Asterisk, CC-BY-SA-3.0, Debian's asterisk-core-sounds-en.

    python recipes/readers/prepare.py OUT --audio FOLDER

FOLDER has the folders ljspeech_part, rhasspy_kathleen and asterisk_en, each with a manifest.tsv
(id, audio, speaker, text). Nothing is downloaded. Texts with digits are left out, because their
reading is unknown. The script writes train.jsonl, dev.jsonl and a test set for each voice.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from rich.progress import track

from asr import audio as audio_file
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.pipeline.prepare_cli import main

VOICES = ("ljspeech_part", "rhasspy_kathleen", "asterisk_en")
LJ_TEST = 40  # the last utterances of LJSpeech are its test set


def group(voice: str, utterance: Utterance) -> str:
    """The key that keeps repeated readings of an ARCTIC prompt in the same split."""
    prompt = re.match(r"arctic_[ab]\d{4}", utterance.id)
    return prompt[0] if voice == "rhasspy_kathleen" and prompt else utterance.id


def split_of(voice: str, utterance: Utterance, place: int, count: int) -> str:
    """The split of the utterance at index `place` of a manifest of `count` utterances."""
    if voice == "ljspeech_part":
        return "test" if place >= count - LJ_TEST else "dev" if place % 20 == 0 else "train"
    name = group(voice, utterance)
    if voice == "rhasspy_kathleen":
        return "test" if name.endswith("0") else "dev" if name.endswith("5") else "train"
    drawn = zlib.crc32(name.encode()) % 20
    return "test" if drawn < 2 else "dev" if drawn == 2 else "train"


def prepare(out: Path, audio: Path) -> None:
    """Write the manifests; raises `UserError` if a voice or a file is missing."""
    splits: dict[str, list[Utterance]] = {"train": [], "dev": []}
    left_out = 0
    for voice in VOICES:
        if not (audio / voice / "manifest.tsv").is_file():
            raise UserError(
                f"{audio / voice}: no manifest.tsv; the recipe needs {', '.join(VOICES)}"
            )
        found = manifest.read(audio / voice / "manifest.tsv")
        tests = splits.setdefault(f"test_{voice}", [])
        for place, utterance in enumerate(track(found, voice)):
            if re.search(r"[0-9#*]", utterance.text):
                left_out += 1
                continue
            info = audio_file.info(utterance.audio)
            utterance = utterance.lasting(info.duration_s)
            split = split_of(voice, utterance, place, len(found))
            (tests if split == "test" else splits[split]).append(utterance)
    print(f"{left_out} texts with digits, # or * left out")
    for name, utterances in splits.items():
        manifest.write(out / f"{name}.jsonl", utterances)
        hours = sum(utterance.duration_s for utterance in utterances) / 3600
        print(f"{name}: {len(utterances)} utterances, {hours:.2f} h")


if __name__ == "__main__":
    folder = {"type": Path, "required": True, "help": "folder with the three voices"}
    main(prepare, __doc__, {"--audio": folder})
