"""The model that the package contains."""

from __future__ import annotations

from pathlib import Path

from asr.errors import UserError

ENGLISH_NAME = "english"  # its name in `train.init_from`
ENGLISH = Path(__file__).with_name("english.asr")  # recipes/english
SUFFIXES = (".asr", ".onnx")  # of model files and of exported models


def english() -> Path:
    """The file of the English model. Raises `UserError` if the installation lacks it."""
    if not ENGLISH.is_file():
        raise UserError(f"{ENGLISH}: this installation has no English model; give a model file")
    return ENGLISH


def model_path(name: str | Path) -> Path:
    """The model file that a setting names: a path, or `english` for the one in the package."""
    return english() if name == ENGLISH_NAME else Path(name)
