"""Typed configuration: a YAML file and `section.key=value` overrides; unknown keys are errors.

Every setting has a default, and a recipe states only the values that differ. A setting that has no
effect in combination with the others is an error, so every setting of a recipe has an effect.
"""

from asr.config.augment import POLICIES, AugmentConfig, SpecAugmentConfig
from asr.config.classify import ClassifyConfig
from asr.config.commands import CommandsConfig
from asr.config.data import DataConfig, TextConfig, TokenizerConfig
from asr.config.decoding import DecoderConfig, LanguageModelConfig
from asr.config.model import PRESETS, FeatureConfig, ModelConfig
from asr.config.reading import from_yaml, load, override, parse, read, to_yaml
from asr.config.root import Config
from asr.config.section import Section
from asr.config.settings import Setting, settings
from asr.config.training import TrainConfig

__all__ = [
    "POLICIES",
    "PRESETS",
    "AugmentConfig",
    "ClassifyConfig",
    "CommandsConfig",
    "Config",
    "DataConfig",
    "DecoderConfig",
    "FeatureConfig",
    "LanguageModelConfig",
    "ModelConfig",
    "Section",
    "Setting",
    "SpecAugmentConfig",
    "TextConfig",
    "TokenizerConfig",
    "TrainConfig",
    "from_yaml",
    "load",
    "override",
    "parse",
    "read",
    "settings",
    "to_yaml",
]
