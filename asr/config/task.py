"""Which settings fit which task: conditions that no single setting expresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asr.config.data import LABELS
from asr.config.model import CLASSIFIER_PRESET
from asr.config.section import refuse

if TYPE_CHECKING:
    from asr.config.root import Config


def require_transcriber(config: Config) -> None:
    """Raise an error if a setting does not fit `task: transcribe`."""
    if config.tokenizer.kind == LABELS:
        raise refuse("tokenizer.kind", f"{LABELS} needs task=classify; give characters or bpe")
    if config.model.preset == CLASSIFIER_PRESET:
        raise refuse("model.preset", f"{CLASSIFIER_PRESET} needs task=classify; give tiny or small")
    if not config.model.layers:
        raise refuse("model.layers", "0 needs task=classify; give at least 1")


def require_classifier(config: Config) -> None:
    """Raise an error if a setting has no effect with `task: classify`."""
    if config.tokenizer.kind != LABELS:
        raise refuse("tokenizer.kind", f"of task=classify is {LABELS}; leave it out")
    model, train = config.model, config.train
    if model.preset == "deepspeech2":
        raise refuse("model.preset", "deepspeech2 transcribes; give cnn or tiny")
    if not model.bidirectional:
        raise refuse("model.bidirectional", "false makes a transcriber causal; leave it out")
    if config.classify.multi_label and config.classify.class_weights != "none":
        raise refuse("classify.class_weights", "needs one class for each utterance; leave it out")
    idle = {
        "model.blank_bias": model.blank_bias,
        "model.inter_ctc": model.inter_ctc,
        "model.lookahead_ms": model.lookahead_ms,
        "model.streaming": model.streaming,
        "train.cr_ctc_weight": train.cr_ctc_weight,
        "train.entropy_weight": train.entropy_weight,
        "lm.texts": config.lm.texts,
        "commands.grammar": config.commands.grammar,
    }
    for key, value in idle.items():
        if value:
            raise refuse(key, "has no effect with task=classify; leave it out")
