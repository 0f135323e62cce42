"""Train, run and score your own speech recognizer.

>>> import asr
>>> recognizer = asr.load("model.asr")            # doctest: +SKIP
>>> recognizer.transcribe("recording.wav").text   # doctest: +SKIP
'seven three one'
>>> asr.wer("seven three one", "seven tree one")
0.3333333333333333
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Each public name, with its module and its name there. A module is imported when one of its names
# is first used, so that `asr --version` and a script that reads manifests do not load torch. Type
# checkers read `__init__.pyi`.
_EXPORTS = {
    "AsrError": ("asr.errors", "AsrError"),
    "Classification": ("asr.recognition.classification", "Classification"),
    "Classifier": ("asr.recognition.classifier", "Classifier"),
    "Config": ("asr.config", "Config"),
    "SpokenCommand": ("asr.transcript", "SpokenCommand"),
    "Grammar": ("asr.lm.grammar", "Grammar"),
    "NGram": ("asr.lm.ngram", "NGram"),
    "Recognizer": ("asr.recognition.recognizer", "Recognizer"),
    "Transcript": ("asr.transcript", "Transcript"),
    "Utterance": ("asr.data.manifest", "Utterance"),
    "align": ("asr.recognition.shortcuts", "align"),
    "cer": ("asr.scoring.wer", "cer"),
    "evaluate": ("asr.scoring.evaluate", "evaluate"),
    "load": ("asr.recognition.shortcuts", "load"),
    "read_manifest": ("asr.data.manifest", "read"),
    "synthesize": ("asr.synthesis.corpus", "synthesize"),
    "train": ("asr.pipeline.train", "train"),
    "transcribe": ("asr.recognition.shortcuts", "transcribe"),
    "wer": ("asr.scoring.wer", "wer"),
    "write_manifest": ("asr.data.manifest", "write"),
}
__all__ = [*_EXPORTS, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'asr' has no attribute {name!r}")
    module, exported = _EXPORTS[name]
    value = getattr(importlib.import_module(module), exported)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
