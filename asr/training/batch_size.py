"""How many seconds of audio a step may have: what fits in memory, tried before training starts."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import nn

from asr.data.loader import Batch
from asr.model.memory import free_bytes, peak_bytes, used_bytes

log = logging.getLogger("asr")

STEPS_AN_EPOCH = 100  # at least, of a batch size found by itself: CTC needs steps before anything
MOST_S = 640.0  # a pass; longer ones are no faster
SHARE = {"cuda": 0.85, "cpu": 0.5}  # of the memory that is free: others live in a CPU's too


def find_batch_s(
    objective: nn.Module,
    durations_s: Sequence[float],
    tokens: int,
    rate_hz: int,
    device: torch.device,
    parts: int = 1,
) -> float:
    """Seconds of audio a step, padding counted: what fits, and leaves `STEPS_AN_EPOCH`.

    durations_s: of all utterances, at their slowest; tokens: the most that one has; parts:
    processes times passes, over which a step is dealt.
    """
    longest_s = max(durations_s)
    wanted_s = min(max(sum(durations_s) / STEPS_AN_EPOCH, longest_s), parts * MOST_S)
    most = -(-int(wanted_s / longest_s) // parts)  # of the longest utterances, in one pass
    fits = fitting_utterances(objective, longest_s, most, tokens, rate_hz, device)
    found_s = wanted_s if fits >= most else parts * fits * longest_s
    reason = f"{STEPS_AN_EPOCH} steps an epoch" if fits >= most else "what fits in memory"
    log.info("train.batch_s: auto is %.0f s: %s", found_s, reason)
    return found_s


def fitting_utterances(
    objective: nn.Module,
    longest_s: float,
    most: int,
    tokens: int,
    rate_hz: int,
    device: torch.device,
) -> int:
    """How many utterances of `longest_s` one pass can train on, of 1 to `most`.

    Twice as many are tried each time, until there is no memory or, as it grows in proportion, there
    would be none for the next.
    """
    allowed = used_bytes(device) + SHARE.get(device.type, SHARE["cpu"]) * free_bytes(device)
    buffers = [buffer.clone() for buffer in objective.buffers()]  # of batch normalization
    count, before, peak = 0, 0, 0
    try:
        with torch.random.fork_rng():
            while count < most:
                following = min(most, 2 * count or 1)
                growth = (peak - before) / (count - count // 2) if before else 0.0  # an utterance
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
    """Noise that claims to have so many tokens each."""
    samples = round(duration_s * rate_hz)
    targets = torch.arange(count * tokens).reshape(count, tokens) % 2 + 1  # no two alike in a row
    return Batch(
        [str(i) for i in range(count)],
        count * tokens,
        1.0,
        0.1 * torch.randn(count, samples),
        torch.full((count,), samples),
        targets,
        torch.full((count,), tokens),
    )
