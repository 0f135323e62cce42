"""Train, run and score your own speech recognizer.

>>> import asr
>>> recognizer = asr.load("model.asr")            # doctest: +SKIP
>>> recognizer.transcribe("recording.wav").text   # doctest: +SKIP
'seven three one'
>>> asr.wer("seven three one", "seven tree one")
0.3333333333333333
"""

import importlib

__version__ = "0.1.0"

# Loaded when asked for: `asr --version` and a manifest's reader need no torch.
_HOMES = {
    "load": "asr.recognition.recognizer",
    "Recognizer": "asr.recognition.recognizer",
    "Transcript": "asr.transcript",
    "wer": "asr.scoring.wer",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'asr' has no attribute {name!r}")
