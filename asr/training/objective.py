"""The objective that a training step minimizes: features, masks, the model and its losses.

It is one module, so that mixed precision and data parallelism wrap it and not the model that
validation uses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.data.loader import Batch
from asr.model.ctc import consistency_loss, ctc_loss, entropy
from asr.model.model_file import Model
from asr.model.spec_augment import SpecAugment


class Objective(nn.Module):
    """A batch -> its share of the step's loss, divided by the number of tokens of the step.

    loss = CTC on the last layer, then, for the settings that are not 0:

    - `train.inter_ctc_weight` w: (1 - w) * loss + w * (mean CTC of the inner layers)
    - `train.entropy_weight`: loss - entropy_weight * H(emissions)
    - `train.cr_ctc_weight`: the batch is masked twice, and
      loss / 2 + cr_ctc_weight * (divergence between the two views), see `consistency_loss`
    """

    def __init__(self, model: Model):
        super().__init__()
        self.features = model.features
        self.spec_augment = SpecAugment(model.config.spec_augment)
        self.acoustic = model.acoustic
        self.config = model.config.train
        self.inner_weight = self.config.inter_ctc_weight if model.config.model.inter_ctc else 0.0

    def forward(self, batch: Batch) -> Tensor:
        targets, target_lengths = batch.targets, batch.target_lengths
        with torch.autocast(batch.waveforms.device.type, enabled=False):
            features, frames = self.features(batch.waveforms, batch.lengths)  # (B, T, F), (B,)
            if self.config.cr_ctc_weight:
                features, frames = features.repeat(2, 1, 1), frames.repeat(2)  # (2 B, T, F)
                targets, target_lengths = targets.repeat(2, 1), target_lengths.repeat(2)
            features = self.spec_augment(features, frames)
        if self.inner_weight:
            (*inner, log_probs), frames = self.acoustic.outputs(features, frames)
        else:
            log_probs, frames = self.acoustic(features, frames)  # (B, T', V), (B,)

        loss = ctc_loss(log_probs, frames, targets, target_lengths)
        if self.inner_weight:
            losses = [ctc_loss(output, frames, targets, target_lengths) for output in inner]
            mean = torch.stack(losses).mean()
            loss = (1 - self.inner_weight) * loss + self.inner_weight * mean
        if self.config.entropy_weight:
            loss = loss - self.config.entropy_weight * entropy(log_probs, frames)
        if self.config.cr_ctc_weight:
            loss = loss / 2 + self.config.cr_ctc_weight * consistency_loss(log_probs, frames)
        return loss * batch.weight / max(1, batch.tokens)
