"""Check the installation: which packages are installed, which are missing, and how to fix it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from dataclasses import dataclass

from packaging.requirements import Requirement

from asr import __version__
from asr.audio.microphone import INSTALL_PORTAUDIO
from asr.synthesis.engine import VoiceEngine
from asr.synthesis.engines import ENGINES

TRAINING = "trains and exports models; pip install 'asr[train]'"
EXTRAS = {  # optional package: its purpose
    "numba": "beam search, language models, grammars, alignment; pip install 'asr[decode]'",
    "av": "reads MP3, M4A, MP4, WebM and other formats; pip install 'asr[media]'",
    "matplotlib": "draws learning curves and other pictures",
    "pytest": "runs the tests",
    "silero-vad": "finds the pauses of long recordings, with onnxruntime",
    "sounddevice": "listens to a microphone",
    "ray": "transcribes archives on many machines",
    "wandb": "logs runs to Weights & Biases",
}


@dataclass(frozen=True)
class CheckResult:
    """The state of one part of the installation; `fix` is empty if nothing is wrong."""

    name: str
    found: str
    fix: str = ""

    @property
    def ok(self) -> bool:
        return not self.fix


def check_installation() -> list[CheckResult]:
    """Check the interpreter, each dependency, PyTorch, extras, voices and device."""
    results = [
        CheckResult("asr", __version__),
        CheckResult("python", f"{platform.python_version()} ({sys.executable})"),
    ]
    requirements = [Requirement(text) for text in importlib.metadata.requires("asr") or []]
    results += [_requirement(one) for one in requirements if one.marker is None]
    if not _has_torch():
        results.append(CheckResult("PyTorch", f"not installed, optional: {TRAINING}"))
    else:
        training = [one for one in requirements if str(one.marker) == 'extra == "train"']
        results += [_requirement(one) for one in training]
        results.append(_torch_pair())
    listed = {result.name for result in results}
    results += [_extra(name, EXTRAS[name]) for name in EXTRAS if name not in listed]
    results += [_voice_engine(engine) for engine in ENGINES.values()]
    results += _portaudio()
    results.append(_device())
    return results


def _requirement(requirement: Requirement) -> CheckResult:
    fix = f"pip install '{requirement}'"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return CheckResult(requirement.name, "missing", fix)
    if not requirement.specifier.contains(version, prereleases=True):
        return CheckResult(requirement.name, f"{version}, needs {requirement.specifier}", fix)
    return CheckResult(requirement.name, version)


def _has_torch() -> bool:
    try:
        return importlib.util.find_spec("torch") is not None
    except ModuleNotFoundError:  # an import hook refuses it
        return False


def _torch_pair() -> CheckResult:
    """Import torch and torchaudio, because versions that do not match fail only when imported."""
    try:
        torch = importlib.import_module("torch")
        torchaudio = importlib.import_module("torchaudio")
    except (ImportError, OSError) as error:
        reason = str(error).partition("\n")[0]
        return CheckResult(
            "torch with torchaudio",
            f"cannot be loaded together: {reason}",
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


def _voice_engine(engine: VoiceEngine) -> CheckResult:
    name, problem = f"voices of {engine.name}", engine.problem()
    if problem:
        return CheckResult(name, f"not installed, optional: {engine.install}")
    return CheckResult(name, f"{len(engine.voices())}, {engine.version()}")


def _portaudio() -> list[CheckResult]:
    """The library that sounddevice loads, if sounddevice is installed."""
    try:
        sounddevice = importlib.import_module("sounddevice")
    except ImportError:
        return []
    except OSError:
        return [CheckResult("PortAudio", f"missing, optional: {INSTALL_PORTAUDIO}")]
    return [CheckResult("PortAudio", sounddevice.get_portaudio_version()[1])]


def _device() -> CheckResult:
    if not _has_torch():
        return CheckResult("device", f"CPU, {os.cpu_count()} cores")
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError):
        return CheckResult("device", "unknown: torch cannot be loaded", "fix torch first")
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
