"""Fine-tuning: training that starts from another model's weights.

Weights are kept or replaced by layer: a convolution, the projection, a recurrent layer, the last
norm, the head. Layers are named as their weights are: "front_end.project", "layers.0", "head".
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
from asr.model.features import MEASURED
from asr.model.model_file import Model, load_model
from asr.model.shipped import model_path
from asr.text.tokenizer import CharacterTokenizer, Tokenizer, unknown_characters

log = logging.getLogger("asr")

# The weights that have an entry per token, and the dimension of these entries
TOKEN_DIMENSIONS = {"head.weight": 0, "head.bias": 0, "condition.weight": 1}
HEAD = ("head", "condition")  # the layers that depend on the tokens


def inherited_tokenizer(
    path: str | Path, texts: Iterable[str], wanted: TokenizerConfig
) -> Tokenizer | None:
    """The tokenizer of a model file, if it has the wanted kind and size and can encode `texts`.

    Otherwise None, and the log says why a new one is learned. Raises `UserError` if the file cannot
    be used.
    """
    old = load_model(model_path(path))
    characters = "".join(dict.fromkeys(c for text in texts for c in text))
    previous, unknown = old.config.tokenizer, unknown_characters(characters, old.tokenizer.alphabet)
    if previous.kind != wanted.kind:
        reason = f"that of {path} is of kind {previous.kind}"
    elif previous.kind != CharacterTokenizer.kind and previous.vocab_size != wanted.vocab_size:
        reason = f"that of {path} has tokenizer.vocab_size {previous.vocab_size}"
    elif unknown:
        reason = f"that of {path} cannot write {' '.join(unknown[:20])}"
    else:
        return old.tokenizer
    log.info("a new tokenizer is learned: %s", reason)
    return None


def initialize(model: Model, path: str | Path) -> list[str]:
    """Copy the layers of a model file whose names and shapes match those of `model`.

    Returns the names of the layers that were copied completely. A layer with entries per token is
    copied for the tokens that both models have (including the blank); its other entries stay new.
    Global CMVN is not copied, but measured on the new data. Raises `UserError` if the file is not a
    model file, or if its features differ, because its weights would then be meaningless.
    """
    old = load_model(model_path(path))
    _check_features(old.config.features, model.config.features, path)
    before, now = old.acoustic.state_dict(), model.acoustic.state_dict()
    old_layers, new_layers = _layers(before), _layers(now)
    new_ids, old_ids = _shared_tokens(model.tokenizer.pieces, old.tokenizer.pieces)
    same_tokens = model.tokenizer.pieces == old.tokenizer.pieces
    kept, partly = [], []
    for layer, names in new_layers.items():
        if names != old_layers.get(layer):
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
                rows = before[name].index_select(dimension, old_ids)
                now[name].index_copy_(dimension, new_ids, rows)
    log.info("%s", _summary(model, path, kept, partly, new_layers, old_layers, new_ids))
    return kept


def frozen_parameters(acoustic: nn.Module, kept: Collection[str]) -> list[nn.Parameter]:
    """The parameters that are frozen for `train.freeze_steps`: all kept layers except the head.

    Their gradients must be computed all the same, because data parallelism needs them, and are then
    dropped.
    """
    frozen = set(kept) - set(HEAD)
    return [p for name, p in acoustic.named_parameters() if _layer(name) in frozen]


def parameter_groups(
    acoustic: nn.Module, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """The parameter groups of the optimizer, each with a "scale" of its learning rate.

    The learning rate of a group is the scheduled rate times its scale. With N recurrent layers,
    layer k (from 0) has the scale layer_decay^(N - k), the head 1, and the front end
    layer_decay^(N + 1), because layers near the input change least between tasks (Howard and Ruder
    2018). Weight decay applies to matrices only, not to biases and norms.
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
    return 0 if part in ("norm", "pool", *HEAD) else layers + 1


def _layers(weights: Iterable[str]) -> dict[str, list[str]]:
    """{layer: names of its weights}"""
    found: dict[str, list[str]] = {}
    for name in weights:
        found.setdefault(_layer(name), []).append(name)
    return found


def _shared_tokens(pieces: Sequence[str], others: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The pieces that are in both lists: their ids in `pieces`, and their ids in `others`."""
    other_ids = {piece: i for i, piece in enumerate(others)}
    pairs = [(i, other_ids[piece]) for i, piece in enumerate(pieces) if piece in other_ids]
    return torch.tensor([i for i, _ in pairs]), torch.tensor([i for _, i in pairs])


def _beside_tokens(name: str, weight: Tensor) -> list[int]:
    """The shape of a weight without the dimension of the tokens."""
    skipped = TOKEN_DIMENSIONS.get(name)
    return [size for dimension, size in enumerate(weight.shape) if dimension != skipped]


def _check_features(old: FeatureConfig, new: FeatureConfig, path: str | Path) -> None:
    had, wanted = _relevant(old), _relevant(new)
    for name in had | wanted:
        if had.get(name) != wanted.get(name):
            raise UserError(
                f"{path}: its weights are meaningless on other features: its features.{name} is "
                f"{had.get(name)}, here it is {wanted.get(name)}; use the same value, or "
                "train without train.init_from"
            )


def _relevant(features: FeatureConfig) -> dict[str, Any]:
    """The settings that determine the meaning of the features."""
    # `floor_db` changes only pauses, and normalization compensates for most of that.
    values = features.model_dump(exclude={"dither", "floor_db"})
    if features.kind != "mfcc":
        del values["n_mfcc"]
    if features.kind == "spectrogram":
        del values["n_mels"], values["low_hz"], values["high_hz"]
    else:
        values["high_hz"] = features.high_hz or features.rate_hz / 2
    if features.cmvn != "none":  # all other kinds give about mean 0 and standard deviation 1
        values["cmvn"] = "any but none"
    return values


def _summary(
    model: Model,
    path: str | Path,
    kept: list[str],
    partly: list[str],
    new_layers: Collection[str],
    old_layers: Collection[str],
    shared_ids: Tensor,
) -> str:
    """One line that lists the kept, the partly replaced, the new and the unused layers."""
    pieces = model.tokenizer.pieces
    new = [layer for layer in new_layers if layer not in kept and layer not in partly]
    parts = [f"starts from {path}: kept {', '.join(kept) or 'nothing'}"]
    if partly:
        tokens = sorted(set(range(len(pieces))) - set(shared_ids.tolist()))
        named = " ".join(pieces[token] for token in tokens[:20]) + (" ..." if tokens[20:] else "")
        parts.append(
            f"partly replaced {', '.join(partly)}: {len(shared_ids)} of {len(pieces)} tokens kept"
            f"{f', new {named}' if tokens else ''}"
        )
    if new:
        parts.append(f"new {', '.join(new)}")
    unused = [layer for layer in old_layers if layer not in kept and layer not in partly]
    if unused:
        parts.append(f"unused {', '.join(unused)}")
    if model.config.features.cmvn in MEASURED:
        parts.append(f"{model.config.features.cmvn} CMVN is measured on the new data")
    return "; ".join(parts)
