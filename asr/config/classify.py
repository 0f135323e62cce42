"""Settings of a model that classifies recordings, `task: classify`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from asr.config.section import Section, one_of

CLASSIFY = one_of(".task", "classify")  # the dot: a setting of no section


class ClassifyConfig(Section):
    """The classes of recordings, and how a model decides between them."""

    label: Annotated[str, CLASSIFY] = Field(
        "label",
        min_length=1,
        description="The column of the manifests with the class of each utterance: label, speaker, "
        "language, text, or any other.",
    )
    multi_label: Annotated[bool, CLASSIFY] = Field(
        False,
        description="Whether an utterance may have several classes, or none: the column is then a "
        "list, or a text in which semicolons separate the classes.",
    )
    pooling: Annotated[Literal["mean", "attention"], CLASSIFY] = Field(
        "attention",
        description="How the frames of an utterance become one vector: their mean, or attentive "
        "statistics, which are the mean and the standard deviation of the frames with learned "
        "weights (Okabe et al. 2018).",
    )
    class_weights: Annotated[Literal["none", "balanced"], CLASSIFY] = Field(
        "none",
        description="The weight of an utterance in the loss: none, or balanced, which is inversely "
        "proportional to the number of training utterances of its class.",
    )
    label_smoothing: Annotated[float, CLASSIFY] = Field(
        0.0,
        ge=0,
        lt=1,
        description="The probability that the targets of the loss share equally among all classes; "
        "0.1 is usual, 0 turns it off.",
    )
    mixup: Annotated[float, CLASSIFY] = Field(
        0.0,
        ge=0,
        description="The parameter alpha of mixup (Zhang et al. 2018): each utterance is mixed "
        "with another of its batch, with a share drawn from Beta(alpha, alpha); 0.2 is usual, 0 "
        "turns it off.",
    )
    reject: Annotated[float, CLASSIFY] = Field(
        0.0,
        ge=0,
        le=1,
        description="An utterance is of no known class if the probability of its best class is "
        "below this; tuning on a dev set chooses the value for a model file.",
    )
