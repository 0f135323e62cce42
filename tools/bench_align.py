"""Time and memory of aligning an hour: `python tools/bench_align.py [--frames N --tokens N]`.

Emissions are made, not recognized: 50,000 random tokens in 90,000 frames of 40 ms, peaky as a
trained CTC model's are, at places that are known, so that the result is checked too. Each size of
vocabulary runs in a process of its own; its peak memory is of all it holds: Python, numba, the
emissions and the alignment. The compiled kernel comes from numba's cache. Last, a tenth of the
size is aligned by torchaudio too.
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
    """(T, V) log-probs that spell `count` random tokens, the tokens, and the frame of each."""
    rng = np.random.default_rng(seed)
    # Steps of 1 to V - 2 around the ids leave no two neighbors equal: any frames can be theirs.
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
    """Beside torchaudio's `forced_align`, in turns; its back-pointers are a byte a trellis cell."""
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
    parser.add_argument("--vocabulary", type=int, help="one size, in this process")
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
