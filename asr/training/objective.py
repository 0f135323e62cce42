"""What a training step minimizes, in one module: features, masks, the model, its losses.

One module so that mixed precision and data parallelism wrap this, and never the model that
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
    """A batch -> its share of the step's loss, a token of the step.

    CTC on the last layer; with `train.inter_ctc_weight` w, (1 - w) of that and w of the mean CTC
    of the inner layers; with `train.cr_ctc_weight`, the mean CTC of two masked views and so much of
    their disagreement; with `train.entropy_weight`, less so much of the emissions' entropy.
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
            losses = [ctc_loss(read, frames, targets, target_lengths) for read in inner]
            mean = torch.stack(losses).mean()
            loss = (1 - self.inner_weight) * loss + self.inner_weight * mean
        if self.config.entropy_weight:
            loss = loss - self.config.entropy_weight * entropy(log_probs, frames)
        if self.config.cr_ctc_weight:
            loss = loss / 2 + self.config.cr_ctc_weight * consistency_loss(log_probs, frames)
        return loss * batch.weight / max(1, batch.tokens)
