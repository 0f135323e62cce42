"""Make the digits corpus: strings of 1 to 7 digits, spoken by synthetic voices.

The voices are those of `asr.synthesis`: hibari, whose one network gives any number of voices by
changes of pitch, vocal tract, spectrum, rate and accent, and eSpeak NG; with --engines others. Each
engine has an equal share of the audio. The splits share no voice, and no voice of dev or test is
similar to one of train. Training also has the recordings in clips/, by voices of Kokoro and flite,
which are too slow, or not installed everywhere.

    python recipes/digits/prepare.py OUT [--hours H] [--voices N] [--engines NAMES] [--clips N]
        [--seed S] [--processes P]

writes OUT/{train,dev,test}.jsonl and 16 kHz, 16-bit WAV files in OUT/audio. The text is the
intended word ("three"), even if an accent makes it sound like "tree". Complete voices in OUT are
kept. On one machine the bytes depend only on the options, not on the number of processes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
from rich.progress import track
from voices import (
    RATE_HZ,
    Speaker,
    draw_engine_speakers,
    draw_speakers,
    draw_utterance,
    set_sizes,
)

from asr.data.manifest import Utterance, read, write
from asr.errors import UserError
from asr.pipeline.prepare_cli import main
from asr.synthesis.engine import VoiceEngine
from asr.synthesis.engines import engines_of, installed_engines

RECIPE_VERSION = 2  # in the marker; increase it with every change of the generated audio
SPLITS = ("train", "dev", "test")
HELD_OUT_UTTERANCES = 10  # per voice of dev and test
CLIPS = Path(__file__).parent / "clips" / "clips.jsonl"


@dataclass(frozen=True)
class Part:
    """The recordings of one speaker: a folder with a record, part.json, that is written last."""

    folder: Path
    speaker: Speaker
    rng_seed: tuple[int, ...]
    n_utterances: int | None  # the number of utterances; if None, see `seconds`
    seconds: float  # utterances are generated until their total duration reaches this

    def saved_rows(self) -> list[dict] | None:
        """Id, duration and text of each recording if all are there and unchanged, else None."""
        try:
            record = json.loads((self.folder / "part.json").read_text("utf-8"))
            digest = hashlib.sha256()
            for row in record["rows"]:
                digest.update((self.folder / f"{row['id']}.wav").read_bytes())
        except (OSError, ValueError, KeyError):
            return None
        return record["rows"] if digest.hexdigest() == record["sha256"] else None

    def utterances(self) -> Iterator[tuple[np.ndarray, str]]:
        rng = np.random.default_rng(self.rng_seed)
        count, spoken_s = 0, 0.0
        while count < self.n_utterances if self.n_utterances else spoken_s < self.seconds:
            samples, text = draw_utterance(self.speaker, rng)
            yield samples, text
            count, spoken_s = count + 1, spoken_s + len(samples) / RATE_HZ

    def make(self) -> list[Utterance]:
        """Synthesize the recordings, unless they are complete already."""
        rows = self.saved_rows() or self.speak()
        return [
            Utterance(
                **row,
                audio=str(self.folder / f"{row['id']}.wav"),
                speaker=self.speaker.name,
                language="en",
            )
            for row in rows
        ]

    def speak(self) -> list[dict]:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        rows, digest = [], hashlib.sha256()
        for i, (samples, text) in enumerate(self.utterances()):
            name = f"{self.speaker.name}-{i:03d}"
            buffer = io.BytesIO()
            soundfile.write(buffer, samples, RATE_HZ, subtype="PCM_16", format="WAV")
            (self.folder / f"{name}.wav").write_bytes(buffer.getvalue())
            digest.update(buffer.getvalue())
            rows.append({"id": name, "duration_s": len(samples) / RATE_HZ, "text": text})
        write_json(self.folder / "part.json", {"rows": rows, "sha256": digest.hexdigest()})
        return rows


def write_json(path: Path, content: dict) -> None:
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(json.dumps(content), "utf-8")
    os.replace(beside, path)


def chosen_engines(names: str) -> list[VoiceEngine]:
    """The engines, hibari first; `auto` means all fast ones that are installed.

    Raises `UserError` if one cannot be used.
    """
    hibari, *_ = engines_of(["hibari"])
    others = installed_engines() if names == "auto" else engines_of(names.split(","))
    if hibari not in others:
        raise UserError(f"--engines: {names!r} has no hibari, which every corpus needs")
    return [hibari, *(engine for engine in others if engine is not hibari)]


def draw_parts(
    audio: Path, engines: list[VoiceEngine], hours: float, voices: int, seed: int
) -> list[Part]:
    """What each speaker is to say; each engine has an equal share of the training audio."""
    count = max(1, voices // len(engines))
    parts = []
    for engine in engines:
        if engine.name == "hibari":
            # The first ones of the set are the same, however many engines there are.
            sizes, drawn = set_sizes(count), draw_speakers(seed, voices)
            speakers: list[Speaker] = [
                speaker
                for split in SPLITS
                for speaker in [s for s in drawn if s.split == split][: sizes[split]]
            ]
        else:
            speakers = [*draw_engine_speakers(engine, seed, count)]
        n_train = sum(speaker.split == "train" for speaker in speakers)
        for speaker in speakers:
            parts.append(
                Part(
                    folder=audio / speaker.name,
                    speaker=speaker,
                    rng_seed=(seed, *speaker.name.encode()),
                    n_utterances=None if speaker.split == "train" else HELD_OUT_UTTERANCES,
                    seconds=hours * 3600 / len(engines) / n_train,
                )
            )
    return parts


def recorded(copies: int) -> list[Utterance]:
    """The recordings in clips/, each `copies` times."""
    return [
        replace(utterance, id=f"{utterance.id}-{copy}")
        for copy in range(copies)
        for utterance in read(CLIPS)
    ]


def prepare(
    out: Path, hours: float, voices: int, engines: str, clips: int, seed: int, processes: int
) -> None:
    """Write the corpus to `out`; raises `UserError` if `out` has audio of another origin."""
    for name, value in (("hours", hours), ("voices", voices), ("processes", processes)):
        if not 0 < value < float("inf"):
            raise UserError(f"--{name}: {value} is not a number above 0")
    for name, number in (("seed", seed), ("clips", clips)):
        if number < 0:
            raise UserError(f"--{name}: {number} is below 0")
    chosen = chosen_engines(engines)  # reports what is missing before any file is changed
    options = {
        "recipe": f"digits {RECIPE_VERSION}",
        "engines": [f"{engine.name} {engine.version()}" for engine in chosen],
        "hours": hours,
        "voices": voices,
        "seed": seed,
    }
    marker, audio = out / "prepared.json", out / "audio"
    if audio.exists() and not marker.exists():
        raise UserError(f"{audio} exists and was not made by this recipe: give another folder")
    if marker.exists() and json.loads(marker.read_text("utf-8")) != options:
        print(f"{out}: has a corpus with other options, which is replaced")
        for split in SPLITS:
            (out / f"{split}.jsonl").unlink(missing_ok=True)
        shutil.rmtree(audio, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    write_json(marker, options)

    parts = draw_parts(audio, chosen, hours, voices, seed)
    if processes == 1:
        done = list(track(map(Part.make, parts), "speaking", len(parts)))
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            done = list(track(pool.map(Part.make, parts), "speaking", len(parts)))

    for split in SPLITS:
        utterances = [
            utterance
            for part, spoken in zip(parts, done, strict=True)
            if part.speaker.split == split
            for utterance in spoken
        ]
        if split == "train":
            utterances += recorded(clips)
        write(out / f"{split}.jsonl", utterances)
        spoken_h = sum(utterance.duration_s for utterance in utterances) / 3600
        print(f"{split}: {len(utterances)} utterances, {spoken_h:.2f} h")


if __name__ == "__main__":
    main(
        prepare,
        __doc__,
        {
            "--hours": {"type": float, "default": 0.8, "help": "hours of new training audio (0.8)"},
            "--voices": {"type": int, "default": 300, "help": "number of training voices (300)"},
            "--engines": {
                "default": "hibari,espeak",
                "help": "engines, separated by commas, or auto: all that are installed "
                "(%(default)s)",
            },
            "--clips": {
                "type": int,
                "default": 1,
                "help": "how often each recording of clips/ is in the training set (1)",
            },
            "--seed": {"type": int, "default": 0, "help": "random seed of the corpus (0)"},
            "--processes": {
                "type": int,
                "default": os.cpu_count(),
                "help": "parallel processes (%(default)s)",
            },
        },
    )
