"""Typed configuration: a YAML file and `section.key=value` overrides; unknown keys are refused.

Every default is a choice that can be read; a recipe states only what differs. A setting that has no
effect beside the others is refused, so what a configuration says is what happens.
"""

from asr.config.augment import POLICIES, AugmentConfig, SpecAugmentConfig
from asr.config.data import DataConfig, TextConfig, TokenizerConfig
from asr.config.decoding import DecoderConfig, LanguageModelConfig
from asr.config.model import PRESETS, FeatureConfig, ModelConfig
from asr.config.reading import from_yaml, load, override, parse, to_yaml
from asr.config.root import Config
from asr.config.section import Section
from asr.config.settings import Setting, settings
from asr.config.training import TrainConfig

__all__ = [
    "POLICIES",
    "PRESETS",
    "AugmentConfig",
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
    "settings",
    "to_yaml",
]
