"""`asr export-manifest`: a manifest in the form of another toolkit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.console import err, progress_bars, result, say_failed


def export_manifest(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="A manifest: .jsonl, .tsv or .csv.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the files go.")
    ],
    to: Annotated[str, typer.Option(metavar="FORMAT", help="nemo, kaldi, lhotse or huggingface.")],
) -> None:
    """Write a manifest in the form that NeMo, Kaldi, lhotse or Hugging Face reads."""
    from asr.data import manifest as manifests
    from asr.data.exporters import export_manifest

    utterances = manifests.read(manifest)
    with progress_bars() as progress:
        task = progress.add_task("exporting", total=len(utterances))
        exported = export_manifest(utterances, output, to, lambda: progress.advance(task))
    for line in exported.left_out:
        say_failed("left out", line)
    names = ", ".join(path.name for path in exported.files)
    result(f"{output}: {exported.utterances} utterances in {names}")
    if exported.left_out:
        err.print(f"{len(exported.left_out)} utterances were left out (see above)")
        raise typer.Exit(1)
