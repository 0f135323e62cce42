"""The stages of a recipe: run, skipped or run again, with reasons; failures of prepare.py."""

import textwrap

import pytest
from rich.console import Console

from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import Failed, UserError
from asr.pipeline.run import Run, load_recipe

PREPARE = textwrap.dedent(
    """
    import argparse, pathlib, sys
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--word", default="one")
    parser.add_argument("--end-with", type=int, default=0)
    options = parser.parse_args()
    if options.end_with:
        sys.exit(options.end_with)
    options.out.mkdir(parents=True, exist_ok=True)
    for part in ("train", "dev", "test"):
        row = '{"audio": "a.wav", "text": "%s", "duration_s": 1}' % options.word
        (options.out / f"{part}.jsonl").write_text(row + chr(10))
    """
)


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text(f"name: r\ndata: {{folder: {tmp_path}/data}}\n")
    (tmp_path / "prepare.py").write_text(PREPARE)

    def run(*overrides):
        console = Console(record=True, width=200)
        return Run(load_recipe(tmp_path, overrides), tmp_path / "runs", console), console

    return run


def prepare(recipe, *overrides):
    run, console = recipe(*overrides)
    run.prepare()
    return console.export_text()


def test_prepare_runs_once_and_again_when_its_options_change(recipe, tmp_path):
    assert "skipped" not in prepare(recipe)
    assert "prepare: skipped: done, nothing has changed" in prepare(recipe)
    assert "runs again: options.word changed" in prepare(recipe, "data.prepare.word=two")
    assert manifest.read(tmp_path / "data/train.jsonl")[0].text == "two"
    (tmp_path / "data/dev.jsonl").unlink()
    assert "dev.jsonl is missing" in prepare(recipe, "data.prepare.word=two")
    (tmp_path / "prepare.py").write_text(PREPARE + "# changed\n")
    assert "runs again: script changed" in prepare(recipe, "data.prepare.word=two")


@pytest.mark.parametrize(("status", "error"), [(2, UserError), (1, Failed), (7, Failed)])
def test_a_failure_to_prepare_is_passed_on(recipe, status, error):
    with pytest.raises(error, match=r"prepare\.py"):
        prepare(recipe, f"data.prepare.end_with={status}")
    assert "skipped" not in prepare(recipe)  # and the next try is a real one


def test_without_prepare_the_manifests_must_exist(recipe, tmp_path):
    (tmp_path / "prepare.py").unlink()
    with pytest.raises(UserError, match=r"train\.jsonl: no such manifest"):
        prepare(recipe)
    for part in ("train", "dev", "test"):
        manifest.write(tmp_path / f"data/{part}.jsonl", [Utterance("a", "a.wav", text="one")])
    assert "skipped: the manifests exist" in prepare(recipe)


def test_the_tokenizer_is_learned_again_when_the_text_changes(recipe):
    prepare(recipe)
    run, console = recipe()
    assert set("one") <= set(run.tokenizer().pieces)
    assert "5 characters, including the blank" in console.export_text()
    run, console = recipe()
    run.tokenizer()
    assert "tokenizer: skipped" in console.export_text()
    prepare(recipe, "data.prepare.word=two")
    run, console = recipe("data.prepare.word=two")
    assert set("two") <= set(run.tokenizer().pieces)
    assert "tokenizer: runs again: train changed" in console.export_text()


def test_a_damaged_tokenizer_is_one_line(recipe):
    prepare(recipe)
    recipe()[0].tokenizer()
    run, _ = recipe()
    (run.folder / "tokenizer").write_bytes(b"{")
    with pytest.raises(UserError, match="tokenizer: damaged"):
        run.tokenizer()


@pytest.mark.parametrize("missing", ["nothing", "folder"])
def test_what_is_no_recipe(tmp_path, missing):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=missing):
        load_recipe(tmp_path / missing)


def test_a_resumed_run_may_change_logging_settings_only(recipe):
    def train(*overrides):
        run, _ = recipe(*overrides)
        run.prepare()
        run.train()

    with pytest.raises(UserError, match="no utterance can be used"):  # there is no a.wav
        train("train.wandb=speech")
    with pytest.raises(UserError, match="no utterance can be used"):
        train("train.log_every=1")
    with pytest.raises(UserError, match=r"other settings \(config\.train\.epochs\)"):
        train("train.epochs=9")
