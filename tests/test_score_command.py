"""`asr score`: its output, the files it writes, and its exit status."""

import json
import subprocess
import sys

import pytest
import soundfile
from conftest import RATE_HZ, noise
from typer.testing import CliRunner

from asr.cli import app
from asr.config import parse
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.model.model_file import load_model, save_model
from asr.scoring.normalization import WhisperEnglish


def run(*arguments):
    """Run a command; returns exit status, stdout and the lines of stderr."""
    done = CliRunner().invoke(app, ["score", *map(str, arguments)])
    if isinstance(done.exception, UserError):
        raise done.exception
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr.splitlines()


REFERENCES = """id\ttext\tspeaker\tage
u1\tThe cat sat.\tanna\t9
u2\tThe dog\tben\t40
u3\tA bird sang\tanna\t9
"""
HEARD = "u1\tthe bat sat\nu2\tthe dog\nu3\ta bird\n"
BETTER = "u1\tthe cat sat\nu2\tthe dog\nu3\ta bird\n"


@pytest.fixture
def files(tmp_path):
    for name, text in (("r.tsv", REFERENCES), ("a.txt", HEARD), ("b.txt", BETTER)):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_figures_are_printed_with_their_normalization(files):
    status, out, err = run(files / "r.tsv", files / "a.txt")
    assert (status, err) == (0, [])
    lines = out.splitlines()
    assert lines[0].startswith("WER 25.00% (95% interval 0.00% to ")
    assert lines[1].startswith("2 errors in 8 words: 1 substituted, 1 deleted, 0 inserted")
    assert lines[2] == (
        "MER 25.00%, WIL 35.71%; normalization: basic (lower case, punctuation removed, NFC)"
    )
    assert lines[4].split() == ["cat", "→", "bat", "1", "sang", "1"]
    _, out, _ = run(files / "r.tsv", files / "a.txt", "--normalize", "none", "--confusions", 0)
    assert out.startswith("WER 75.00%")
    assert "normalization: none (case kept, punctuation kept, NFC)" in out
    assert "→" not in out


def test_breakdowns_are_printed_and_written(files):
    (files / "train.txt").write_text("The cat, a dog sat sang\n")
    status, out, _ = run(
        *(files / "r.tsv", files / "a.txt", "--by", "speaker", "--by", "age"),
        *("--train", files / "train.txt", "-o", files / "out"),
    )
    assert status == 0
    assert "12.50% of 8 reference words are out of vocabulary (bird): 0.00% of them wrong" in out
    assert out.index(" anna ") < out.index(" ben ") < out.index(" 9 ") < out.index(" 40 ")
    written = json.loads((files / "out/score.json").read_text())
    assert written["normalization"] == "basic"
    assert written["by"]["speaker"]["anna"]["wer"] == pytest.approx(2 / 6)
    assert written["by"]["age"]["40"]["wer"] == 0.0
    assert written["confusions"]["substitutions"] == [["cat", "bat", 1]]
    assert written["vocabulary"]["share"] == 0.125
    assert written["issues"] == []
    assert written["sources"][0].endswith("r.tsv (table, column text, 3 texts)")


def test_a_folder_gives_the_figures_it_was_written_with(files):
    _, first, _ = run(files / "r.tsv", files / "a.txt", "-o", files / "out", "--confusions", 0)
    status, again, _ = run(files / "out", "--confusions", 0)
    assert status == 0
    assert again.splitlines()[:2] == first.splitlines()[:2]
    assert "normalization: none" in again
    _, cased, _ = run(files / "r.tsv", files / "a.txt", "--normalize", "none", "-o", files / "c")
    assert run(files / "c")[1] == cased


def test_two_systems_are_compared_as_texts_or_as_folders(files):
    status, out, err = run(files / "r.tsv", files / "a.txt", "--against", files / "b.txt")
    assert (status, err) == (0, [])
    assert f"first: {files / 'a.txt'}\nsecond: {files / 'b.txt'}\n" in out
    assert "WER 25.00% first, 12.50% second: -12.50% (95% interval " in out
    assert "matched pairs: 2 segments with an error, W = -1.00, p = 1\n" in out
    assert "No significant difference: with a test set of this size" in out
    for name in "ab":
        run(files / "r.tsv", files / f"{name}.txt", "-o", files / name)
    status, folders, _ = run(files / "a", "--against", files / "b", "-o", files / "both")
    assert status == 0
    assert folders[folders.index("WER 25.00% first") :] == out[out.index("WER 25.00% first") :]
    written = json.loads((files / "both/score.json").read_text())["against"]
    assert written["difference"] == -0.125
    assert written["verdict"].startswith("No significant difference")


def test_issues_are_listed_and_errors_are_status_1(files):
    (files / "a.txt").write_text("u1\tthe bat sat\nu2\tthe dog\nu2\t\nu4\tx\n")
    status, out, err = run(files / "r.tsv", files / "a.txt", "-o", files / "out")
    assert status == 1
    assert "4 errors in 8 words" in out
    assert err == [
        "1 hypotheses repeat an id, the first is scored: u2",
        "1 references have no hypothesis, scored as empty: u3",
        "1 hypotheses have no reference, not scored: u4",
        "1 hypotheses are empty: u3",
    ]
    found = json.loads((files / "out/score.json").read_text())["issues"]
    assert found[1] == {
        "description": "references have no hypothesis, scored as empty",
        "ids": ["u3"],
        "is_error": True,
    }
    (files / "a.txt").write_text("u1\tthe bat sat\nu2\t\nu3\ta bird sang\n")
    status, _, err = run(files / "r.tsv", files / "a.txt")
    assert (status, err) == (0, ["1 hypotheses are empty: u2"])


@pytest.fixture(scope="module")
def test_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    for i in range(4):
        soundfile.write(folder / f"u{i}.wav", noise(1.0 + 2 * i, i), RATE_HZ)
    rows = [Utterance(f"u{i}", str(folder / f"u{i}.wav"), text="Bad cab") for i in range(4)]
    manifest.write(folder / "test.jsonl", rows)
    return folder / "test.jsonl"


def test_a_model_is_compared_with_another_and_with_texts(model_file, test_set, tmp_path):
    other = tmp_path / "other.asr"
    model = load_model(model_file)
    cased = model.config.text.model_copy(update={"lowercase": False})
    model.config = model.config.model_copy(update={"text": cased})
    save_model(other, model)
    status, out, _ = run(model_file, test_set, "--against", other, "-o", tmp_path / "out")
    assert status == 0
    assert "No difference: both systems have the same number of errors in every utterance." in out
    assert "normalization: recipe (lower case" in out
    status, out, _ = run(model_file, test_set, "--against", tmp_path / "out/hypotheses.jsonl")
    assert status == 0
    assert "No difference: both systems have the same number of errors" in out
    _, out, _ = run(other, test_set)
    assert "normalization: recipe (case kept" in out
    (tmp_path / "h.txt").write_text("bad cab\n" * 4)
    status, out, _ = run(test_set, tmp_path / "h.txt", "--against", model_file, "--confusions", 0)
    assert status == 0
    assert out.startswith("WER 0.00% (95% interval 0.00% to 36.94%")
    assert "WER 0.00% first" in out
    with pytest.raises(UserError, match="a model needs a manifest with audio, not a folder"):
        run(tmp_path / "out", "--against", model_file)


def test_columns_of_a_manifest_and_what_is_measured_from_its_audio(model_file, test_set):
    status, out, _ = run(model_file, test_set, "--by", "duration", "--by", "snr")
    assert status == 0
    for label in ("1 to 2 s", "2 to 5 s", "5 to 10 s", " dB "):
        assert label in out
    with pytest.raises(
        UserError, match="no utterance has a column 'dialect'; the columns are: audio"
    ):
        run(model_file, test_set, "--by", "dialect")


def test_whispers_normalizer_makes_figures_comparable(files):
    """Published figures count neither spelling nor the form of numbers and contractions."""
    (files / "r.txt").write_text("u1\tMr. Grey can't pay twenty-one dollars, um, [laughs] ok\n")
    (files / "h.txt").write_text("u1\tmister gray can not pay $21 ok\n")
    status, out, err = run(files / "r.txt", files / "h.txt", "--normalize", "whisper-en")
    assert (status, err) == (0, [])
    assert out.startswith("WER 0.00%")
    assert "normalization: whisper-en (Whisper's English normalizer)" in out
    assert not run(files / "r.txt", files / "h.txt")[1].startswith("WER 0.00%")


def test_whispers_normalizer_is_no_setting_of_training():
    with pytest.raises(UserError, match="text"):
        parse({"name": "a", "text": {"normalize": "whisper-en"}}, "recipe.yaml")


def test_whispers_normalizer_needs_its_package_and_no_torch(monkeypatch):
    program = "import sys, whisper_normalizer.english; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout == "False\n"
    monkeypatch.setitem(sys.modules, "whisper_normalizer.english", None)
    with pytest.raises(UserError, match=r"pip install 'asr\[whisper\]'"):
        WhisperEnglish()("text")
