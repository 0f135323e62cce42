"""The stage that prepares the corpus: it runs the prepare.py of a recipe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from asr.errors import Failed, UserError
from asr.pipeline.run_folder import RunFolder
from asr.pipeline.stage_cache import digest


def prepare_corpus(run: RunFolder, script: Path | None) -> None:
    """Run `script`, which writes the manifests of the data folder and the audio that they name.

    Without a script, the manifests must exist already. Raises `UserError` if they do not, or if the
    script ends with exit status 2; `Failed` if it ends with another status but 0.
    """
    c = run.config.data
    manifests = [run.data / name for name in (c.train, c.dev, *c.test)]
    if script is None:
        missing = [path for path in manifests if not path.exists()]
        if missing:
            raise UserError(
                f"{missing[0]}: no such manifest, and the recipe has no prepare.py to create it"
            )
        return run.report("prepare", "skipped: the manifests exist")
    inputs = {"script": digest(script), "options": c.prepare}
    if run.stages.done("prepare", inputs, manifests):
        return
    command = [sys.executable, str(script), str(run.data)]
    for key, value in c.prepare.items():
        command += [f"--{key.replace('_', '-')}", str(value)]
    status = subprocess.run(command).returncode
    if status == 2:
        raise UserError(f"{script}: could not prepare the corpus (see above)")
    if status != 0:
        raise Failed(f"{script}: ended with exit status {status} (see above)")
    run.stages.record("prepare", inputs)
