"""The model of a recognizer: a file with PyTorch's weights, or an exported one."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path
from typing import Any, Protocol

import yaml

from asr.config import Config, from_yaml
from asr.errors import UserError
from asr.lm.grammar import Grammar
from asr.lm.ngram import NGram
from asr.recognition.emissions import Emitter
from asr.runtime.onnx_file import SETTINGS, SUFFIX, is_exported, read_metadata
from asr.text.tokenizer import Tokenizer


class RecognitionModel(Protocol):
    """All that a recognizer needs."""

    config: Config
    tokenizer: Tokenizer
    ngram: NGram | None  # on words or tokens, for beam search
    grammar: Grammar | None  # the only sentences that may be said
    card: str  # a description in Markdown

    def emitter(self, device: Any, quantized: bool, /) -> Emitter:
        """What computes the emissions, on a device, perhaps with int8 weights."""

    def save(self, path: str | Path, /) -> None: ...


def is_model(path: str | Path) -> bool:
    """Whether a path names a model file or an exported model."""
    return Path(path).suffix in (".asr", SUFFIX)


def classifies(path: str | Path) -> bool:
    """Whether a model file or an exported model is a classifier, from its settings alone.

    False for a file that cannot be read; whoever opens it says what is wrong.
    """
    try:
        if is_exported(path):
            settings = from_yaml(read_metadata(path).get(SETTINGS, ""))
        else:
            with zipfile.ZipFile(path) as archive:
                settings = from_yaml(archive.read("config.yaml"))
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, yaml.YAMLError):
        return False
    return isinstance(settings, dict) and settings.get("task") == "classify"


def read_model(path: str | Path) -> RecognitionModel:
    """Read a model file or an exported model.

    Raises `UserError` if it is missing, damaged or newer, and for a model file without PyTorch.
    """
    if is_exported(path):
        from asr.runtime.model import read_exported  # ONNX Runtime is loaded only if it is used

        return read_exported(path)
    try:
        # By name, because all that this package imports works without PyTorch.
        model_file = importlib.import_module("asr.model.model_file")
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path}: the weights of a model file need PyTorch, and {error.name} is not "
            "installed; pip install 'asr[train]', or use the exported model, NAME.onnx"
        ) from None
    return model_file.load_model(path)
