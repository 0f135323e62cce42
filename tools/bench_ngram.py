"""Estimation and agreement with KenLM: `python tools/bench_ngram.py TEXT [--lmplz PROGRAM]`.

TEXT has one sentence per line, plain or gzip; for the figures of the documentation it needs at
least 2 million words. The first million words are for estimation, the rest is held out. Each
estimation runs in a separate process; its time includes reading the text and saving the model, and
its peak memory is that of the whole process. The held-out perplexity and sentence scores are
compared with those of the `kenlm` module (the wheel `kenlm` or `kenlm-ex`) with the same ARPA file,
and, if `--lmplz` names KenLM's estimator, with those of its ARPA file.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from asr.data.texts import lines_of, sentences_of
from asr.lm.ngram import NGram


def split(source: Path, folder: Path, words: int) -> list[Path]:
    """Write the first `words` words in lower case to one file, and the rest to another."""
    paths, done = [folder / "train.txt", folder / "test.txt"], 0
    with open(paths[0], "w", encoding="utf-8") as train, open(paths[1], "w") as test:
        for line in lines_of(source):
            (train if done < words else test).write(" ".join(line.lower().split()) + "\n")
            done += len(line.split())
    return paths


def estimate(text: Path, order: int, model: Path) -> None:
    """Estimate and save in this process; prints a row of the table."""
    started = time.perf_counter()
    ngram = NGram.estimate(sentences_of([text]), order)
    ngram.save(model)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    print(f"| {order} | {len(ngram.automaton.arc_label):,} | {seconds:.1f} | {peak:.0f} |")


def compare(test: Path, folder: Path, lmplz: Path | None) -> None:
    import kenlm

    model = NGram.load(folder / "3.npz")
    started = time.perf_counter()
    model.save(folder / "3.arpa")
    written = time.perf_counter()
    from_arpa = NGram.load(folder / "3.arpa")
    read = time.perf_counter()
    NGram.load(folder / "3.npz")
    loaded = time.perf_counter()
    print(f"\nARPA written in {written - started:.1f} s, read in {read - written:.1f} s;", end=" ")
    print(f"npz loaded in {loaded - read:.3f} s")

    lines = list(sentences_of([test]))
    from_arpa.score(lines[0])  # load the kernel
    started = time.perf_counter()
    ours = from_arpa.score_lines(lines)
    print(f"held out: {ours}")
    print(f"scored at {ours.words / (time.perf_counter() - started) / 1e6:.2f} M words per second")
    oracle = kenlm.Model(str(folder / "3.arpa"))
    # KenLM sums a sentence in float32; the scores of its words are summed in float64 here.
    scores = [math.fsum(w[0] for w in oracle.full_scores(line)) * math.log(10) for line in lines]
    theirs = math.exp(-sum(scores) / (ours.words + ours.sentences))
    worst = max(abs(from_arpa.score(line) - s) for line, s in zip(lines, scores, strict=True))
    print(f"perplexity {ours.perplexity:.6f}, KenLM's query {theirs:.6f}")
    print(f"largest difference of a sentence's ln score: {worst:.1e}")
    if lmplz is None:
        return
    started = time.perf_counter()
    with open(folder / "train.txt") as stdin, open(folder / "lmplz.arpa", "w") as stdout:
        command = [lmplz, "-o", "3", "-S", "1G", "-T", folder]
        subprocess.run(command, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, check=True)
    print(f"lmplz: {time.perf_counter() - started:.1f} s", end="; ")
    theirs = NGram.load(folder / "lmplz.arpa")
    assert len(theirs.automaton.arc_label) == len(model.automaton.arc_label)
    worst = max(abs(model.score(line) - theirs.score(line)) for line in lines)
    print(f"perplexity of its model {theirs.perplexity(lines):.6f};", end=" ")
    print(f"largest difference of a sentence's ln score: {worst:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--lmplz", type=Path, help="KenLM's estimator, to compare with")
    parser.add_argument("--order", type=int, help="estimate this order only, in this process")
    parser.add_argument("-o", "--output", type=Path, help="the file to write with --order")
    parser.add_argument("--words", type=int, default=1_000_000, help="words to estimate from")
    arguments = parser.parse_args()
    if arguments.order:
        estimate(arguments.text, arguments.order, arguments.output)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, test = split(arguments.text, folder, arguments.words)
        print("| order | n-grams | seconds | peak MiB |\n|---|---|---|---|", flush=True)
        for order in (1, 2, 3, 4, 5, 6):
            options = ["--order", str(order), "-o", folder / f"{order}.npz"]
            subprocess.run([sys.executable, __file__, train, *options], check=True)
        compare(test, folder, arguments.lmplz)


if __name__ == "__main__":
    main()
