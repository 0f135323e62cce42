"""Compilation and decoding with a grammar: `python tools/bench_grammar.py`.

The grammar has two templates with 400 names and the numbers from 0 to 1500. It is read and compiled
for a tokenizer of 500 pieces, in a process of its own. Then
random sentences of it are decoded from artificial emissions of 8 frames a token, with the grammar
and with a beam of 50 and a word 3-gram estimated on 20,000 of its sentences.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import statistics
import time

import numpy as np

from asr.config import TextConfig
from asr.decoder.beam import BeamDecoder
from asr.decoder.grammar import GrammarDecoder
from asr.lm.grammar import Grammar
from asr.lm.ngram import NGram
from asr.text import tokenizer
from asr.text.normalize import normalize

SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "il")]


def names(count: int) -> list[str]:
    """Distinct invented names of two words, which share no more than real ones do."""
    draw, found = random.Random(0), set()
    while len(found) < count:
        words = ["".join(draw.choices(SYLLABLES, k=draw.randint(2, 3))) for _ in range(2)]
        found.add(" ".join(words))
    return sorted(found)


SOURCE = {
    "intents": {
        "Set": ["(set|change) [the] {name} to {0..1500:level} [percent]"],
        "Switch": ["(turn|switch) (on|off) [the] {name}"],
    },
    "lists": {"name": names(400)},
}
FRAME_S, FRAMES_A_TOKEN, VOCABULARY = 0.04, 8, 500


def texts(count: int, seed: int = 0) -> list[str]:
    return [normalize(text, TextConfig()) for text in Grammar(SOURCE).sample(count, seed)]


def compile_alone(pieces: bytes) -> tuple[float, float, int, int]:
    """Seconds, peak MiB of this process with all its imports, states and arcs."""
    tokens = tokenizer.from_bytes(pieces, "bpe")
    Grammar(["warm (up|down) {0..20:degrees}"]).compile(tokens, TextConfig())
    started = time.perf_counter()
    arrays = Grammar(SOURCE).compile(tokens, TextConfig()).arrays
    seconds = time.perf_counter() - started
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    return seconds, mib, len(arrays.final_weight), len(arrays.arc_token)


def emissions(tokens: list[int], vocabulary: int, draw: np.random.Generator) -> np.ndarray:
    """(T, V) log-probabilities: a peak for each token among blanks, with confusions."""
    frames = FRAMES_A_TOKEN * len(tokens)
    scores = draw.normal(0, 1.5, (frames, vocabulary))
    scores[:, 0] += 8.0
    for i, token in enumerate(tokens):
        at = FRAMES_A_TOKEN * i + int(draw.integers(1, FRAMES_A_TOKEN - 1))
        scores[at, 0] -= 6.0
        scores[at, token] += draw.uniform(6.0, 12.0)
    return (scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)).astype(np.float32)


def rate(decoder: GrammarDecoder | BeamDecoder, batch: list[np.ndarray]) -> tuple[float, list[str]]:
    """Utterances a second of processor time, on one thread, and the texts."""
    started = time.process_time()
    found = [decoder.decode(one, FRAME_S)[0].text for one in batch]
    return len(batch) / (time.process_time() - started), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=300, help="decoded with each decoder")
    parser.add_argument("--training", type=int, default=20_000, help="sentences of the 3-gram")
    parser.add_argument("--rounds", type=int, default=5, help="of the median speed")
    given = parser.parse_args()
    training = texts(given.training, seed=1)
    tokens = tokenizer.train(training[:2000], "bpe", VOCABULARY)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds, mib, states, arcs = pool.apply(compile_alone, (tokens.to_bytes(),))
    grammar = Grammar(SOURCE)
    print(f"grammar: {grammar.sentence_count:,} sentences; {states:,} states, {arcs:,} arcs")
    print(f"read and compiled in {seconds:.2f} s; peak of the process {mib:.0f} MiB")
    compiled = grammar.compile(tokens, TextConfig())
    draw = np.random.default_rng(0)
    references = texts(given.sentences, seed=2)
    batch = [emissions(tokens.encode(text), len(tokens.pieces), draw) for text in references]
    audio_s = sum(map(len, batch)) * FRAME_S
    decoders = {
        "grammar": GrammarDecoder(tokens.pieces, compiled.arrays, compiled.meaning),
        "3-gram, beam 50": BeamDecoder(tokens.pieces, lm=NGram.estimate(training, 3)),
        "no language model, beam 50": BeamDecoder(tokens.pieces),
    }
    print(f"{len(batch)} utterances, {audio_s:.0f} s")
    print("| decoder | utterances/s | right |\n|---|---|---|")
    for decoder in decoders.values():
        decoder.decode(batch[0], FRAME_S)
    rounds = [  # the decoders take turns, so that other work on the machine slows each alike
        {name: rate(decoder, batch) for name, decoder in decoders.items()}
        for _ in range(given.rounds)
    ]
    for name in decoders:
        speed = statistics.median(round_[name][0] for round_ in rounds)
        right = sum(map(str.__eq__, rounds[0][name][1], references)) / len(batch)
        print(f"| {name} | {speed:.0f} | {right:.1%} |")


if __name__ == "__main__":
    main()
