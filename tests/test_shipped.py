"""The model that the package contains: it is the default, and `asr info` describes it."""

import pytest
import torch
from rich.console import Console

import asr
from asr.errors import UserError
from asr.model import shipped
from asr.model.model_file import Model, load_model, save_model
from asr.pipeline.run_folder import RunFolder
from asr.pipeline.stage_cache import digest
from asr.pipeline.starting_model import LEARNING_RATE, recipe_config
from asr.training import finetune


@pytest.fixture
def english(model_file, tmp_path, monkeypatch):
    """A small model in the place of the English one."""
    model = load_model(model_file)
    model.card = "# English\n\nIt is bad at children.\n"
    path = tmp_path / "english.asr"
    save_model(path, model, packed=True)
    monkeypatch.setattr(shipped, "ENGLISH", path)
    return path


def test_recordings_without_a_model_are_transcribed_by_the_english_one(run, english, recordings):
    talk = recordings / "r0.wav"
    status, out, err = run("transcribe", talk)
    assert status == 0 and err[0] == "model: English, which asr contains (asr info describes it)"
    assert out == run("transcribe", english, talk)[1] != "\n"
    assert out.strip() == asr.load(device="cpu").transcribe(talk).text


def test_quiet_leaves_the_note_out_and_several_recordings_stay_in_order(run, english, recordings):
    status, out, err = run("-q", "transcribe", recordings / "r1.wav", recordings / "r0.wav")
    assert status == 0 and err == []
    assert [line.split("\t")[0] for line in out.splitlines()] == ["r1", "r0"]


def test_a_model_that_is_named_is_used_without_a_note(run, english, model_file, recordings):
    _, _, err = run("transcribe", model_file, recordings / "r0.wav")
    assert not any("English" in line for line in err)


def test_nothing_to_transcribe_is_an_error(run, english):
    status, _, err = run("transcribe")
    assert status == 2 and "give recordings to transcribe" in err[-1]


def test_an_installation_without_the_model_says_so(run, tmp_path, monkeypatch, recordings):
    monkeypatch.setattr(shipped, "ENGLISH", tmp_path / "english.asr")
    status, _, err = run("transcribe", recordings / "r0.wav")
    assert status == 2 and "has no English model; give a model file" in err[-1]
    with pytest.raises(UserError, match="no English model"):
        asr.load()


def test_info_prints_sizes_and_the_card(run, english, model_file):
    status, out, _ = run("info")
    assert status == 0
    assert f"{english}" in out and "M parameters" in out and "language model: none" in out
    assert out.endswith("# English\n\nIt is bad at children.\n")
    assert str(model_file) in run("info", model_file)[1]


def test_one_word_trains_from_the_english_model(english, tmp_path):
    """`train.init_from: english` brings the features, tokens and design that its weights need."""
    old = load_model(english)
    c = recipe_config({"name": "mine", "train": {"init_from": "english"}}, "mine.yaml")
    assert (c.features, c.model, c.tokenizer) == (
        old.config.features,
        old.config.model,
        old.config.tokenizer,
    )
    assert c.train.learning_rate == LEARNING_RATE and c.name == "mine"
    tokens = finetune.inherited_tokenizer("english", ["ab"], c.tokenizer)
    assert tokens is not None and tokens.pieces == old.tokenizer.pieces
    model = Model.build(c, tokens)
    kept = finetune.initialize(model, "english")
    assert kept and all(
        torch.equal(value, old.acoustic.state_dict()[name])
        for name, value in model.acoustic.state_dict().items()
    )
    run = RunFolder(c, tmp_path, Console(quiet=True))
    assert run.init_from_digest() == {"init_from": digest(english)}


def test_a_recipe_changes_the_settings_of_the_english_model(english):
    values = {
        "name": "mine",
        "tokenizer": {"kind": "characters"},
        "train": {"init_from": "english", "learning_rate": 1e-4},
        "augment": {"tempo": [0.9, 1.1]},
    }
    c = recipe_config(values, "mine.yaml", ["model.dropout=0.3"])
    assert (c.tokenizer.kind, c.train.learning_rate) == ("characters", 1e-4)
    assert c.model.dropout == 0.3 and c.augment.tempo == (0.9, 1.1)
    assert c.features == load_model(english).config.features
    with pytest.raises(UserError, match=r"^mine.yaml: unknown key 'model.layer'"):
        recipe_config({**values, "model": {"layer": 3}}, "mine.yaml")
