"""The model file: all that recognition needs, in one zip.

It is written to a temporary file and renamed, so that a crash leaves the old one intact. It has no
pickle: tensors are safetensors, the rest is JSON, YAML and text, and reading it runs no code.
"""

from __future__ import annotations

import io
import json
import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
import yaml
from torch import Tensor, nn

from asr import __version__, files
from asr.config import Config, from_yaml, parse, to_yaml
from asr.decoder.lexicon import lexicon_words
from asr.errors import UserError
from asr.lm.grammar import Grammar
from asr.lm.ngram import NGram
from asr.model.acoustic import AcousticModel
from asr.model.classifier import ClassificationModel
from asr.model.deepspeech2 import DeepSpeech2
from asr.model.device import pick_device
from asr.model.emitter import TorchEmitter
from asr.model.features import Features
from asr.model.packing import pack, unpack
from asr.text import tokenizer
from asr.text.tokenizer import Tokenizer

log = logging.getLogger("asr")

PLAIN_FORMAT, PACKED_FORMAT = 1, 2  # float32 or int8 weights; a reader refuses newer formats
NGRAM_PART = "ngram.npz"  # only in a model with a language model
GRAMMAR_PART = "grammar.yaml"  # only in a model with a grammar
MODEL_PARTS = (
    "format.json",
    "README.md",
    "config.yaml",
    "tokenizer",
    "weights.safetensors",
    NGRAM_PART,
    GRAMMAR_PART,
)


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def load_tensors(module: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: its weights do not fit the configured model: {first}") from None


@dataclass
class Model:
    """The contents of a model file."""

    config: Config
    features: Features
    acoustic: AcousticModel | DeepSpeech2 | ClassificationModel
    tokenizer: Tokenizer  # or the labels of a classifier
    card: str = ""  # a description in Markdown
    ngram: NGram | None = None  # on words or tokens, for beam search
    grammar: Grammar | None = None  # the only sentences that may be said

    @classmethod
    def build(cls, config: Config, tokens: Tokenizer) -> Model:
        """An untrained model, with weights from torch's generator."""
        features = Features(config.features)
        acoustic: AcousticModel | DeepSpeech2 | ClassificationModel
        vocabulary = len(tokens.pieces)
        if config.task == "classify":
            acoustic = ClassificationModel(config.model, config.classify, features.size, vocabulary)
        elif config.model.preset == "deepspeech2":
            acoustic = DeepSpeech2(config.model, features.size, vocabulary)
        else:
            ahead = config.lookahead_frames
            acoustic = AcousticModel(config.model, features.size, vocabulary, ahead)
        return cls(config, features, acoustic, tokens)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The modules that have state, by the names under which they are saved."""
        return {"features": self.features, "acoustic": self.acoustic}

    def emitter(self, device: torch.device | str, quantized: bool) -> TorchEmitter:
        """What computes emissions; the modules move to the device, auto being the best one."""
        if isinstance(device, str):
            device = pick_device(device)
        return TorchEmitter(self.features, self.acoustic, device, quantized)

    def save(self, path: str | Path) -> None:
        save_model(path, self)


def save_model(path: str | Path, model: Model, packed: bool = False) -> None:
    """Write `NAME.asr`: a stored zip of `MODEL_PARTS`, n-gram and grammar only if there is one.

    packed: write int8 weights (`asr.model.packing`), for a file of about a quarter of the size.
    """
    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, module in model.modules.items()
        for key, value in module.state_dict().items()
    }
    if packed:
        tensors = pack(tensors)
    with (
        files.replacing(path) as beside,
        zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive,
    ):
        parts = [
            json.dumps({"format": PACKED_FORMAT if packed else PLAIN_FORMAT, "asr": __version__}),
            model.card,
            to_yaml(self_contained(model.config)),
            model.tokenizer.to_bytes(),
            safetensors.torch.save(tensors),
        ]
        for name, part in zip(MODEL_PARTS, parts, strict=False):
            archive.writestr(name, part)
        if model.ngram is not None:
            archive.writestr(NGRAM_PART, model.ngram.to_bytes())
        if model.grammar is not None:
            archive.writestr(GRAMMAR_PART, model.grammar.text)


def self_contained(config: Config) -> Config:
    """The configuration with the words of its lexicon in place of the file that has them."""
    words = lexicon_words(config.decoder.lexicon, config.text)
    if words is None:
        return config
    decoder = config.decoder.model_copy(update={"lexicon": tuple(words)})
    return config.model_copy(update={"decoder": decoder})


def load_model(path: str | Path) -> Model:
    """Read a model file, for inference. Raises `UserError` if it is missing, damaged or newer."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such model file")
    try:
        parts = _read_parts(path)
        stamp = json.loads(parts["format.json"])
        if stamp["format"] > PACKED_FORMAT:
            raise UserError(
                f"{path}: written by asr {stamp['asr']}, which is newer than this {__version__}; "
                "upgrade asr"
            )
        config = parse(from_yaml(parts["config.yaml"]), f"{path}: config.yaml")
        if isinstance(config.decoder.lexicon, str):
            raise ValueError("its lexicon is a path, where a model file has the words")
        tokens = tokenizer.from_bytes(parts["tokenizer"], config.tokenizer.kind)
        tensors = unpack(safetensors.torch.load(parts["weights.safetensors"]))
        card, ngram, grammar = parts["README.md"].decode(), None, None
        if NGRAM_PART in parts:
            ngram = _load_ngram(parts[NGRAM_PART])
        if GRAMMAR_PART in parts:
            grammar = Grammar.parse(parts[GRAMMAR_PART].decode(), f"{path}: {GRAMMAR_PART}")
    except (
        zipfile.BadZipFile,
        KeyError,
        TypeError,
        ValueError,
        OSError,
        yaml.YAMLError,
        safetensors.SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a model file, or damaged: {reason}") from None
    model = Model.build(config, tokens)
    model.card, model.ngram, model.grammar = card, ngram, grammar
    for name, module in model.modules.items():
        load_tensors(module, below(tensors, f"{name}."), path)
        module.eval()  # once here rather than for each call, so that threads can share it
    return model


def _load_ngram(data: bytes) -> NGram:
    try:
        return NGram.load(io.BytesIO(data))
    except UserError as error:
        raise ValueError(f"{NGRAM_PART}: {str(error).partition(': ')[2]}") from None


def _read_parts(path: Path) -> dict[str, bytes]:
    """The members of a model file; raises ValueError unless it has just those, uncompressed."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            if member.filename not in MODEL_PARTS:
                raise ValueError(f"holds {member.filename!r}, which no model file does")
            # A compressed part may be larger than the memory when unpacked.
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise ValueError(f"{member.filename} is compressed or encrypted")
        if len({member.filename for member in members}) != len(members):
            raise ValueError("holds a part twice")
        return {member.filename: archive.read(member) for member in members}
