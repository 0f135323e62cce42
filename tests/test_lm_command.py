"""`asr lm`: from texts and manifests to a model, and from one format to another."""

import gzip

import pytest
from typer.testing import CliRunner

from asr.cli import app
from asr.data import manifest
from asr.errors import UserError
from asr.lm.ngram import NGram

TEXT = "The sun rises.\n\nThe boats — the quiet boats! — go out.\n"


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text").write_text(TEXT, encoding="utf-8")
    return tmp_path / "text"


def lm(*arguments) -> str:
    result = CliRunner().invoke(app, ["lm", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_text_is_normalized_as_for_training(text, tmp_path):
    printed = lm(text, "-o", tmp_path / "lm.npz", "--perplexity", text)
    model = NGram.load(tmp_path / "lm.npz")
    assert set(model.words[3:]) == set("the sun rises boats quiet go out".split())
    assert "3-gram on words, vocabulary of 10, " in printed
    assert f"perplexity {model.perplexity(['the sun rises', QUIET]):.2f}, 10 words in 2" in printed


QUIET = "the boats the quiet boats go out"


def test_many_texts_packed_files_and_manifests(text, tmp_path):
    with gzip.open(tmp_path / "text.gz", "wb") as file:
        file.write(b"a storm\n")
    manifest.write(
        tmp_path / "train.jsonl", [manifest.Utterance("1", "1.wav", text="come home, boats")]
    )
    lm(text, tmp_path / "text.gz", tmp_path / "train.jsonl", "-o", tmp_path / "lm.npz")
    estimated = NGram.estimate(["the sun rises", QUIET, "a storm", "come home boats"])
    assert NGram.load(tmp_path / "lm.npz").words == estimated.words


def test_options(text, tmp_path):
    lm(text, "-o", tmp_path / "lm.npz", "--order", 2, "--prune", "0 1", "--max-words", 2)
    model = NGram.load(tmp_path / "lm.npz")
    assert model.words[3:] == ["the", "boats"]
    same = NGram.estimate(["the sun rises", QUIET], 2, (0, 1), 2)
    assert len(model.automaton.arc_label) == len(same.automaton.arc_label)


def test_conversion(text, tmp_path):
    lm(text, "-o", tmp_path / "lm.npz")
    lm(tmp_path / "lm.npz", "-o", tmp_path / "lm.arpa.gz")
    lm(tmp_path / "lm.arpa.gz", "-o", tmp_path / "again.npz")
    first, again = NGram.load(tmp_path / "lm.npz"), NGram.load(tmp_path / "again.npz")
    assert first.score(QUIET) == pytest.approx(again.score(QUIET), abs=1e-5)
    with pytest.raises(UserError, match=r"lm\.npz: a model can only be converted"):
        lm(tmp_path / "lm.npz", "-o", tmp_path / "lm.arpa", "--order", 2)


@pytest.mark.parametrize(
    "options, problem",
    [
        (["-o", "lm.bin"], r"lm\.bin: the name of a language model must end in \.npz"),
        (["-o", "lm.npz", "--prune", "0 x"], "--prune: '0 x'; give counts"),
        (["-o", "lm.npz", "--tokens"], "--tokens: give the model"),
        (["-o", "lm.npz", "--order", "9"], "order 9: give one from 1 to 6"),
    ],
)
def test_mistakes(text, options, problem, monkeypatch):
    monkeypatch.chdir(text.parent)
    with pytest.raises(UserError, match=problem):
        lm(text, *options)
    assert [file.name for file in text.parent.iterdir()] == ["text"]
