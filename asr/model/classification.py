"""The losses of classification, and mixup. All losses are sums over the batch in float32."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional


def one_hot(targets: Tensor, target_lengths: Tensor, classes: int) -> Tensor:
    """(B, L) label ids, padded, (B,) -> (B, C): 1 for each label of an utterance, otherwise 0."""
    inside = torch.arange(targets.shape[1], device=targets.device) < target_lengths[:, None]
    found = torch.zeros(len(targets), classes, device=targets.device)
    return found.scatter_add_(1, targets, inside.float()).clamp(max=1)


def class_loss(
    logits: Tensor,
    wanted: Tensor,
    multi_label: bool = False,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """The cross-entropy of classes, summed over the batch.

    logits, wanted: (B, C), the probabilities that are wanted; multi_label: each class has a
    cross-entropy of its own (sigmoid), otherwise they share one (softmax); smoothing s: `wanted`
    becomes (1 - s) * wanted + s / C, or + s / 2 with multi_label (Szegedy et al. 2016); weights:
    (C,) of the classes.
    """
    share = smoothing / 2 if multi_label else smoothing / logits.shape[1]
    smoothed = (1 - smoothing) * wanted + share
    if multi_label:
        return functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="sum")
    losses = -(smoothed * logits.log_softmax(1)).sum(1)  # (B,)
    return losses.sum() if weights is None else (losses * (wanted @ weights)).sum()


def balanced_weights(targets: Iterable[Tensor], classes: int) -> Tensor:
    """(C,) weights that are inversely proportional to the number of utterances of each class.

    targets: the label id (1,) of each training utterance. The mean over utterances is 1.
    """
    counts = torch.zeros(classes)
    for target in targets:
        counts[target] += 1
    return counts.sum() / (counts.clamp(min=1) * (counts > 0).sum())


def mixup(
    features: Tensor, frames: Tensor, wanted: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each utterance with another of the batch (Zhang et al. 2018).

    (B, T, F), (B,) frames, (B, C) -> the same shapes: share * x_i + (1 - share) * x_j, likewise for
    `wanted`, with the longer of the two lengths. The share of each utterance is drawn from
    Beta(alpha, alpha) and is at least 1/2, so that an utterance keeps most of its own class. Random
    numbers come from torch's CPU generator on every device.
    """
    batch = len(features)
    drawn = torch.distributions.Beta(alpha, alpha).sample((batch,))
    share = torch.maximum(drawn, 1 - drawn).to(features.device)  # (B,)
    other = torch.randperm(batch).to(features.device)
    mixed = torch.lerp(features[other], features, share[:, None, None])
    return (
        mixed,
        torch.maximum(frames, frames[other]),
        torch.lerp(wanted[other], wanted, share[:, None]),
    )
