"""One screen that says what is installed, what is missing, and how to mend it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass

from packaging.requirements import Requirement

from asr import __version__

EXTRAS = {  # distribution: what it is for
    "hibari-tts": "the digits recipe speaks its corpus with it",
    "matplotlib": "draws learning curves and other pictures",
    "pytest": "runs the tests",
    "silero-vad": "finds the pauses of long recordings, with onnxruntime",
    "ray": "transcribes archives on many machines",
    "wandb": "shows runs on Weights & Biases",
}


@dataclass(frozen=True)
class CheckResult:
    what: str
    found: str
    mend: str = ""  # empty: all is well

    @property
    def ok(self) -> bool:
        return not self.mend


def examine() -> list[CheckResult]:
    """Look at the interpreter, each dependency, the torch pair, and the device."""
    findings = [
        CheckResult("asr", __version__),
        CheckResult("python", f"{platform.python_version()} ({sys.executable})"),
    ]
    for text in importlib.metadata.requires("asr") or []:
        requirement = Requirement(text)
        if requirement.marker is None:
            findings.append(_requirement(requirement))
    findings.append(_torch_pair())
    findings += [_extra(name, purpose) for name, purpose in EXTRAS.items()]
    findings.append(_device())
    return findings


def _requirement(requirement: Requirement) -> CheckResult:
    mend = f"pip install '{requirement}'"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return CheckResult(requirement.name, "missing", mend)
    if not requirement.specifier.contains(version, prereleases=True):
        return CheckResult(requirement.name, f"{version}, wanted {requirement.specifier}", mend)
    return CheckResult(requirement.name, version)


def _torch_pair() -> CheckResult:
    """torch and torchaudio are compiled against each other: only importing them tells."""
    try:
        torch = importlib.import_module("torch")
        torchaudio = importlib.import_module("torchaudio")
    except (ImportError, OSError) as error:
        reason = str(error).partition("\n")[0]
        return CheckResult(
            "torch with torchaudio",
            f"do not load together: {reason}",
            "install both from one index: pip install 'torch>=2.11,<2.15' 'torchaudio>=2.11,<2.12' "
            "(a CPU-only torch needs the CPU-only torchaudio)",
        )
    return CheckResult(
        "torch with torchaudio", f"{torch.__version__} with {torchaudio.__version__}"
    )


def _extra(name: str, purpose: str) -> CheckResult:
    try:
        return CheckResult(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return CheckResult(name, f"not installed, optional: {purpose}")


def _device() -> CheckResult:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError):
        return CheckResult("device", "unknown: torch does not load", "mend torch first")
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return CheckResult(
            "device", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        )
    if torch.backends.mps.is_available():
        return CheckResult("device", "Apple GPU (MPS)")
    return CheckResult(
        "device", f"CPU, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads"
    )
