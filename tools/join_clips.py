"""Join the recordings of small corpora into one Opus file each, with one manifest of their places.

    python tools/join_clips.py OUT CORPUS [CORPUS ...]

writes OUT/NAME.opus for each folder CORPUS with a manifest.jsonl, NAME being the name of the
folder, and OUT/clips.jsonl. A repository keeps a few files in place of hundreds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from asr import audio
from asr.data.manifest import Utterance, read, write

RATE_HZ = 16000
GAP_S = 0.2  # silence between two recordings, because Opus smears over its frames of 20 ms


def join(corpus: Path, out: Path) -> list[Utterance]:
    """Write OUT/NAME.opus; the utterances of `corpus` at their places in it."""
    gap = np.zeros(round(GAP_S * RATE_HZ), np.float32)
    parts, placed, start = [gap], [], len(gap)
    joined = out / f"{corpus.name}.opus"
    for utterance in read(corpus / "manifest.jsonl"):
        samples = audio.read(utterance.audio, RATE_HZ, utterance.start_s, utterance.duration_s)
        samples = 0.5 * samples / np.abs(samples).max()
        place = {"start_s": start / RATE_HZ, "duration_s": len(samples) / RATE_HZ}
        placed.append(replace(utterance, audio=str(joined), **place))
        parts += [samples, gap]
        start += len(samples) + len(gap)
    soundfile.write(joined, np.concatenate(parts), RATE_HZ, "OPUS", format="OGG")
    return placed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpora", type=Path, nargs="+", metavar="corpus")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    placed = [u for corpus in options.corpora for u in join(corpus, options.out)]
    write(options.out / "clips.jsonl", placed)
    hours = sum(u.duration_s for u in placed) / 3600
    print(f"{options.out}: {len(placed)} recordings, {hours:.2f} h")


if __name__ == "__main__":
    main()
