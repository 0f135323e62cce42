"""The accuracy of segmentation: `python tools/bench_segment.py MODEL.asr SPEAKER...`.

Real digits of speakers of FSDD ($ASR_CORPORA/fsdd) are joined, with pauses, to a recording of 150
lines of five digits, so that the time of every word is known. It is aligned with its true text, and
with a corrupted one: a third of the lines is removed, one word is changed in a fifth of the others,
and lines that were not spoken are added. The quality of the score is the area under the ROC curve:
the probability that a correct line scores higher than a wrong one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from asr import audio
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.recognition.alignment import align_recording, long_emissions
from asr.recognition.recognizer import Recognizer, load
from asr.transcript import Transcript

LINES = 150
WORDS = 5
RATE_HZ = 8000


def join(speakers: list[str], rng: np.random.Generator) -> tuple[np.ndarray, list[str], np.ndarray]:
    """The samples, the text of each line, and start and end of each word (LINES, WORDS, 2) in s."""
    rows = manifest.read(Path(os.environ["ASR_CORPORA"]) / "fsdd" / "manifest.tsv")
    of_speaker = {name: [row for row in rows if row.speaker == name] for name in speakers}
    if missing := [name for name, found in of_speaker.items() if not found]:
        sys.exit(f"no such speaker in FSDD: {', '.join(missing)}")
    pieces, texts, times, at = [], [], [], 0

    def silence(least_s: float, most_s: float) -> None:
        nonlocal at
        pieces.append(np.zeros(round(RATE_HZ * rng.uniform(least_s, most_s)), np.float32))
        at += len(pieces[-1])

    for line in range(LINES):
        said = rng.choice(of_speaker[speakers[line % len(speakers)]], WORDS, replace=False)
        texts.append(" ".join(row.text for row in said))
        for row in said:
            silence(0.02, 0.25)
            pieces.append(audio.read(row.audio, RATE_HZ))
            times.append((at / RATE_HZ, (at + len(pieces[-1])) / RATE_HZ))
            at += len(pieces[-1])
        silence(0.4, 1.5)
    samples = np.concatenate(pieces)
    noise = rng.normal(scale=1e-3, size=len(samples)).astype(np.float32)
    return samples + noise, texts, np.array(times).reshape(LINES, WORDS, 2)


def spoil(texts: list[str], rng: np.random.Generator) -> tuple[list[str], np.ndarray, list[int]]:
    """Corrupt the text; returns the lines, the kind of each, and its true line or -1.

    The kinds are "right", "one word wrong" and "not said".
    """
    vocabulary = sorted({word for text in texts for word in text.split()})
    lines, kinds, sources = [], [], []
    for number, text in enumerate(texts):
        if rng.random() < 1 / 3:
            continue
        words, kind = text.split(), "right"
        if rng.random() < 1 / 5:
            place, kind = rng.integers(WORDS), "one word wrong"
            words[place] = rng.choice([word for word in vocabulary if word != words[place]])
        lines.append(" ".join(words))
        kinds.append(kind)
        sources.append(number)
        if rng.random() < 1 / 8:
            lines.append(" ".join(rng.choice(vocabulary, WORDS)))
            kinds.append("not said")
            sources.append(-1)
    return lines, np.array(kinds, object), sources


def report(recognizer: Recognizer, recording: Utterance, texts: list[str], times: np.ndarray, rng):
    transcript, _ = align_recording(recognizer, recording, texts)
    found = np.array([(word.start_s, word.end_s) for word in transcript.words])
    true = times.reshape(-1, 2)
    overlap = (found[:, 0] < true[:, 1]) & (true[:, 0] < found[:, 1])
    print(f"true text: {overlap.mean():.1%} of {len(true)} words overlap their place;", end=" ")
    for name, error in zip(("starts", "ends"), np.abs(found - true).T * 1000, strict=True):
        print(f"{name} off by {np.median(error):.0f} ms (median)", end="; ")
    read = read_right(recognizer, recording, texts, times)
    print(f"greedy decoding reads {read.mean():.1%} of the lines without an error")

    lines, kinds, sources = spoil(texts, rng)
    transcript, utterances = align_recording(recognizer, recording, lines)
    scores = np.array([utterance.extra["score"] for utterance in utterances])
    # A line that was not spoken is aligned too, so it may displace a correct neighbor.
    kinds[(kinds == "right") & ~in_place(transcript, sources, times)] = "right, displaced"
    right = scores[kinds == "right"]
    print("\n| line | lines | score: lowest tenth below | median | AUC against right |")
    print("|---|---|---|---|---|")
    for kind in ("right", "right, displaced", "one word wrong", "not said"):
        these = scores[kinds == kind]
        area = "" if kind == "right" else f"{np.mean(right[:, None] > these):.3f}"
        tenth, median = np.quantile(these, [0.1, 0.5])
        print(f"| {kind} | {len(these)} | {tenth:.2f} | {median:.2f} | {area} |")


def read_right(recognizer, recording, texts, times) -> np.ndarray:
    """Whether greedy decoding of each line alone gives its text, (LINES,)."""
    log_probs, _ = long_emissions(recognizer, recording)
    edges = np.array([[line[0, 0] - 0.1, line[-1, 1] + 0.3] for line in times])
    frames = (edges / recognizer.frame_s).astype(int).clip(0)
    return np.array(
        [
            recognizer.decoder.decode(log_probs[a:b], recognizer.frame_s)[0].text == text
            for (a, b), text in zip(frames, texts, strict=True)
        ]
    )


def in_place(transcript: Transcript, sources: list[int], times: np.ndarray) -> np.ndarray:
    """Whether each segment covers at least four fifths of its true line."""
    places = []
    for segment, source in zip(transcript.segments, sources, strict=True):
        start_s, end_s = times[source, 0, 0], times[source, -1, 1]
        held_s = min(segment.end_s, end_s) - max(segment.start_s, start_s)
        places.append(source >= 0 and held_s >= 0.8 * (end_s - start_s))
    return np.array(places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("speakers", nargs="+", help="e.g. theo yweweler")
    arguments = parser.parse_args()
    if "ASR_CORPORA" not in os.environ:
        sys.exit("set ASR_CORPORA to the folder that holds fsdd/manifest.tsv")
    rng = np.random.default_rng(0)
    samples, texts, times = join(arguments.speakers, rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines.wav"
        soundfile.write(path, samples, RATE_HZ)
        recording = Utterance("lines", str(path))
        print(f"{len(samples) / RATE_HZ:.0f} s, speakers {', '.join(arguments.speakers)}")
        report(load(arguments.model), recording, texts, times, rng)


if __name__ == "__main__":
    main()
