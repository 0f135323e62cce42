"""Make a corpus as strangers have it, from 200 recordings of speechocean762.

The recordings are of speakers in the test set of the corpus (`split.tsv`), whom the English model
of the package has not heard.

    python tools/stranger_corpus.py SPEECHOCEAN_FOLDER OUT

writes OUT/export.csv with semicolons and the columns Datei, Gesprochener Text, Sprecher_ID and
Bemerkung, and OUT/clips with WAV at 8 to 48 kHz (some in stereo), FLAC, MP3 and Ogg Opus. Three
files are broken: one is empty, one is cut off, one is text. Two recordings of the first speaker are
there a second time, as a re-encoded copy under the name of speaker 0024. With the default seed, the
first speaker comes to lie in the test set and speaker 0024 in the training set: two leaks.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import soundfile
import soxr

from asr import audio
from asr.data import manifest
from asr.data.manifest import Utterance

COLUMNS = ("Datei", "Gesprochener Text", "Sprecher_ID", "Bemerkung")
SPEAKERS, EACH = 20, 10
COPIED_AS = "0024"
# (suffix, rate in Hz, channels)
FORMATS = (("wav", 8000, 1), ("wav", 44100, 2), ("flac", 16000, 1), ("mp3", 22050, 1),
           ("opus", 16000, 1), ("wav", 48000, 1))  # fmt: skip
OF_SOUNDFILE = {"opus": ("OGG", "OPUS"), "mp3": ("MP3", None)}
RATE_HZ = 16000


def save(samples: np.ndarray, path: Path, rate_hz: int, channels: int) -> None:
    """Write samples at 16 kHz (N,) in the format of the suffix."""
    samples = soxr.resample(samples, RATE_HZ, rate_hz)
    format, subtype = OF_SOUNDFILE.get(path.suffix[1:], (None, None))
    soundfile.write(path, np.stack([samples] * channels, 1), rate_hz, subtype, format=format)


def heard_by_no_model(source: Path) -> list[Utterance]:
    """The rows of the test set, or all rows if the corpus has no split.tsv."""
    rows = manifest.read(source / "manifest.tsv")
    if not (source / "split.tsv").is_file():
        return rows
    with (source / "split.tsv").open(encoding="utf-8", newline="") as file:
        test = {r["id"] for r in csv.DictReader(file, delimiter="\t") if r["split"] == "test"}
    return [row for row in rows if row.id in test]


def chosen(rows: list[Utterance]) -> list[Utterance]:
    """Ten recordings of each of the first twenty speakers, in the order of the speakers."""
    speakers = list(dict.fromkeys(u.speaker for u in rows))[:SPEAKERS]
    of = {name: [u for u in rows if u.speaker == name][:EACH] for name in speakers}
    return [u for name in speakers for u in of[name]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    clips = arguments.out / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    utterances = chosen(heard_by_no_model(arguments.source))
    table: list[tuple[str, ...]] = [COLUMNS]
    for number, u in enumerate(utterances):
        suffix, rate_hz, channels = FORMATS[number % len(FORMATS)]
        path = clips / f"Aufnahme {number:03d}.{suffix}"
        samples = audio.read(u.audio, RATE_HZ)
        save(samples, path, rate_hz, channels)
        table.append((path.name, u.text.capitalize() + ".", f"Person {u.speaker}", ""))
        if number in (0, 1):  # each once more, under another name
            copy = clips / f"Kopie {number}.mp3"
            save(0.5 * samples, copy, 24000, 1)
            table.append((copy.name, table[-1][1], f"Person {COPIED_AS}", "Kopie"))
    last = {suffix: sorted(clips.glob(f"Aufnahme *.{suffix}"))[-1] for suffix, _, _ in FORMATS}
    last["flac"].write_bytes(b"")
    whole = last["wav"].read_bytes()
    last["wav"].write_bytes(whole[: len(whole) // 3])
    last["opus"].write_text("not audio\n")
    with (arguments.out / "export.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows(table)
    print(f"{arguments.out}/export.csv: {len(table) - 1} rows")


if __name__ == "__main__":
    main()
