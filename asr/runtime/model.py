"""An exported model: the ONNX graph, and in its metadata all else that recognition needs."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asr import __version__
from asr.config import Config, from_yaml, parse, to_yaml
from asr.errors import UserError
from asr.lm.grammar import Grammar
from asr.lm.ngram import NGram
from asr.runtime.emitter import OnnxEmitter
from asr.runtime.onnx_file import PREFIX, SETTINGS, read_metadata, write_metadata
from asr.text import tokenizer
from asr.text.tokenizer import Tokenizer

FORMAT = 1  # of the metadata; a reader refuses a newer one


@dataclass
class OnnxModel:
    """The contents of an exported model; the graph stays in the file."""

    path: Path
    config: Config
    tokenizer: Tokenizer
    quantized: bool  # int8 weights
    parameters: int
    card: str = ""  # a description in Markdown
    ngram: NGram | None = None
    grammar: Grammar | None = None  # the only sentences that may be said

    def emitter(self, device: Any, quantized: bool) -> OnnxEmitter:
        """What computes emissions, on a CPU. Raises `UserError` for a device or weights that the
        file does not have."""
        if str(device) not in ("auto", "cpu"):
            raise UserError(f"{self.path}: an exported model runs on the device cpu, not {device}")
        if quantized and not self.quantized:
            raise UserError(f"{self.path}: has float32 weights; export the model with int8 weights")
        threads = int(os.environ.get("OMP_NUM_THREADS") or cores())
        try:
            return OnnxEmitter(
                str(self.path), self.config, self.quantized, self.parameters, threads
            )
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{self.path}: ONNX Runtime refuses the graph: {reason}") from None

    def metadata(self) -> dict[str, str]:
        """All but the graph, as text."""
        entries = {
            "format": str(FORMAT),
            "version": __version__,
            "config": to_yaml(self.config),
            "tokenizer": base64.b64encode(self.tokenizer.to_bytes()).decode(),
            "weights": "int8" if self.quantized else "float32",
            "parameters": str(self.parameters),
            "card": self.card,
        }
        if self.ngram is not None:
            entries["ngram"] = base64.b64encode(self.ngram.to_bytes()).decode()
        if self.grammar is not None:
            entries["grammar"] = self.grammar.text
        return {f"{PREFIX}{key}": value for key, value in entries.items()}

    def save(self, path: str | Path) -> None:
        """Write the graph with the settings, the language model and the grammar in use."""
        write_metadata(self.path, path, self.metadata())


def read_exported(path: str | Path) -> OnnxModel:
    """Read an exported model. Raises `UserError` if it is missing, damaged, foreign or newer."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such model file")
    try:
        entries = read_metadata(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not an ONNX file, or damaged: {error}") from None
    found = {key.removeprefix(PREFIX): value for key, value in entries.items()}
    if "config" not in found:
        raise UserError(f"{path}: not a model of asr: its metadata lack {SETTINGS}")
    try:
        if int(found["format"]) > FORMAT:
            raise UserError(
                f"{path}: written by asr {found['version']}, which is newer than this "
                f"{__version__}; upgrade asr"
            )
        config = parse(from_yaml(found["config"]), f"{path}: its configuration")
        data = base64.b64decode(found["tokenizer"], validate=True)
        return OnnxModel(
            path,
            config,
            tokenizer.from_bytes(data, config.tokenizer.kind),
            found["weights"] == "int8",
            int(found["parameters"]),
            found["card"],
            _ngram(found.get("ngram")),
            Grammar.parse(found["grammar"], f"{path}: grammar") if "grammar" in found else None,
        )
    except (KeyError, TypeError, ValueError, OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: its metadata are damaged: {reason}") from None


def _ngram(text: str | None) -> NGram | None:
    if text is None:
        return None
    return NGram.load(io.BytesIO(base64.b64decode(text, validate=True)))


def cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
