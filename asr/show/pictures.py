"""The picture of each name."""

from __future__ import annotations

from asr.recognizer import Recognizer
from asr.show import OF_MODEL, OF_SOUND, augmentation, model, sound
from asr.show.drawing import Picture
from asr.show.stretch import Stretch

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
            augmentation.spec_augment,
        ),
        strict=True,
    )
)
_MODEL = dict(zip(OF_MODEL, (model.cnn, model.emissions, model.alignment), strict=True))


def draw(name: str, stretch: Stretch, recognizer: Recognizer | None = None) -> Picture:
    """One picture; those of `OF_MODEL` need the recogniser. `UserError` without matplotlib."""
    if name in _MODEL:
        return _MODEL[name](stretch, recognizer)
    return _SOUND[name](stretch)
