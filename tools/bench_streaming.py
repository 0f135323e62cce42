"""A streaming model: equality with whole recordings, and latency on audio paced by the clock.

    python tools/bench_streaming.py MODEL MANIFEST [--chunkings 500] [--paced 20] [--threads 1]
        [--decoder KEY=VALUE ...]

Equality: recordings of the manifest, in random pieces of 0 to 2 s, are streamed and compared with
`transcribe`: texts, times, confidences, and the emissions. With reference texts in the manifest,
the word error rates of both are printed.

Latency: recordings arrive in packets of 100 ms, each when its last sample would have been recorded.
- first partial: from the end of the first word (by its own times) to the first partial with text
- lag: from the end of a word to the first partial that has as many words
- end of audio: how long the last call takes, from the last packet to the final text
- end point: from the time of an end point in the audio to the call that reports it
- rewritten: words of a partial that the next one changes, as a share of its words
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from asr import audio
from asr.audio.microphone import PACKET_S
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.recognition.recognizer import Recognizer, load
from asr.recognition.stream import Partial
from asr.scoring.wer import wer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("--chunkings", type=int, default=500)
    parser.add_argument("--paced", type=int, default=20, help="recordings, in real time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--decoder", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = dict(setting.split("=", 1) for setting in options.decoder)
    recognizer = load(options.model, "cpu", **settings)
    rows = manifest.read(options.manifest)
    console = Console()
    if options.chunkings:
        console.print(equality(recognizer, rows, options.chunkings))
    if options.paced:
        console.print(latency(recognizer, rows[: options.paced]))


def own_rate(row: Utterance) -> tuple[np.ndarray, int]:
    """The samples of a recording at its own rate."""
    rate_hz = audio.info(row.audio).rate_hz
    return audio.read(row.audio, rate_hz, row.start_s, row.duration_s), rate_hz


def cut(samples: np.ndarray, rate_hz: int, draw: np.random.Generator) -> list[np.ndarray]:
    """Pieces of random sizes; the greatest size is random as well, from 4 ms up."""
    longest = int(rate_hz * 2.0 ** draw.uniform(-8, 1))
    sizes = draw.integers(0, longest + 2, size=4 * len(samples) // (longest + 1) + 10)
    places = np.minimum(np.cumsum(sizes), len(samples))
    pieces = np.split(samples, places[: np.searchsorted(places, len(samples))])
    return [piece.copy() for piece in pieces]


def equality(recognizer: Recognizer, rows: list[Utterance], chunkings: int) -> Table:
    draw = np.random.default_rng(0)
    texts = times = 0
    emissions = confidence = 0.0
    streamed, whole = [], []
    for number in range(chunkings):
        row = rows[number % len(rows)]
        samples, rate_hz = own_rate(row)
        expected = recognizer.transcribe(samples, rate_hz)
        pieces = cut(samples, rate_hz, draw)
        stream = recognizer.stream(rate_hz)
        for piece in pieces:
            stream.feed(piece)
        found = stream.finish()
        texts += found.text != expected.text
        pairs = list(zip(found.words, expected.words, strict=False))
        times += any((a.start_s, a.end_s) != (b.start_s, b.end_s) for a, b in pairs)
        confidence = max([confidence, *(abs(a.confidence - b.confidence) for a, b in pairs)])
        emissions = max(emissions, emission_difference(recognizer, samples, rate_hz, pieces))
        if row.text is not None and number < len(rows):
            streamed.append((row.text, found.text))
            whole.append((row.text, expected.text))
    table = Table("equality", "", title=f"{chunkings} random chunkings")
    table.add_row("differing texts", str(texts))
    table.add_row("differing times", str(times))
    table.add_row("greatest difference of confidences", f"{confidence:.1e}")
    table.add_row("greatest difference of emissions", f"{emissions:.1e}")
    if whole:
        for name, pairs_of_texts in (("streamed", streamed), ("whole", whole)):
            references, hypotheses = zip(*pairs_of_texts, strict=True)
            rate = wer(list(references), list(hypotheses))
            table.add_row(f"WER, {name} ({len(references)} recordings)", f"{rate:.2%}")
    return table


def emission_difference(
    recognizer: Recognizer, samples: np.ndarray, rate_hz: int, pieces: list[np.ndarray]
) -> float:
    (expected,) = recognizer.emissions(samples, rate_hz).rows()
    resampler = audio.LiveResampler(rate_hz, recognizer.rate_hz)
    stream = recognizer.emission_stream()
    rows = [stream.feed(resampler.feed(piece)) for piece in pieces]
    rows += [stream.feed(resampler.finish()), stream.finish()]
    return float(np.abs(np.concatenate(rows) - expected).max())


@dataclass
class Delays:
    """Seconds, over all recordings."""

    first: list[float] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)
    end_point: list[float] = field(default_factory=list)
    shown: int = 0  # words of partials
    rewritten: int = 0


def latency(recognizer: Recognizer, rows: list[Utterance]) -> Table:
    delays = Delays()
    for row in rows:
        pace(recognizer, *own_rate(row), delays)
    table = Table("latency", "p50", "p95", "count", title=f"{len(rows)} recordings in real time")
    for name, values in (
        ("first partial", delays.first),
        ("lag of words", delays.lag),
        ("end of audio", delays.end),
        ("end point", delays.end_point),
    ):
        marks = [f"{1000 * np.percentile(values, p):.0f} ms" if values else "" for p in (50, 95)]
        table.add_row(name, *marks, str(len(values)))
    share = delays.rewritten / max(1, delays.shown)
    table.add_row("rewritten", f"{share:.1%}", "", str(delays.shown))
    return table


def pace(recognizer: Recognizer, samples: np.ndarray, rate_hz: int, delays: Delays) -> None:
    """Stream one recording in real time."""
    stream, packet = recognizer.stream(rate_hz), round(PACKET_S * rate_hz)
    begun = time.perf_counter()
    seen: list[float] = []  # when the partial came that had that many words
    done, last = 0, ""  # words of finished utterances; the text of the partial before

    def note(partial: Partial, now_s: float) -> None:
        nonlocal done, last
        delays.end_point += [now_s - one.end_s for one in partial.finished if one.rule]
        done += sum(len(one.words) for one in partial.finished)
        seen.extend([now_s] * (done + len(partial.words) - len(seen)))
        before, after = last.split(), partial.text.split()
        if partial.finished:
            after = [*partial.finished[0].text.split(), *after]
        delays.shown += len(before)
        delays.rewritten += len(before) - common(before, after)
        last = partial.text

    for start in range(0, len(samples), packet):
        piece = samples[start : start + packet]
        due_s = (start + len(piece)) / rate_hz
        time.sleep(max(0.0, begun + due_s - time.perf_counter()))
        note(stream.feed(piece), time.perf_counter() - begun)
    asked = time.perf_counter()
    words = stream.finish().words
    delays.end.append(time.perf_counter() - asked)
    found = [now_s - word.end_s for word, now_s in zip(words, seen, strict=False)]
    delays.lag += found
    delays.first += found[:1]


def common(before: list[str], after: list[str]) -> int:
    """The number of words at the beginning that are the same."""
    same = [a == b for a, b in zip(before, after, strict=False)]
    return same.index(False) if False in same else len(same)


if __name__ == "__main__":
    main()
