"""The folders of `asr` are layers: imports run one way, with no exception."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_imports_run_one_way():
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def imported_by(*modules: str) -> set[str]:
    """The modules of `asr` that are loaded after an interpreter has imported these."""
    code = f"import sys, {', '.join(modules)}; print(*(m for m in sys.modules if 'asr' in m[:3]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_inference_imports_neither_training_nor_the_data_loader():
    loaded = imported_by("asr.recognition.recognizer", "asr.recognition.alignment")
    assert "asr.recognition.transcribe" in loaded
    assert not [m for m in loaded if m.startswith("asr.training")]
    assert not loaded & {"asr.data.loader", "asr.data.sampler", "asr.data.augment"}
