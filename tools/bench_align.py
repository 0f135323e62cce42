"""Time and memory of aligning an hour: `python tools/bench_align.py [--frames N --tokens N]`.

The emissions are synthetic: 50,000 random tokens in 90,000 frames of 40 ms, peaky like those of a
trained CTC model. The frames of the tokens are known, so the result is checked too. Each vocabulary
size runs in a separate process, whose peak memory includes Python, numba, the emissions and the
alignment. The compiled kernel is loaded from numba's cache. At the end, a tenth of the size is also
aligned by torchaudio.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from asr.decoder.align import align


def make_emissions(
    frames: int, count: int, vocabulary: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-probs (T, V) that spell `count` random tokens, the tokens, and the frame of each."""
    rng = np.random.default_rng(seed)
    # Differences of 1 to V - 2 modulo V - 1 make neighbors unequal, so they need no blank between.
    steps = rng.integers(1, vocabulary - 1, count)
    tokens = np.cumsum(steps) % (vocabulary - 1) + 1
    places = np.sort(rng.choice(frames, count, replace=False))
    log_probs = rng.standard_normal((frames, vocabulary), dtype=np.float32)
    best = np.zeros(frames, np.int64)
    best[places] = tokens
    log_probs[np.arange(frames), best] += 12
    for part in np.array_split(log_probs, max(1, frames // 1000)):  # normalize without a copy
        part -= np.log(np.exp(part).sum(axis=1, keepdims=True))
    return log_probs, tokens, places


def one(frames: int, count: int, vocabulary: int) -> None:
    align(np.zeros((3, 2), np.float32), [1])  # load the kernel
    log_probs, tokens, places = make_emissions(frames, count, vocabulary)
    started = time.perf_counter()
    alignment = align(log_probs, tokens)
    seconds = time.perf_counter() - started
    right = float(np.mean((alignment.starts <= places) & (places < alignment.ends)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    print(
        f"| {frames:,} | {count:,} | {vocabulary} | {seconds:.1f} | {peak:.0f} "
        f"| {log_probs.nbytes / 2**20:.0f} | {right:.2%} |"
    )


def compare(frames: int, count: int, vocabulary: int = 32, repeats: int = 3) -> None:
    """Compare with torchaudio's `forced_align`, whose back-pointers take a byte per trellis cell.

    Both run alternately.
    """
    import torch
    from torchaudio.functional import forced_align

    torch.set_num_threads(1)
    log_probs, tokens, _ = make_emissions(frames, count, vocabulary)
    batch, targets = torch.from_numpy(log_probs)[None], torch.from_numpy(tokens)[None]
    ours, theirs = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        alignment = align(log_probs, tokens)
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        path, _ = forced_align(batch, targets)
        theirs.append(time.perf_counter() - started)
    same = np.zeros(frames, np.int64)
    for token, start, end in zip(tokens, alignment.starts, alignment.ends, strict=True):
        same[start:end] = token
    print(
        f"\n{frames:,} frames, {count:,} tokens, V {vocabulary}, best of {repeats}: "
        f"asr {min(ours):.3f} s, torchaudio {min(theirs):.3f} s, "
        f"{'the same path' if np.array_equal(same, path[0]) else 'different paths'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=90_000)
    parser.add_argument("--tokens", type=int, default=50_000)
    parser.add_argument("--vocabulary", type=int, help="measure only this size, in this process")
    arguments = parser.parse_args()
    if arguments.vocabulary:
        one(arguments.frames, arguments.tokens, arguments.vocabulary)
        return
    print("| frames | tokens | V | seconds | peak MiB | of it emissions MiB | tokens in place |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for vocabulary in (32, 500):
        sizes = ["--frames", arguments.frames, "--tokens", arguments.tokens]
        command = [sys.executable, __file__, *map(str, sizes), "--vocabulary", str(vocabulary)]
        subprocess.run(command, check=True)
    compare(arguments.frames // 10, arguments.tokens // 10)


if __name__ == "__main__":
    main()
