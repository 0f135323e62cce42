"""`asr export`: a model for use without PyTorch."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from asr.cli.console import out, progress_bars, result, say_failed
from asr.errors import UserError
from asr.runtime.onnx_file import SUFFIX

if TYPE_CHECKING:
    from asr.export.check import ModelResult, Parity

SHOWN = 5  # differing texts


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file, NAME.asr.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--to", "--output", "-o", metavar="FILE", help="The file to write (default MODEL.onnx)."
        ),
    ] = None,
    quantize: Annotated[
        bool, typer.Option("--quantize", help="Store int8 weights: smaller and faster.")
    ] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--check", metavar="MANIFEST", help="Compare results and emissions with PyTorch's."
        ),
    ] = None,
    browser: Annotated[
        Path | None,
        typer.Option(
            "--browser",
            metavar="FOLDER",
            help="Write a folder of static files instead: a page that runs the model.",
        ),
    ] = None,
) -> None:
    """Write a model as one ONNX file, which runs without PyTorch."""
    if browser is not None:
        _write_page(model, browser, quantize, output, manifest)
        return
    from asr.data import manifest as manifests
    from asr.export.check import check
    from asr.export.model import export as write
    from asr.model.model_file import load_model
    from asr.recognition.model import classifies
    from asr.recognition.shortcuts import load

    output = output or model.with_suffix(SUFFIX)
    if output.suffix != SUFFIX:
        raise UserError(f"{output}: give the exported model the suffix {SUFFIX}")
    utterances = manifests.read(manifest) if manifest else []
    write(output, load_model(model), int8=quantize)
    weights = "int8" if quantize else "float32"
    result(f"{output}: {output.stat().st_size / 2**20:.1f} MiB, {weights} weights")
    if manifest is None:
        return
    with progress_bars() as bars:
        task = bars.add_task("comparing", total=3 * len(utterances))
        parity = check(load(model, "cpu"), load(output), utterances, lambda: bars.advance(task))
    _print(parity, weights, "error" if classifies(model) else "WER")
    for failure in parity.failures:
        say_failed("failed", failure.reason)
    if (parity.different and not quantize) or parity.failures:
        raise typer.Exit(1)


def _write_page(
    model: Path, folder: Path, quantize: bool, output: Path | None, manifest: Path | None
) -> None:
    from asr.export.browser import write_page

    if output or manifest:
        raise UserError(f"{folder}: a page is written without another file or a check")
    with tempfile.TemporaryDirectory() as name:
        if model.suffix == SUFFIX:
            if quantize:
                raise UserError(f"{model}: is exported already; give the model file NAME.asr")
            exported = model
        else:
            from asr.export.model import export as write
            from asr.model.model_file import load_model

            exported = Path(name) / f"model{SUFFIX}"
            write(exported, load_model(model), int8=quantize)
        write_page(folder, exported)
    size = sum(path.stat().st_size for path in folder.iterdir())
    result(f"{folder}: {size / 2**20:.1f} MiB; any host of static files can serve it")


def _print(parity: Parity, weights: str, measure: str) -> None:
    table = Table("", measure, "times real time", box=None)
    for name, run in (("PyTorch, float32", parity.original), (f"ONNX, {weights}", parity.exported)):
        table.add_row(name, _error_rate(run), f"{parity.audio_s / run.seconds:.0f}")
    out.print(table)
    result(
        f"{len(parity.different)} of {parity.utterances} results differ; log-probabilities differ "
        f"by at most {parity.max_difference:.2g}, on average {parity.mean_difference:.2g}"
    )
    for name, ours, theirs in parity.different[:SHOWN]:
        result(f"  {name}: {ours!r}, exported {theirs!r}")
    if parity.comparison is not None and parity.different:
        low, high = parity.comparison.interval
        result(
            f"WER difference {parity.comparison.difference:+.2%} (95% interval {low:+.2%} to "
            f"{high:+.2%}, paired bootstrap over {parity.comparison.resampled})"
        )


def _error_rate(run: ModelResult) -> str:
    from asr.scoring.wer import Score

    if run.score is None:
        return "no references"
    return f"{run.score.wer if isinstance(run.score, Score) else run.score.error:.2%}"
