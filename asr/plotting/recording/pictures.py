"""Draw a picture by its name."""

from __future__ import annotations

import importlib

from asr.errors import UserError
from asr.plotting.recording.drawing import Picture
from asr.plotting.recording.excerpt import Excerpt
from asr.recognition.classifier import Classifier
from asr.recognition.recognizer import Recognizer

# Each picture with its module and function; those of `augmentation` and `inside` need PyTorch.
_SOUND = {
    "waveform": ("sound", "waveform"),
    "spectrum": ("sound", "spectrum"),
    "spectrogram": ("sound", "spectrogram"),
    "mel": ("sound", "mel_filters"),
    "log-mel": ("sound", "log_mel"),
    "augment": ("augmentation", "augment"),
    "voices": ("augmentation", "voices"),
    "spec-augment": ("augmentation", "spec_augment"),
}
_MODEL = {
    "cnn": ("inside", "cnn"),
    "emissions": ("model", "emissions"),
    "alignment": ("model", "alignment"),
    "pooling": ("pooling", "pooling"),  # of a classifier
}


def draw(name: str, excerpt: Excerpt, recognizer: Recognizer | Classifier | None = None) -> Picture:
    """Draw a picture by its name in `OF_SOUND`, `OF_MODEL` or `OF_CLASSIFIER`.

    Those of `OF_MODEL` need a recognizer, those of `OF_CLASSIFIER` a classifier.

    Raises `UserError` when matplotlib is not installed, or PyTorch for a picture that needs it.
    """
    module, function = (_SOUND | _MODEL)[name]
    try:
        drawing = importlib.import_module(f"asr.plotting.recording.{module}")
    except ModuleNotFoundError as error:
        raise UserError(f"picture {name}: needs {error.name}; pip install 'asr[train]'") from None
    drawn = getattr(drawing, function)
    return drawn(excerpt, recognizer) if name in _MODEL else drawn(excerpt)
