"""Training throughput of the whole loop, relative to a bare loop on random tensors.

    python tools/bench_training.py [--preset small] [--rounds 5]

The bare loop has only the same model, optimizer and batch shapes; its features are random tensors
in memory. The whole loop reads audio files, augments, computes and masks features, clips gradients,
and logs. Rounds alternate between the two, so that both see the same load of the machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console

from asr.config import parse
from asr.data import padding, sampler
from asr.data.manifest import Utterance
from asr.model.ctc import ctc_loss
from asr.model.model_file import Model
from asr.text.tokenizer import CharacterTokenizer
from asr.training import batches, distributed
from asr.training.loop import train
from asr.training.writers import read_metrics

UTTERANCES, RATE_HZ = 480, 16000


def make_corpus(folder: Path) -> list[Utterance]:
    """Write a corpus of noise of 1 to 8 seconds with random letters as texts."""
    draw = np.random.default_rng(0)
    utterances = []
    for i in range(UTTERANCES):
        duration_s = float(draw.uniform(1, 8))
        path = folder / f"{i}.wav"
        soundfile.write(path, 0.1 * draw.standard_normal(round(duration_s * RATE_HZ)), RATE_HZ)
        text = "".join(draw.choice(list("abcdefghijklmnopqrst "), size=int(12 * duration_s)))
        utterances.append(Utterance(str(i), str(path), duration_s=duration_s, text=text))
    return utterances


def whole_loop(config, utterances, tokens) -> tuple[float, float]:
    """The throughput of one epoch of `asr.training.loop` without validation, in seconds of audio
    per second, and the share of time spent waiting for data."""
    started = []

    class Watched(batches.BatchSampler):
        def steps(self, epoch):
            started.append(time.monotonic())
            return super().steps(epoch)

    original = batches.BatchSampler, distributed.in_shares
    ended = []
    validate = distributed.in_shares

    def watched_validation(*arguments):
        ended.append(time.monotonic())
        return validate(*arguments)

    batches.BatchSampler, distributed.in_shares = Watched, watched_validation
    try:
        with tempfile.TemporaryDirectory() as folder:
            model = Model.build(config, tokens)
            train(model, utterances, utterances[:1], Path(folder), Console(quiet=True))
            rows = read_metrics(Path(folder) / "metrics.jsonl")
    finally:
        batches.BatchSampler, distributed.in_shares = original
    # The first call of steps() counts the steps; the last one starts the epoch.
    waits = [row["train/data_wait_share"] for row in rows[1:] if "train/data_wait_share" in row]
    speed = sum(u.duration_s for u in utterances) / (ended[-1] - started[-1])
    return speed, statistics.mean(waits)


def bare_loop(config, utterances, tokens) -> float:
    """Throughput with the same batches as random tensors, in seconds of audio per second."""
    model = Model.build(config, tokens)
    acoustic = model.acoustic.train()
    optimizer = torch.optim.AdamW(acoustic.parameters(), 1e-3)
    durations_s, speeds = [u.duration_s for u in utterances], config.augment.speed
    plan = sampler.BatchSampler(durations_s, config.train.batch_s, config.seed, speeds)
    batches = []
    for places in plan.batches(0):
        frames = torch.tensor([int(durations_s[i] / speed * 100) + 1 for i, _, speed, _ in places])
        targets, lengths = padding.pad(
            [torch.tensor(tokens.encode(utterances[place.index].text)) for place in places]
        )
        batches.append((torch.randn(len(places), int(frames.max()), 80), frames, targets, lengths))
    started = time.monotonic()
    for features, frames, targets, lengths in batches:
        log_probs, frames = acoustic(features, frames)
        (ctc_loss(log_probs, frames, targets, lengths) / lengths.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return sum(u.duration_s for u in utterances) / (time.monotonic() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("overrides", nargs="*", help="changes to the configuration")
    options = parser.parse_args()
    values = {
        "name": "bench",
        "data": {"max_duration_s": 10},
        "model": {"preset": options.preset},
        "train": {"epochs": 1, "batch_s": 80, "device": "cpu"},
        "augment": {"speed": [0.9, 1.0, 1.1], "pad_silence_s": 0, "gain_db": 6, "noise_p": 0.5},
    }
    config = parse(values, "bench", options.overrides)
    with tempfile.TemporaryDirectory() as folder:
        utterances = make_corpus(Path(folder))
        tokens = CharacterTokenizer.train(u.text for u in utterances)
        rows = []
        for round_ in range(options.rounds + 1):
            whole, wait = whole_loop(config, utterances, tokens)  # sets torch's threads for both
            bare = bare_loop(config, utterances, tokens)
            if round_:  # the first one warms up
                rows.append((whole, bare))
                print(
                    f"whole {whole:6.1f}, bare {bare:6.1f} s of audio/s: {whole / bare:.2f}; "
                    f"{wait:.1%} of the time without data"
                )
    ratio = statistics.median(whole / bare for whole, bare in rows)
    print(
        f"{options.preset}, {torch.get_num_threads()} threads, {config.train.workers} workers: "
        f"median {statistics.median(w for w, _ in rows):.1f} s of audio/s, "
        f"{ratio:.2f} of the bare loop"
    )


if __name__ == "__main__":
    main()
