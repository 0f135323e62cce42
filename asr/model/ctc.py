"""CTC (Graves et al. 2006), the losses that are added to it, and the frames that it needs.

All losses are sums over the batch in float32; the caller divides them, as a batch may be part of a
larger one.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from asr.config import Config
from asr.model.acoustic import ConvSubsampling
from asr.model.features import Features, length_mask
from asr.text.tokenizer import BLANK


def frames_needed(tokens: Sequence[int]) -> int:
    """The fewest frames in which CTC can write `tokens`: one each, and a blank between repeats."""
    return len(tokens) + sum(map(operator.eq, tokens, itertools.islice(tokens, 1, None)))


def ctc_loss(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """-ln P(targets | audio), summed over the batch.

    log_probs: (B, T, V) natural logs; lengths: (B,) frames; targets: (B, L) token ids, padded;
    target_lengths: (B,). An utterance that needs more frames than it has makes the loss infinite:
    leave such utterances out beforehand (`frames_needed`).
    """
    arguments = [log_probs.float().transpose(0, 1), targets, lengths, target_lengths]  # (T, B, V)
    if log_probs.is_cuda and torch.are_deterministic_algorithms_enabled():
        arguments = [
            a.cpu() for a in arguments
        ]  # the order of sums in its CUDA gradient is not fixed
    return functional.ctc_loss(*arguments, blank=BLANK, reduction="sum").to(log_probs.device)


def consistency_loss(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """The divergence of two views of the same utterances (CR-CTC: Yao et al. 2024, equation 5).

    log_probs: (2 B, T, V), the first B rows are one view, the others the other; lengths: (2 B,).
    Half the sum over frames of KL(b || a) + KL(a || b), the first of each pair held fixed.
    """
    a, b = log_probs.float().chunk(2)  # (B, T, V) each
    other = torch.cat([b, a]).detach()
    divergence = (other.exp() * (other - torch.cat([a, b]))).sum(dim=2)  # (2 B, T)
    return divergence.masked_fill(~length_mask(lengths, log_probs.shape[1]), 0.0).sum() / 2


def entropy(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """The entropy of the emissions in nats, summed over frames; (B, T, V), (B,) frames."""
    per_frame = -(log_probs.exp() * log_probs).sum(dim=2)  # (B, T)
    return per_frame.masked_fill(~length_mask(lengths, log_probs.shape[1]), 0.0).sum()


def ctc_frames(config: Config) -> Callable[[Sequence[int], float], tuple[int, int]]:
    """A function: token ids and seconds of audio -> the frames that CTC needs for the tokens
    (`frames_needed`) and the frames that the configured model gives, without building the model.

    A model that classifies needs one frame, whatever the labels.
    """
    if config.task == "classify":
        return lambda tokens, duration_s: (1, 1)
    features = Features(config.features)
    front_end = ConvSubsampling(
        features.size, config.model.channels, config.model.subsampling, 1, causal=False
    )
    rate_hz = config.features.rate_hz

    def frames(tokens: Sequence[int], duration_s: float) -> tuple[int, int]:
        given = front_end.frames(features.frames(round(duration_s * rate_hz)))
        return frames_needed(tokens), given

    return frames
