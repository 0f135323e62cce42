"""What differs between training a model that transcribes and one that classifies.

The configuration chooses the task once (`task_of`); the loop, the dataset, checkpoints, averaging
and the monitor are the same for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from asr.config import Config
from asr.data.loader import SpeechDataset
from asr.data.manifest import Utterance
from asr.model.model_file import Model
from asr.recognition.classifier import Classifier
from asr.recognition.recognizer import Recognizer, load
from asr.recognition.transcribe import Failure
from asr.scoring.classify import ClassEvaluation, evaluate_classes
from asr.scoring.evaluate import Evaluation, evaluate
from asr.scoring.wer import Pair
from asr.training.class_objective import ClassObjective
from asr.training.objective import Objective


class DevEvaluation(Protocol):
    """What training and the stages of a recipe use of an evaluation of either kind."""

    score: Any
    failures: list[Failure]

    @property
    def pairs(self) -> list[Pair]:
        """The reference and the hypothesis of each utterance, as texts."""

    @property
    def rates(self) -> tuple[float, float]:
        """By which weights are ranked, the lower the better."""

    @property
    def says_nothing(self) -> bool:
        """Whether every hypothesis is empty, as at the beginning of CTC training."""

    def figures(self) -> dict[str, float]:
        """The figures of a validation, by name."""

    def save(
        self, folder: Path, title: str, config: Config, utterances: Mapping[str, Utterance], /
    ) -> None:
        """Write the score, the hypotheses and the report."""


@dataclass(frozen=True)
class Task:
    """The objective, the object that is validated, and its evaluation."""

    objective: Callable[[Model, SpeechDataset], nn.Module]
    recognizer: Callable[[Model, Any], Any]  # a Recognizer or a Classifier on a device
    load: Callable[[Path, str], Any]  # the same, of a model file
    evaluate: Callable[[Any, Sequence[Utterance]], Any]  # -> a DevEvaluation
    joined: Callable[[Sequence[Any], int], Any]  # the evaluations of several processes as one
    describe: Callable[[Sequence[float]], str]  # `DevEvaluation.rates` in words


TASKS = {
    "transcribe": Task(
        lambda model, dataset: Objective(model),
        Recognizer,
        load,
        evaluate,
        Evaluation.joined,
        Evaluation.describe,
    ),
    "classify": Task(
        ClassObjective,
        Classifier,
        Classifier.load,
        evaluate_classes,
        ClassEvaluation.joined,
        ClassEvaluation.describe,
    ),
}


def task_of(config: Config) -> Task:
    return TASKS[config.task]
