"""Training from lists of utterances: the weights of the recipe, resumption, refusals."""

import logging
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from tones import make_corpus

from asr.config import parse
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.model.model_file import load_model
from asr.pipeline.rows import train_rows
from asr.pipeline.run import Recipe, Run


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    make_corpus(folder, train=24, dev=3)
    return folder


def configured(corpus, **train):
    values = {"epochs": 2, "batch_s": 8, "workers": 0, "threads": 1, "device": "cpu"}
    return parse(
        {
            "name": "rows",
            "data": {"folder": str(corpus), "max_duration_s": 4},
            "features": {"rate_hz": 8000, "n_mels": 12},
            "model": {"preset": "tiny", "layers": 1, "hidden": 8, "channels": 2},
            "train": values | train,
        },
        "rows",
    )


@pytest.fixture(scope="module")
def rows(corpus):
    return manifest.read(corpus / "train.jsonl"), manifest.read(corpus / "dev.jsonl")


def weights(model):
    return torch.cat([value.flatten() for value in model.acoustic.state_dict().values()])


def test_lists_give_the_weights_of_the_recipe_and_leave_no_file(
    corpus, rows, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    model = train_rows(configured(corpus), *rows)
    assert list(tmp_path.iterdir()) == [temporary] and not list(temporary.glob("asr-*"))
    assert capsys.readouterr().out == ""
    run = Run(Recipe(configured(corpus), None), tmp_path / "runs", Console(quiet=True))
    run.train()
    assert torch.equal(weights(model), weights(load_model(run.model_file)))
    assert "24 utterances" in model.card


def test_the_same_call_resumes_and_then_returns_the_finished_model(
    corpus, rows, tmp_path, monkeypatch
):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    c, folder = configured(corpus, checkpoint_minutes=1e-6), tmp_path / "run"
    straight = train_rows(c, *rows)
    with monkeypatch.context() as patch:
        patch.setattr("asr.training.validation.record_validation", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_rows(c, *rows, folder)
    assert list((folder / "checkpoints").glob("step-*")) and not (folder / "model.asr").exists()
    assert torch.equal(weights(train_rows(c, *rows, folder)), weights(straight))
    with monkeypatch.context() as patch:
        patch.setattr("asr.pipeline.fit.train", interrupted)
        assert torch.equal(weights(train_rows(c, *rows, folder)), weights(straight))


def test_a_folder_of_another_run_is_refused(corpus, rows, tmp_path):
    train, dev = rows
    train_rows(configured(corpus, epochs=1), train, dev, tmp_path)
    with pytest.raises(UserError, match=r"other settings \(config\.train\.epochs\)"):
        train_rows(configured(corpus, epochs=2), train, dev, tmp_path)
    with pytest.raises(UserError, match=r"other settings \(train\)"):
        train_rows(configured(corpus, epochs=1), train[1:], dev, tmp_path)


def test_rows_that_cannot_be_used_are_named(corpus, rows, caplog):
    train, dev = rows
    broken = [Utterance("gone", "gone.wav", text="low"), replace(train[0], id="silent", text=" ")]
    model = train_rows(configured(corpus, epochs=1), [*train, *broken], dev)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("2 problems" in line for line in warnings)
    assert any("gone.wav: no such file" in line for line in warnings)
    assert "24 utterances" in model.card
    with pytest.raises(UserError, match="train: no utterance can be used"):
        train_rows(configured(corpus), broken, dev)


def test_rows_that_are_invalid_in_a_manifest_are_refused(corpus, rows):
    train, dev = rows
    with pytest.raises(UserError, match="train: id 'train-0' is used twice"):
        train_rows(configured(corpus), [*train, train[0]], dev)
    with pytest.raises(UserError, match="dev: has no utterances"):
        train_rows(configured(corpus), train, [])
