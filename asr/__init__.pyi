from asr.config import Config
from asr.data.manifest import Utterance
from asr.data.manifest import read as read_manifest
from asr.data.manifest import write as write_manifest
from asr.errors import AsrError
from asr.lm.grammar import Grammar
from asr.lm.ngram import NGram
from asr.pipeline.train import train
from asr.recognition.classification import Classification
from asr.recognition.classifier import Classifier
from asr.recognition.recognizer import Recognizer
from asr.recognition.shortcuts import align, load, transcribe
from asr.scoring.evaluate import evaluate
from asr.scoring.wer import cer, wer
from asr.synthesis.corpus import synthesize
from asr.transcript import SpokenCommand, Transcript

__version__: str
__all__ = [
    "AsrError",
    "Classification",
    "Classifier",
    "Config",
    "Grammar",
    "NGram",
    "Recognizer",
    "SpokenCommand",
    "Transcript",
    "Utterance",
    "__version__",
    "align",
    "cer",
    "evaluate",
    "load",
    "read_manifest",
    "synthesize",
    "train",
    "transcribe",
    "wer",
    "write_manifest",
]
