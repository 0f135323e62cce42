"""The model card: a description of the model, in Markdown, that is stored in the model file."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from asr import __version__
from asr.config import Config
from asr.data import shards
from asr.data.manifest import Utterance
from asr.training.schedule import TrainingState
from asr.training.task import task_of


def model_card(c: Config, train_set: Sequence[Utterance], state: TrainingState) -> str:
    """Markdown: the design, the training data, the error rates on dev, and how to use the model."""
    hours = shards.durations_s(train_set).sum() / 3600
    origins = {(u.speaker, u.language) for u in train_set}
    speakers = len({speaker for speaker, _ in origins if speaker is not None})
    languages = sorted({language for _, language in origins if language}) or ["not stated"]
    initial = f"- Fine-tuned from {c.train.init_from}.\n" if c.train.init_from else ""
    return f"""# {c.name}

{_design(c)}

- Trained on {hours:.2f} hours, {len(train_set)} utterances, {speakers or "unknown"} speakers; \
language: {", ".join(languages)}.
- Expects {c.features.rate_hz} Hz mono; other rates are resampled.
- Dev {task_of(c).describe(state.best)} (epoch {state.best_epoch}\
{", greedy" if c.task == "transcribe" else ""}).
{initial}- Trained in {state.train_s:.0f} s with asr {__version__}, torch {torch.__version__}, \
{os.cpu_count()} cores, seed {c.seed}.

    asr {c.task} {c.name}.asr recording.wav
"""


def _design(c: Config) -> str:
    """A sentence about the model: what it does, its layers, its output."""
    if c.task == "classify":
        layers = f", {c.model.layers} {c.model.rnn.upper()} layers" if c.model.layers else ""
        column, pooling = c.classify.label, c.classify.pooling
        return f"A classifier by {column}: {c.model.preset}{layers}, {pooling} pooling over time."
    directions = "bidirectional" if c.model.bidirectional else "causal"
    return (
        f"A speech recognizer: {c.model.preset}, {c.model.rnn.upper()}, {directions}, "
        f"CTC on {c.tokenizer.kind}."
    )
