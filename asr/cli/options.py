"""Options that several commands share; a dataclass of options is one parameter of a command."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import time
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from asr.cli.console import messages, set_messages
from asr.cli.memory import share_one_arena
from asr.errors import UserError
from asr.runtime.onnx_file import is_exported
from asr.transcript.writers import FORMATS

if TYPE_CHECKING:
    from asr.recognition.recognizer import Recognizer

log = logging.getLogger("asr")

Format = Enum("Format", {name: name for name in FORMATS}, type=str)  # of transcripts
ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A model: NAME.asr or NAME.onnx.")
]
LanguageModel = Annotated[
    Path | None,
    typer.Option("--lm", metavar="FILE", help="A language model: .npz, .arpa or .arpa.gz."),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda or mps.")]


@dataclass(frozen=True)
class MessageOptions:
    """Which messages a command prints on standard error."""

    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show details, and error tracebacks.")
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show errors and results only.")] = (
        False
    )

    def apply(self) -> None:
        """Combine options before and after the command: `asr -q score` is `asr score -q`."""
        set_messages(messages.quiet or self.quiet, messages.verbose or self.verbose)


@dataclass(frozen=True)
class Decoding:
    """How a model file is loaded: where it runs and how its emissions become text."""

    lm: LanguageModel = None
    grammar: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Allow only the sentences of this grammar."),
    ] = None
    hotword: Annotated[
        list[str] | None,
        typer.Option(metavar="PHRASE=WEIGHT", help="Favor a phrase, such as 'Ann Arbor=5'."),
    ] = None
    decoder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Change a decoder setting, such as beam=50 or lm_weight=0.6."
        ),
    ] = None
    quantize: Annotated[
        bool,
        typer.Option("--quantize", help="Use int8 weights (CPU)."),
    ] = False
    quantise: Annotated[bool, typer.Option("--quantise", hidden=True)] = False
    device: Device = "auto"

    @property
    def int8(self) -> bool:
        return self.quantize or self.quantise

    @property
    def given(self) -> bool:
        """Whether any option except the device is set."""
        return bool(self.lm or self.grammar or self.hotword or self.decoder or self.int8)

    @property
    def hotwords(self) -> dict[str, float]:
        """{phrase: weight}."""
        pairs = _pairs(self.hotword, "--hotword")
        return {phrase: _weight(weight, phrase) for phrase, weight in pairs}

    @property
    def settings(self) -> dict[str, str]:
        """{decoder setting: value}."""
        return dict(_pairs(self.decoder, "--decoder"))

    def load(self, model: Path) -> Recognizer:
        """Load the recognizer of a model file with these options."""
        # oneDNN caches a kernel for each of up to 1024 shapes, and the chunks of a long recording
        # have as many shapes. The variable is read once, when torch is imported.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
        from asr.recognition.recognizer import load

        if is_exported(model):
            share_one_arena()
        started = time.perf_counter()
        recognizer = load(
            model,
            self.device,
            lm=self.lm,
            grammar=self.grammar,
            hotwords=self.hotwords,
            quantized=self.int8,
            **self.settings,
        )
        decoder = " ".join(f"{k}={v}" for k, v in recognizer.config.decoder.model_dump().items())
        log.debug("%s: loaded in %.2f s; %s", model, time.perf_counter() - started, decoder)
        return recognizer


AS_SAVED = Decoding()  # the settings of the model file


def _pairs(values: list[str] | None, option: str) -> list[tuple[str, str]]:
    for value in values or ():
        if "=" not in value:
            raise UserError(f"{option} {value!r}: write it as NAME=VALUE")
    return [tuple(value.rsplit("=", 1)) for value in values or ()]


def _weight(text: str, phrase: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--hotword {phrase!r}: the weight {text!r} is not a number") from None


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Convert a function to a typer command: each field of a dataclass parameter is an option.

    Every command also gets the options of `MessageOptions`.
    """
    hints = get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in groups:
            parameters += _parameters(groups[parameter.name])
        else:
            parameters.append(
                parameter.replace(
                    kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name]
                )
            )
    parameters += _parameters(MessageOptions)

    @functools.wraps(function)
    def call(**values: Any) -> None:
        _take(values, MessageOptions).apply()
        built = {name: _take(values, group) for name, group in groups.items()}
        function(**values, **built)

    call.__signature__ = inspect.Signature(parameters)
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def _parameters(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]


def _take(values: dict[str, Any], group: type) -> Any:
    """Build the group from its values, which are removed from `values`."""
    return group(**{field.name: values.pop(field.name) for field in fields(group)})
