"""`train.batch_s: auto`: the wanted seconds of audio per step, unless trials exceed the memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import nn

from asr.config import Config
from asr.data.loader import Batch, SpeechDataset
from asr.data.shards import durations_s
from asr.model.memory import free_bytes, peak_bytes, used_bytes
from asr.training.plan import wanted_batch_s

log = logging.getLogger("asr")

# Seconds of audio in one forward and backward pass; more is not faster
MAX_PASS_S = {"cuda": 640.0, "cpu": 160.0}
# The share of the free memory that a pass may use. It is lower on a CPU, whose memory other
# processes use as well.
MEMORY_SHARE = {"cuda": 0.85, "cpu": 0.5}


def find_batch_s(
    objective: nn.Module,
    durations_s: Sequence[float],
    tokens: int,
    rate_hz: int,
    device: torch.device,
    parts: int = 1,
) -> float:
    """The seconds of audio per step, including padding.

    It is that of `asr.training.plan.wanted_batch_s`, or what fits in memory. durations_s: (N,) the
    duration of each utterance at the slowest speed; tokens: the largest number of tokens of an
    utterance; parts: the number of passes, over all processes, into which a step is split.
    """
    longest_s = max(durations_s)
    max_pass_s = MAX_PASS_S.get(device.type, MAX_PASS_S["cpu"])
    wanted_s = wanted_batch_s(sum(durations_s), longest_s, parts * max_pass_s)
    most = -(-int(wanted_s / longest_s) // parts)  # number of longest utterances in one pass
    fits = fitting_utterances(objective, longest_s, most, tokens, rate_hz, device)
    if fits >= most:
        return wanted_s
    found_s = parts * fits * longest_s
    log.info("train.batch_s: %.0f s would not fit in memory, %.0f s do", wanted_s, found_s)
    return found_s


def agree_on_batch_s(
    accelerator: Accelerator, objective: nn.Module, dataset: SpeechDataset, config: Config
) -> float:
    """The minimum of the results of `find_batch_s` in all processes."""
    augment = config.augment
    slowest, added_s = min(augment.speed, default=1.0), 2 * augment.pad_silence_s
    found_s = find_batch_s(
        objective,
        (durations_s(dataset.utterances) / slowest + added_s) / augment.tempo[0],
        # Of labels, the memory does not depend.
        max(len(t) for t in dataset.targets) if config.task == "transcribe" else 0,
        config.features.rate_hz,
        accelerator.device,
        accelerator.num_processes * config.train.accumulate,
    )
    return accelerator.gather(torch.tensor([found_s], device=accelerator.device)).min().item()


def fitting_utterances(
    objective: nn.Module,
    longest_s: float,
    most: int,
    tokens: int,
    rate_hz: int,
    device: torch.device,
) -> int:
    """The number of utterances of `longest_s` seconds that fit in one pass, from 1 to `most`.

    The number is doubled until the memory is exhausted, or until the growth so far predicts that
    the next trial would exhaust it.
    """
    share = MEMORY_SHARE.get(device.type, MEMORY_SHARE["cpu"])
    allowed = used_bytes(device) + share * free_bytes(device)
    buffers = [buffer.clone() for buffer in objective.buffers()]  # statistics of batch norm
    count, before, peak = 0, 0, 0
    try:
        with torch.random.fork_rng():
            while count < most:
                following = min(most, 2 * count or 1)
                # bytes per utterance
                growth = (peak - before) / (count - count // 2) if before else 0.0
                if growth and peak + growth * (following - count) > allowed:
                    return count + max(0, int((allowed - peak) / growth))
                batch = random_batch(following, longest_s, tokens, rate_hz)
                objective(batch.to(device)).backward()
                count, before, peak = following, peak, peak_bytes(device)
    except torch.OutOfMemoryError:
        return max(1, count)
    finally:
        objective.zero_grad()
        for buffer, value in zip(objective.buffers(), buffers, strict=True):
            buffer.copy_(value)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return count


def random_batch(count: int, duration_s: float, tokens: int, rate_hz: int) -> Batch:
    """`count` utterances of noise with `tokens` tokens each."""
    samples = round(duration_s * rate_hz)
    targets = torch.arange(count * tokens).reshape(count, tokens) % 2 + 1  # no repeats in a row
    return Batch(
        [str(i) for i in range(count)],
        count * tokens,
        1.0,
        0.1 * torch.randn(count, samples),
        torch.full((count,), samples),
        targets,
        torch.full((count,), tokens),
    )
