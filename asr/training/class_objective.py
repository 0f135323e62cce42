"""The objective of classification: features, masks, mixup, the model and its cross-entropy."""

from __future__ import annotations

from torch import Tensor

from asr.data.loader import Batch, SpeechDataset
from asr.model.classification import balanced_weights, class_loss, mixup, one_hot
from asr.model.model_file import Model
from asr.training.objective import TrainingInputs


class ClassObjective(TrainingInputs):
    """A batch -> its share of the step's loss, divided by the number of labels of the step."""

    def __init__(self, model: Model, dataset: SpeechDataset):
        super().__init__(model)
        self.settings = model.config.classify
        self.classes = len(model.tokenizer.pieces)
        weights = None
        if self.settings.class_weights == "balanced":
            weights = balanced_weights(dataset.targets, self.classes)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        c = self.settings
        features, frames = self.inputs(batch)
        wanted = one_hot(batch.targets, batch.target_lengths, self.classes)  # (B, C)
        if c.mixup:
            features, frames, wanted = mixup(features, frames, wanted, c.mixup)
        logits = self.acoustic.logits(features, frames)  # (B, C)
        loss = class_loss(logits, wanted, c.multi_label, c.label_smoothing, self.weights)
        return loss * batch.weight / max(1, batch.tokens)
