"""Draw a picture by its name."""

from __future__ import annotations

from asr.plotting.recording import OF_MODEL, OF_SOUND, augmentation, model, sound
from asr.plotting.recording.drawing import Picture
from asr.plotting.recording.excerpt import Excerpt
from asr.recognition.recognizer import Recognizer

_SOUND = dict(
    zip(
        OF_SOUND,
        (
            sound.waveform,
            sound.spectrum,
            sound.spectrogram,
            sound.mel_filters,
            sound.log_mel,
            augmentation.augment,
            augmentation.voices,
            augmentation.spec_augment,
        ),
        strict=True,
    )
)
_MODEL = dict(zip(OF_MODEL, (model.cnn, model.emissions, model.alignment), strict=True))


def draw(name: str, excerpt: Excerpt, recognizer: Recognizer | None = None) -> Picture:
    """Draw a picture by its name in `OF_SOUND` or `OF_MODEL`; the latter need the recognizer.

    Raises `UserError` when matplotlib is not installed.
    """
    if name in _MODEL:
        return _MODEL[name](excerpt, recognizer)
    return _SOUND[name](excerpt)
