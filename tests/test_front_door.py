"""`import asr`: functions and types, loaded when they are used, with types that mypy accepts."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import srt

import asr
from asr.errors import Failed, UserError
from asr.transcript import Segment, Transcript, Word
from asr.transcript.writers import FORMATS

ROOT = Path(__file__).parent.parent


def test_each_name_is_a_function_or_a_type():
    for name in asr.__all__:
        value = getattr(asr, name)
        assert callable(value) or name == "__version__", name
        assert not inspect.ismodule(value), name
        assert name in dir(asr)
    with pytest.raises(AttributeError, match="no attribute 'transcripe'"):
        asr.transcripe  # noqa: B018


def test_the_stub_names_what_the_package_exports():
    tree = ast.parse((ROOT / "asr/__init__.pyi").read_text())
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == asr._EXPORTS
    (listed,) = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    assert sorted(ast.literal_eval(listed)) == sorted(asr.__all__)


def test_manifests_and_the_version_need_no_torch():
    code = (
        "import sys, asr; asr.read_manifest, asr.Utterance, asr.Transcript, asr.AsrError, asr.wer;"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_all_errors_share_a_base_class():
    assert issubclass(UserError, asr.AsrError) and issubclass(Failed, asr.AsrError)


def test_mypy_accepts_the_public_surface():
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_accepts_the_uses_without_this_project_s_settings(tmp_path):
    """A user's own settings have no plugin for pydantic."""
    (tmp_path / "mypy.ini").write_text("[mypy]\nfollow_imports = silent\n")
    uses = ROOT / "tests/typed_usage.py"
    command = [sys.executable, "-m", "mypy", "--config-file", str(tmp_path / "mypy.ini"), str(uses)]
    done = subprocess.run(
        [*command, "--cache-dir", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_rejects_wrong_uses(tmp_path):
    """Otherwise the test above would pass even if every type were Any."""
    (tmp_path / "wrong.py").write_text(
        "import asr\n"
        "asr.load(3)\n"
        "asr.load('model.asr').transcribe('a.wav').txt\n"
        "asr.wer('one', 2)\n"
        "asr.read_manifest('a.jsonl')[0].duration\n"
    )
    command = [sys.executable, "-m", "mypy", str(tmp_path / "wrong.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = {line.split(":")[1] for line in done.stdout.splitlines() if ": error:" in line}
    assert lines == {"2", "3", "4", "5"}, done.stdout


# ---- a transcript in a file ----------------------------------------------------------------------


@pytest.fixture
def transcript() -> Transcript:
    words = (Word("good", 0.5, 0.9, 0.9), Word("day", 1.0, 1.3, 0.8))
    return Transcript("talk.wav", 2.0, (Segment(0.5, 1.3, words),))


@pytest.mark.parametrize("name", FORMATS)
def test_a_transcript_is_saved_by_suffix(transcript, tmp_path, name):
    for suffix in (name, name.upper()):
        transcript.save(tmp_path / f"new/talk.{suffix}")
        assert (tmp_path / f"new/talk.{suffix}").read_text() == FORMATS[name](transcript)


def test_saved_files_are_read_by_others(transcript, tmp_path):
    transcript.save(str(tmp_path / "talk.srt"))
    (cue,) = srt.parse((tmp_path / "talk.srt").read_text())
    assert cue.content == "good day" and cue.start.total_seconds() == 0.5
    transcript.save(tmp_path / "talk.json")
    assert json.loads((tmp_path / "talk.json").read_text())["text"] == "good day"


@pytest.mark.parametrize("name", ["talk.doc", "talk", "srt"])
def test_an_unknown_suffix_is_refused(transcript, tmp_path, name):
    with pytest.raises(UserError, match=r"not a transcript format.*\.txt, \.json, .*\.srt"):
        transcript.save(tmp_path / name)
    assert not list(tmp_path.iterdir())
