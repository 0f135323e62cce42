"""The whole configuration, and the checks across its sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from asr.config.augment import AugmentConfig, SpecAugmentConfig
from asr.config.classify import ClassifyConfig
from asr.config.commands import CommandsConfig
from asr.config.data import LABELS, DataConfig, TextConfig, TokenizerConfig
from asr.config.decoding import DecoderConfig, LanguageModelConfig
from asr.config.model import (
    CAUSAL_CMVN,
    CLASSIFIER_PRESET,
    STREAMING_CMVN,
    FeatureConfig,
    ModelConfig,
)
from asr.config.section import Needs, Section, refuse, require_effect
from asr.config.task import require_classifier, require_transcriber
from asr.config.training import TrainConfig


class Config(Section):
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="The name of the model and of its run folder, runs/NAME.",
    )
    # `default` is a keyword argument because type checkers do not recognize it otherwise.
    seed: int = Field(
        default=0,
        ge=0,
        description="The seed of all random draws: the same seed gives the same weights.",
    )
    task: Literal["transcribe", "classify"] = Field(
        default="transcribe",
        description="What the model does: transcribe speech (CTC), or classify recordings.",
    )
    data: DataConfig = DataConfig()
    text: TextConfig = TextConfig()
    features: FeatureConfig = FeatureConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    augment: AugmentConfig = AugmentConfig()
    spec_augment: SpecAugmentConfig = SpecAugmentConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    decoder: DecoderConfig = DecoderConfig()
    lm: LanguageModelConfig = LanguageModelConfig()
    commands: CommandsConfig = CommandsConfig()
    classify: ClassifyConfig = ClassifyConfig()

    @classmethod
    def sections(cls) -> dict[str, type[Section]]:
        return {
            name: field.annotation
            for name, field in cls.model_fields.items()
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        }

    @classmethod
    def conditions(cls) -> Iterator[tuple[str, str, str, Needs]]:
        """(section, setting, dotted name of the setting that it depends on, condition)."""
        for section, kind in cls.sections().items():
            for name, needs in kind.needs():
                other = needs.key if "." in needs.key else f"{section}.{needs.key}"
                yield section, name, other.removeprefix("."), needs

    @model_validator(mode="before")
    @classmethod
    def _classification_has_its_own_defaults(cls, values: Any) -> Any:
        if not (isinstance(values, Mapping) and values.get("task") == "classify"):
            return values
        defaults = {"model": {"preset": CLASSIFIER_PRESET}, "tokenizer": {"kind": LABELS}}
        return values | {
            name: {**default, **section}
            for name, default in defaults.items()
            if isinstance(section := values.get(name, {}), Mapping)
        }

    @model_validator(mode="before")
    @classmethod
    def _streaming_takes_a_causal_normalization(cls, values: Any) -> Any:
        model = values.get("model") if isinstance(values, Mapping) else None
        if not (isinstance(model, Mapping) and model.get("streaming") is True):
            return values
        features = values.get("features", {})
        if isinstance(features, Mapping) and features.get("cmvn") is None:
            return {**values, "features": {**features, "cmvn": STREAMING_CMVN}}
        return values

    @model_validator(mode="after")
    def _settings_across_sections_have_an_effect(self) -> Config:
        for section, name, other, needs in self.conditions():
            if other == needs.key.removeprefix("."):
                require_effect(getattr(self, section), name, needs, self[other], f"{section}.")
        return self

    @model_validator(mode="after")
    def _batch_holds_the_longest_utterance(self) -> Config:
        slowest, longest_s = self.augment.pace[0], self.data.max_duration_s
        if self.train.batch_s != "auto" and self.train.batch_s < longest_s / slowest - 1e-6:
            at = f" at speed {slowest:g}" if slowest != 1 else ""
            raise refuse(
                "train.batch_s",
                f"{self.train.batch_s:g} is less than data.max_duration_s {longest_s:g}{at}: "
                "the longest utterance must fit in a batch",
            )
        return self

    @model_validator(mode="after")
    def _model_fits_the_task(self) -> Config:
        if self.task == "transcribe":
            require_transcriber(self)
        else:
            require_classifier(self)
        return self

    @model_validator(mode="after")
    def _causal_throughout(self) -> Config:
        if self.model.bidirectional:
            return self
        if self.features.cmvn not in CAUSAL_CMVN:
            raise refuse(
                "model.bidirectional",
                f"false makes the model causal, but features.cmvn={self.features.cmvn} measures "
                "the whole utterance; give features.cmvn=running, global or none as well",
            )
        if self.features.floor_db is not None:
            raise refuse(
                "model.bidirectional",
                f"false makes the model causal, but features.floor_db={self.features.floor_db:g} "
                "needs the peak of the whole utterance; give features.floor_db=null as well",
            )
        return self

    @property
    def lookahead_frames(self) -> int:
        """The frames of the model that its look-ahead convolution reads ahead."""
        if not self.model.lookahead_ms:
            return 0
        return max(
            1, round(self.model.lookahead_ms / self.features.hop_ms / self.model.subsampling)
        )

    def __getitem__(self, key: str) -> Any:
        """The value of a dotted name: config["train.epochs"]."""
        return reduce(getattr, key.split("."), self)

    @property
    def data_folder(self) -> Path:
        return Path(self.data.folder or f"data/{self.name}")
