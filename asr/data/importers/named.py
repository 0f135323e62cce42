"""Corpora of single words and short strings whose file names tell the text.

- yesno, `0_1_0_0_1_0_1_1.wav`: the eight words of a recording, 1 is yes and 0 is no; in sorted
  order, the first 30 are for training. https://www.openslr.org/1
- FSDD, `recordings/7_theo_12.wav`: digit, speaker and number; the numbers 0 to 4 are the test set,
  by the same speakers. https://github.com/Jakobovski/free-spoken-digit-dataset
- Speech Commands, `yes/004ae714_nohash_0.wav`: the folder is the word, the name begins with the
  speaker; two lists name the sets for validation and test. https://arxiv.org/abs/1804.03209
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from asr.audio import AUDIO_SUFFIXES
from asr.data.importers.base import (
    MAYBE,
    NO,
    SURE,
    Importer,
    ImportLog,
    ImportSettings,
    Source,
    lines_of,
)
from asr.data.manifest import Utterance

YESNO = re.compile(r"[01](_[01]){7}")
YESNO_TRAIN = 30  # as in Kaldi and its successors
FSDD = re.compile(r"(\d)_([a-z]+)_(\d+)")
FSDD_TEST = 5  # the recordings of a speaker and digit with a number below this
DIGITS = "zero one two three four five six seven eight nine".split()
COMMAND_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
COMMAND = re.compile(r"([0-9a-f]+)_nohash_\d+")
BACKGROUND = "_background_noise_"


def _audio(folder: Path) -> Iterator[Path]:
    """The audio files below a folder, in sorted order, folder by folder."""
    for at, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if Path(name).suffix.lower() in AUDIO_SUFFIXES and not name.startswith("."):
                yield Path(at, name)


def _all_match(pattern: re.Pattern, source: Source) -> int:
    """MAYBE for a folder in which the name of each recording matches: it may have a table too."""
    if not source.is_dir:
        return NO
    found = source.with_suffix(*AUDIO_SUFFIXES)
    return MAYBE if found and all(pattern.fullmatch(path.stem) for path in found) else NO


def sniff_yesno(source: Source) -> int:
    return _all_match(YESNO, source)


def read_yesno(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    recordings = sorted(_audio(source.path), key=lambda path: path.stem)
    for index, path in enumerate(recordings):
        text = " ".join("yes" if bit == "1" else "no" for bit in path.stem.split("_"))
        split = "train" if index < YESNO_TRAIN else "test"
        yield Utterance(path.stem, str(path), text=text, language="he", extra={"split": split})


def sniff_fsdd(source: Source) -> int:
    return _all_match(FSDD, source)


def read_fsdd(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    for path in _audio(source.path):
        named = FSDD.fullmatch(path.stem)
        if named is None:
            log.leave_out("the name is not DIGIT_SPEAKER_NUMBER", path)
            continue
        split = "test" if int(named[3]) < FSDD_TEST else "train"
        text = DIGITS[int(named[1])]
        extra = {"split": split}
        yield Utterance(path.stem, str(path), text=text, speaker=named[2], extra=extra)


def sniff_commands(source: Source) -> int:
    lists = COMMAND_LISTS.values()
    return SURE if source.is_dir and all((source.path / each).is_file() for each in lists) else NO


def read_commands(source: Source, settings: ImportSettings, log: ImportLog) -> Iterator[Utterance]:
    sets = {
        line.strip(): split
        for split, name in COMMAND_LISTS.items()
        for _, line in lines_of(source.path / name)
    }
    for path in _audio(source.path):
        word, named = path.parent.name, COMMAND.fullmatch(path.stem)
        if word == BACKGROUND:
            log.leave_out("background noise", path, meant=True)
        elif named is None or path.parent.parent != source.path:
            log.leave_out("the name is not WORD/SPEAKER_nohash_NUMBER", path)
        else:
            split = sets.get(f"{word}/{path.name}", "train")
            id, extra = f"{word}/{path.stem}", {"split": split}
            yield Utterance(id, str(path), text=word, speaker=named[1], extra=extra)


IMPORTERS = (
    Importer("yesno", "yesno (names such as 0_1_0_0_1_0_1_1.wav)", sniff_yesno, read_yesno),
    Importer("fsdd", "FSDD (names such as 7_theo_12.wav)", sniff_fsdd, read_fsdd),
    Importer(
        "speech-commands", "Speech Commands (a folder for each word)", sniff_commands, read_commands
    ),
)
