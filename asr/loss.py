"""CTC (Graves et al. 2006), and which texts it can align."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from asr.tokenizer import BLANK


def frames_needed(tokens: Sequence[int]) -> int:
    """The fewest frames in which CTC can write `tokens`: one each, and a blank between repeats."""
    return len(tokens) + sum(a == b for a, b in itertools.pairwise(tokens))


def ctc_loss(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """-ln P(targets | audio), summed over the batch, divided by its number of tokens.

    log_probs: (B, T, V) natural logs; lengths: (B,) frames; targets: (B, L) token ids, padded;
    target_lengths: (B,). Computed in float32. An utterance that needs more frames than it has
    makes the loss infinite: leave such utterances out beforehand (`frames_needed`).
    """
    total = functional.ctc_loss(
        log_probs.float().transpose(0, 1),  # (T, B, V)
        targets,
        lengths,
        target_lengths,
        blank=BLANK,
        reduction="sum",
    )
    return total / target_lengths.sum().clamp(min=1)
