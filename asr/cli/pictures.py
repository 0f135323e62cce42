"""`asr show`: draw pictures of a recording."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.console import out, result
from asr.cli.options import Device
from asr.errors import UserError
from asr.plotting import figures
from asr.plotting.recording import IN_TERMINAL, OF_CLASSIFIER, OF_MODEL, OF_SOUND

_NAMES = dict.fromkeys((*OF_SOUND, *OF_MODEL, *OF_CLASSIFIER))
What = Enum("What", {name: name for name in _NAMES}, type=str)


def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A .png or .svg file, or a folder; by default the terminal.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also show what this model computes."),
    ] = None,
    what: Annotated[
        list[What] | None,
        typer.Option(
            metavar="PICTURE",
            help=f"{', '.join(OF_SOUND)}; with --model also {', '.join(OF_MODEL)}; of a model that "
            f"classifies {', '.join(OF_CLASSIFIER)}. Repeatable.",
        ),
    ] = None,
    start: Annotated[
        float, typer.Option(metavar="SECONDS", help="Start of the excerpt.", min=0)
    ] = 0.0,
    duration: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Length of the excerpt; by default at most 30 s.", min=0.01
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Draw pictures of a recording, from its waveform to the output of a model."""
    from asr.recognition.model import classifies

    of_classes = model is not None and classifies(model)
    names = [name.value for name in dict.fromkeys(what or ())] or _usual(model, output, of_classes)
    for name in names:
        if name in (*OF_MODEL, *OF_CLASSIFIER) and model is None:
            raise UserError(f"--what {name}: this picture needs a model; add --model FILE")
        if model is not None and name not in (
            *OF_SOUND,
            *(OF_CLASSIFIER if of_classes else OF_MODEL),
        ):
            kind = "transcribes" if of_classes else "classifies"
            raise UserError(f"--what {name}: this picture needs a model that {kind}")
        if output is None and name not in IN_TERMINAL:
            raise UserError(f"--what {name}: cannot be drawn in a terminal; add -o {name}.png")
    paths = _paths(output, names)

    from asr.cli.terminal import view
    from asr.plotting.recording.excerpt import read
    from asr.plotting.recording.pictures import draw
    from asr.recognition.shortcuts import load

    recognizer = load(model, device) if model else None
    excerpt = read(file, recognizer.config if recognizer else None, start, duration)
    for name in names:
        if output is None:
            out.print(view(name, excerpt, recognizer, out.width, out.color_system is not None))
            continue
        picture = draw(name, excerpt, recognizer)
        figures.save(paths[name], picture.figure)
        result(f"{paths[name]}: {picture.caption}")


def _usual(model: Path | None, to: Path | None, of_classes: bool = False) -> list[str]:
    if of_classes:
        if to is None:
            return ["log-mel"]
        return [*OF_SOUND, *OF_CLASSIFIER] if _is_folder(to) else ["pooling"]
    if to is None:
        return ["waveform", "spectrogram"] if model is None else ["log-mel", "emissions"]
    if _is_folder(to):
        return [*OF_SOUND, *(OF_MODEL if model else ())]
    return ["spectrogram" if model is None else "emissions"]


def _is_folder(to: Path) -> bool:
    return to.is_dir() or not to.suffix


def _paths(to: Path | None, names: list[str]) -> dict[str, Path]:
    """{picture: file}; empty if pictures are drawn in the terminal."""
    if to is None:
        return {}
    if _is_folder(to):
        return {name: to / f"{name}.png" for name in names}
    figures.kind_of(to)
    if len(names) > 1:
        raise UserError(f"{to}: one file for {len(names)} pictures; give a folder")
    return {names[0]: to}
