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
from asr.model.voices import Voices


class TrainingInputs(nn.Module):
    """What the objectives of all tasks share: a batch -> the features that the model hears."""

    def __init__(self, model: Model):
        super().__init__()
        self.features = model.features
        self.voices = Voices(model.config.augment, model.features)
        self.spec_augment = SpecAugment(model.config.spec_augment)
        self.acoustic = model.acoustic

    @torch.no_grad()
    def inputs(self, batch: Batch, views: int = 1) -> tuple[Tensor, Tensor]:
        """The features, (views * B, T, F), that the model hears, and their lengths in frames."""
        with torch.autocast(batch.waveforms.device.type, enabled=False):
            features, frames = self.voices(batch.waveforms, batch.lengths, batch.tempo, views)
            return self.spec_augment(self.features.normalize(features, frames), frames), frames


class Objective(TrainingInputs):
    """A batch -> its share of the step's loss, divided by the number of tokens of the step.

    loss = CTC on the last layer, then, for the settings that are not 0:

    - `train.inter_ctc_weight` w: (1 - w) * loss + w * (mean CTC of the inner layers)
    - `train.entropy_weight`: loss - entropy_weight * H(emissions)
    - `train.cr_ctc_weight`: loss / 2 + cr_ctc_weight * (divergence between two views of the batch),
      see `consistency_loss`; each view has masks and, with `augment`, voices of its own
    """

    def __init__(self, model: Model):
        super().__init__(model)
        self.config = model.config.train
        self.inner_weight = self.config.inter_ctc_weight if model.config.model.inter_ctc else 0.0

    def forward(self, batch: Batch) -> Tensor:
        targets, target_lengths = batch.targets, batch.target_lengths
        views = 2 if self.config.cr_ctc_weight else 1
        targets, target_lengths = targets.repeat(views, 1), target_lengths.repeat(views)
        features, frames = self.inputs(batch, views)
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
