"""The snippets of docs/python.md run in order, in one session."""

import re
from pathlib import Path

import pytest
import soundfile
import torch
from conftest import noise

import asr
from asr.config import parse
from asr.model.model_file import Model, save_model
from asr.text.tokenizer import CharacterTokenizer

PAGE = Path(__file__).parent.parent / "docs/python.md"
# What makes the training of the page short
SMALL = '"tiny", "layers": 1, "hidden": 8, "channels": 2'
DEVICE = '"epochs": 1, "device": "cpu", "workers": 0'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files that the page presupposes; the model is untrained."""
    monkeypatch.chdir(tmp_path)
    values = {"name": "page", "model": {"preset": "tiny", "layers": 1, "hidden": 16, "channels": 4}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        letters = CharacterTokenizer("abcdefghijklmnopqrstuvwxyz")
        save_model("model.asr", Model.build(parse(values, "page"), letters))
    for name in ("talk.wav", "talk.mp3", "answer.wav"):
        soundfile.write(name, noise(4.0), 16000)
    rows = [asr.Utterance(f"row{i}", "talk.wav", text="one two") for i in range(14)]
    asr.write_manifest("digits.jsonl", rows)
    asr.write_manifest("test.jsonl", rows[:3])
    return tmp_path


def test_the_snippets_work(folder, capsys, monkeypatch):
    monkeypatch.setattr("asr.model.device.torch.cuda.is_available", lambda: False)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    session: dict = {}
    for block in blocks:
        block = block.replace('"tiny"', SMALL).replace('"epochs": 20', DEVICE)
        exec(compile(block, str(PAGE), "exec"), session)
    shown = capsys.readouterr().out
    assert len(blocks) > 10
    assert "<Recognizer: 16000 Hz" in shown and "missing.wav: no such file" in shown
    assert "<Evaluation: WER" in shown
    for name in ("talk.srt", "talk.TextGrid", "with-lm.asr", "digits.asr", "talk.jsonl"):
        assert (folder / name).stat().st_size > 0
    assert session["transcript"].text == session["transcripts"][0].text
    assert [s.text for s in session["aligned"].segments] == ["the road", "to ann arbor"]


def test_the_page_names_every_function_and_type():
    page = PAGE.read_text()
    missing = [name for name in asr.__all__ if name not in page]
    assert set(missing) <= {"Config", "Recognizer", "Transcript", "__version__"}
