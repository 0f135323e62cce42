"""The voices of each installed engine, and how fast one process speaks with them.

    python tools/bench_synth.py [--engine NAME]... [--utterances 50]

Speed is seconds of audio for each second of time. Processor time includes that of programs that an
engine runs. It depends less on what else the machine does than the time of the clock.
"""

from __future__ import annotations

import argparse
import os
import time

from asr.synthesis import ENGINES
from asr.synthesis.plan import choose_voices, plan

SENTENCES = (
    "Please call me tomorrow at seven.",
    "The ship sailed from the harbor in the early morning, and nobody saw it leave.",
    "What time is it?",
    "It was the second time that she had asked him the same question.",
    "Turn on the light in the kitchen.",
)


def processor_s() -> float:
    """Processor seconds of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", action="append", choices=list(ENGINES))
    parser.add_argument("--utterances", type=int, default=50, help="of each engine")
    options = parser.parse_args()
    names = options.engine or [name for name, e in ENGINES.items() if not e.problem()]
    print(f"{'engine':8} {'voices':>6} {'audio, s':>9} {'clock':>8} {'processor':>10}")
    for name in names:
        engine = ENGINES[name]
        engine.check()
        texts = [SENTENCES[i % len(SENTENCES)] for i in range(options.utterances)]
        first, *takes = plan(
            [SENTENCES[0], *texts], choose_voices([engine], len(texts), seed=0), seed=0, takes=1
        )
        engine.speak(first.text, first.voice.name, first.seed)  # loads what is large
        audio_s, began, spent = 0.0, time.perf_counter(), processor_s()
        for take in takes:
            samples, rate_hz = engine.speak(take.text, take.voice.name, take.seed)
            audio_s += len(samples) / rate_hz
        clock, processor = time.perf_counter() - began, processor_s() - spent
        print(
            f"{name:8} {len(engine.voices()):6} {audio_s:9.1f} {audio_s / clock:7.0f}x "
            f"{audio_s / processor:9.0f}x"
        )


if __name__ == "__main__":
    main()
