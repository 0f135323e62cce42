"""Training that begins with another model's weights: what is kept, what waits, what learns slower.

A layer is what fits or does not as a whole: a convolution, the projection, a recurrent layer, the
last norm, the head. It is named as in the weights: "front_end.project", "layers.0", "head".
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asr.config import FeatureConfig, TokenizerConfig
from asr.errors import UserError
from asr.model.model_file import Model, load_model
from asr.text.tokenizer import CharacterTokenizer, Tokenizer, unknown_characters

log = logging.getLogger("asr")

# What stands for tokens, and the dimension that counts them.
TOKEN_DIMENSIONS = {"head.weight": 0, "head.bias": 0, "condition.weight": 1}
HEAD = ("head", "condition")  # new where the tokens are


def inherited_tokenizer(
    path: str | Path, texts: Iterable[str], wanted: TokenizerConfig
) -> Tokenizer | None:
    """The tokenizer of a model file, if it is of the kind and size wanted and can write `texts`.

    None, with a line that says why, where another one has to be learned. Raises `UserError` when
    the file cannot be used.
    """
    old = load_model(path)
    characters = "".join(dict.fromkeys(c for text in texts for c in text))
    had, unknown = old.config.tokenizer, unknown_characters(characters, old.tokenizer.alphabet)
    if had.kind != wanted.kind:
        reason = f"that of {path} is of kind {had.kind}"
    elif had.kind != CharacterTokenizer.kind and had.vocab_size != wanted.vocab_size:
        reason = f"that of {path} has tokenizer.vocab_size {had.vocab_size}"
    elif unknown:
        reason = f"that of {path} cannot write {' '.join(unknown[:20])}"
    else:
        return old.tokenizer
    log.info("the tokenizer is learned anew: %s", reason)
    return None


def initialize(model: Model, path: str | Path) -> list[str]:
    """Copy every layer of a model file that fits `model` by name and shapes; the layers kept.

    Of layers that count tokens, what belongs to tokens of both is kept, the blank among them, and
    the rest stays new. Global CMVN is left to be measured on the new data. Raises `UserError` when
    the file is no model, or hears other features: its weights would mean nothing.
    """
    old = load_model(path)
    _check_features(old.config.features, model.config.features, path)
    before, now = old.acoustic.state_dict(), model.acoustic.state_dict()
    theirs, ours = _layers(before), _layers(now)
    mine, yours = _shared_tokens(model.tokenizer.pieces, old.tokenizer.pieces)
    same_tokens = model.tokenizer.pieces == old.tokenizer.pieces
    kept, partly = [], []
    for layer, names in ours.items():
        if names != theirs.get(layer):
            continue
        if layer in HEAD and not same_tokens:
            fits = all(_beside_tokens(n, now[n]) == _beside_tokens(n, before[n]) for n in names)
            fitting = partly
        else:
            fits = all(now[n].shape == before[n].shape for n in names)
            fitting = kept
        if not fits:
            continue
        fitting.append(layer)
        for name in names:
            if fitting is kept or name not in TOKEN_DIMENSIONS:
                now[name].copy_(before[name])
            else:
                dimension = TOKEN_DIMENSIONS[name]
                rows = before[name].index_select(dimension, yours)
                now[name].index_copy_(dimension, mine, rows)
    log.info("%s", _account(model, path, kept, partly, ours, theirs, mine))
    return kept


def frozen_parameters(acoustic: nn.Module, kept: Collection[str]) -> list[nn.Parameter]:
    """What waits for `train.freeze_steps`: the layers kept, but for the head.

    Their gradients are to be dropped, not switched off: data parallelism needs them computed.
    """
    waiting = set(kept) - set(HEAD)
    return [p for name, p in acoustic.named_parameters() if _layer(name) in waiting]


def parameter_groups(
    acoustic: nn.Module, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """For the optimizer; each group's "scale" is to be multiplied into the learning rate.

    A layer that stands k recurrent layers below the head learns at layer_decay^k, the front end at
    one more: what is near the sound changes least between tasks (Howard and Ruder 2018). Matrices
    decay; biases and norms, which only shift and scale, do not.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in acoustic.named_parameters():
        scale = layer_decay ** _depth(name, len(acoustic.layers))
        groups.setdefault((scale, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": found, "weight_decay": weight_decay if decays else 0.0, "scale": scale}
        for (scale, decays), found in sorted(groups.items(), key=lambda one: one[0], reverse=True)
    ]


def _layer(name: str) -> str:
    """The layer of a weight: "layers.0" of "layers.0.norm.bias"."""
    parts = name.split(".")
    if parts[0] == "layers":
        return ".".join(parts[:2])
    return name.rpartition(".")[0]


def _depth(name: str, layers: int) -> int:
    part, _, rest = name.partition(".")
    if part == "layers":
        return layers - int(rest.partition(".")[0])
    return 0 if part in ("norm", *HEAD) else layers + 1


def _layers(weights: Iterable[str]) -> dict[str, list[str]]:
    """{layer: names of its weights}"""
    found: dict[str, list[str]] = {}
    for name in weights:
        found.setdefault(_layer(name), []).append(name)
    return found


def _shared_tokens(pieces: Sequence[str], others: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids of the pieces that both have: here, and among the others."""
    there = {piece: i for i, piece in enumerate(others)}
    pairs = [(i, there[piece]) for i, piece in enumerate(pieces) if piece in there]
    return torch.tensor([i for i, _ in pairs]), torch.tensor([i for _, i in pairs])


def _beside_tokens(name: str, weight: Tensor) -> list[int]:
    """The shape without the dimension of the tokens."""
    skipped = TOKEN_DIMENSIONS.get(name)
    return [size for dimension, size in enumerate(weight.shape) if dimension != skipped]


def _check_features(had: FeatureConfig, wanted: FeatureConfig, path: str | Path) -> None:
    had, wanted = _heard(had), _heard(wanted)
    for name in had | wanted:
        if had.get(name) != wanted.get(name):
            raise UserError(
                f"{path}: its weights mean nothing on other features: its features.{name} is "
                f"{had.get(name)}, here it is {wanted.get(name)}; set it alike, or train without "
                "train.init_from"
            )


def _heard(features: FeatureConfig) -> dict[str, Any]:
    """What decides the meaning of a feature."""
    values = features.model_dump(exclude={"dither"})
    if features.kind != "mfcc":
        del values["n_mfcc"]
    if features.kind == "spectrogram":
        del values["n_mels"], values["low_hz"], values["high_hz"]
    else:
        values["high_hz"] = features.high_hz or features.rate_hz / 2
    if features.cmvn != "none":  # all others give about mean 0 and deviation 1
        values["cmvn"] = "utterance, loud or global"
    return values


def _account(
    model: Model,
    path: str | Path,
    kept: list[str],
    partly: list[str],
    ours: Collection[str],
    theirs: Collection[str],
    shared: Tensor,
) -> str:
    """One line: what became of every layer."""
    pieces = model.tokenizer.pieces
    new = [layer for layer in ours if layer not in kept and layer not in partly]
    said = [f"begins with {path}: kept {', '.join(kept) or 'nothing'}"]
    if partly:
        tokens = sorted(set(range(len(pieces))) - set(shared.tolist()))
        named = " ".join(pieces[token] for token in tokens[:20]) + (" ..." if tokens[20:] else "")
        said.append(
            f"replaced {', '.join(partly)}, with {len(shared)} of {len(pieces)} tokens as they "
            f"were{f' and new {named}' if tokens else ''}"
        )
    if new:
        said.append(f"new {', '.join(new)}")
    unused = [layer for layer in theirs if layer not in kept and layer not in partly]
    if unused:
        said.append(f"left behind {', '.join(unused)}")
    if model.config.features.cmvn == "global":
        said.append("global CMVN is that of the new data")
    return "; ".join(said)
