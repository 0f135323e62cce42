"""Settings of training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from asr.config.section import Section, given, one_of


class TrainConfig(Section):
    """How a model is trained: steps, learning rate, losses, averaging, devices."""

    init_from: str | None = Field(
        None,
        description="A model file with whose weights training starts (fine-tuning); english is "
        "the model of the package, with its features, texts, tokenizer and design.",
    )
    freeze_steps: Annotated[int, given("init_from")] = Field(
        0,
        ge=0,
        description="For this many steps, only the head and new layers are trained.",
    )
    layer_decay: Annotated[float, given("init_from")] = Field(
        1.0,
        gt=0,
        le=1,
        description="The learning rate of each layer is that of the layer above times this factor.",
    )
    epochs: PositiveInt | Literal["auto"] = Field(
        "auto",
        description="The number of passes over the training set; auto: 30 or more, up to 300, so "
        "that there are 4000 steps; with init_from 10 or more, up to 100, for 1000 steps.",
    )
    batch_s: PositiveFloat | Literal["auto"] = Field(
        "auto",
        description="The seconds of audio, including padding, per step over all processes; auto: "
        "a hundredth of the training set, but at least 20, at most 160 (640 on a GPU) per pass, "
        "and no more than fits in memory.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="The peak of the learning rate.")
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw", description="The optimizer: AdamW, or SGD with Nesterov momentum."
    )
    momentum: Annotated[float, one_of("optimizer", "sgd")] = Field(
        0.9, ge=0, lt=1, description="The Nesterov momentum of SGD."
    )
    weight_decay: float = Field(1e-2, ge=0, description="The weight decay of the optimizer.")
    warmup: float = Field(
        0.1, ge=0, le=1, description="The share of all steps that the linear warm-up takes."
    )
    schedule: Literal["cosine", "plateau", "noam", "exponential"] = Field(
        "cosine",
        description="The learning rate after warm-up: half a cosine down to zero; halved when "
        "validations stop improving; the inverse square root of the step; or divided by anneal "
        "after each epoch.",
    )
    patience: Annotated[int, one_of("schedule", "plateau")] = Field(
        2,
        ge=1,
        description="The learning rate is halved after this many validations without improvement.",
    )
    anneal: Annotated[float, one_of("schedule", "exponential")] = Field(
        1.1, ge=1, description="The divisor of the learning rate after each epoch."
    )
    early_stopping: int | None = Field(
        None,
        ge=1,
        description="Training ends after this many validations without improvement; null: never.",
    )
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="Training ends after the first step that exceeds this time in minutes, "
        "regardless of the schedule; the best validated weights are kept.",
    )
    clip_norm: float = Field(
        5.0, gt=0, description="Gradients with a larger norm are scaled down to this norm."
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="The number of passes per step whose gradients are summed, for batches that do "
        "not fit in memory at once.",
    )
    inter_ctc_weight: Annotated[float, given("model.inter_ctc")] = Field(
        0.3,
        ge=0,
        lt=1,
        description="The weight w in (1 - w) * CTC of the last layer + w * mean CTC of the layers "
        "of inter_ctc.",
    )
    cr_ctc_weight: float = Field(
        0.0,
        ge=0,
        description="The weight of the consistency loss between two masked views of each "
        "utterance (CR-CTC); 0.2 is usual, 0 turns it off.",
    )
    entropy_weight: float = Field(
        0.0,
        ge=0,
        description="The loss becomes loss - entropy_weight * H(emissions), which makes the "
        "outputs less peaked.",
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="The decay per step of an exponential moving average of the weights; 0.999 is "
        "usual, 0 turns it off.",
    )
    average_best: int = Field(
        1,
        ge=1,
        description="The weights of this many best validations are averaged at the end.",
    )
    keep_checkpoints: int = Field(
        2, ge=1, description="The number of newest checkpoints that are kept."
    )
    deterministic: bool = Field(
        False,
        description="Whether a GPU uses slower kernels with the same results in every run.",
    )
    precision: Literal["no", "auto", "bf16", "fp16"] = Field(
        "no",
        description="The mixed precision of training; no: float32 only; auto: bf16 if the device "
        "computes in it, otherwise no. Weights and recognition stay in float32.",
    )
    workers: int = Field(
        1, ge=0, description="The number of processes that read and augment audio."
    )
    threads: int | None = Field(
        None,
        ge=1,
        description="The number of torch threads on a CPU; null: the cores minus the workers.",
    )
    checkpoint_minutes: float = Field(
        5.0,
        gt=0,
        description="A checkpoint is written after this many minutes, and after each epoch.",
    )
    validate_every: int = Field(
        1, ge=1, description="The number of epochs from one validation to the next."
    )
    log_every: int = Field(
        10, ge=1, description="The number of steps over which each log entry is averaged."
    )
    wandb: str | None = Field(
        None, description="A project of Weights & Biases to which training is logged as well."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="The device; auto chooses CUDA, otherwise MPS, otherwise the CPU."
    )
