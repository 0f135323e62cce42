"""Settings of training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from asr.config.section import Section, given, one_of


class TrainConfig(Section):
    """How a model is trained: steps, learning rate, losses, averaging, devices."""

    init_from: str | None = Field(
        None, description="A model file whose weights replace the random ones at the start."
    )
    freeze_steps: Annotated[int, given("init_from")] = Field(
        0,
        ge=0,
        description="The number of first steps in which only the head and new layers learn.",
    )
    layer_decay: Annotated[float, given("init_from")] = Field(
        1.0,
        gt=0,
        le=1,
        description="The factor of the learning rate from each layer to the one below it.",
    )
    epochs: int = Field(30, ge=1, description="The number of passes over the training set.")
    batch_s: PositiveFloat | Literal["auto"] = Field(
        160.0,
        description="The seconds of audio, padding included, in a step of all processes; auto "
        "takes the most that fits in memory and leaves 100 steps in an epoch.",
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
        0.1, ge=0, le=1, description="The share of all steps in which the learning rate rises."
    )
    schedule: Literal["cosine", "plateau", "noam", "exponential"] = Field(
        "cosine",
        description="The learning rate after warm-up: half a cosine down to zero; halved when "
        "validations stop improving; the inverse square root of the step; or divided by anneal "
        "after each epoch.",
    )
    patience: Annotated[int, one_of("schedule", "plateau")] = Field(
        2, ge=1, description="The validations without gain before the learning rate is halved."
    )
    anneal: Annotated[float, one_of("schedule", "exponential")] = Field(
        1.1, ge=1, description="The divisor of the learning rate after each epoch."
    )
    early_stopping: int | None = Field(
        None,
        ge=1,
        description="The validations without gain that end training early; null never does.",
    )
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="Training ends after the step in which this time in minutes is over, "
        "regardless of the schedule; the best validated weights are kept.",
    )
    clip_norm: float = Field(
        5.0, gt=0, description="The norm to which larger gradients are scaled down."
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="The number of passes whose gradients are added in a step, for batches that "
        "do not fit in memory.",
    )
    inter_ctc_weight: Annotated[float, given("model.inter_ctc")] = Field(
        0.3, ge=0, lt=1, description="The share of the loss that comes from inner layers."
    )
    cr_ctc_weight: float = Field(
        0.0,
        ge=0,
        description="The weight of the consistency loss between two masked views of each "
        "utterance (CR-CTC); 0.2 is usual, 0 leaves it out.",
    )
    entropy_weight: float = Field(
        0.0,
        ge=0,
        description="The loss becomes loss - entropy_weight * H(emissions), which makes the "
        "outputs softer.",
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="The decay in each step of an exponential moving average of the weights; "
        "0.999 is usual, 0 leaves it out.",
    )
    average_best: int = Field(
        1,
        ge=1,
        description="The number of best validations whose weights are averaged at the end.",
    )
    keep_checkpoints: int = Field(
        2, ge=1, description="The number of latest checkpoints that are kept."
    )
    deterministic: bool = Field(
        False,
        description="Whether a GPU uses slower kernels that give the same sums in every run.",
    )
    precision: Literal["no", "auto", "bf16", "fp16"] = Field(
        "no",
        description="The mixed precision of training: no is float32 throughout, auto takes bf16 "
        "where the device computes in it and else no. Weights and recognition stay in float32.",
    )
    workers: int = Field(
        1, ge=0, description="The number of processes that read and augment audio."
    )
    threads: int | None = Field(
        None,
        ge=1,
        description="The threads of torch on a CPU; the cores that workers leave when it is null.",
    )
    checkpoint_minutes: float = Field(
        5.0,
        gt=0,
        description="The minutes from one checkpoint to the next; there is one after each epoch "
        "as well.",
    )
    validate_every: int = Field(1, ge=1, description="The epochs from one validation to the next.")
    log_every: int = Field(
        10, ge=1, description="The steps from one log entry, a mean over them, to the next."
    )
    wandb: str | None = Field(
        None, description="A project of Weights & Biases to which training is logged as well."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="The device; auto takes CUDA, else MPS, else the CPU."
    )
