"""Fine-tuning: kept layers, frozen layers, layer-wise learning rates, and messages."""

import json
import logging
import shutil

import pytest
import safetensors
import torch
from conftest import noise
from rich.console import Console
from tones import make_corpus

from asr.config import TokenizerConfig, parse
from asr.data import manifest
from asr.data.check import check
from asr.errors import UserError
from asr.model.ctc import ctc_frames
from asr.model.model_file import Model, load_model, save_model
from asr.pipeline.run import Run, load_recipe
from asr.recognition.recognizer import Recognizer
from asr.text.tokenizer import CharacterTokenizer, SentencePieceTokenizer
from asr.training import finetune
from asr.training.checkpoint import checkpoint_file, load_checkpoint
from asr.training.loop import train

OLD, NEW = "abcdefghij", "zcaxäj"  # shared: c, a, j


def build(characters=NEW, seed=1, **changes):
    values = {
        "name": "t",
        "features": {"n_mels": 20},
        "model": {"preset": "tiny", "layers": 1, "hidden": 16, "channels": 4},
    }
    for section, options in changes.items():
        values[section] = values.get(section, {}) | options
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Model.build(parse(values, "t"), CharacterTokenizer(characters))


def saved(tmp_path, model):
    save_model(tmp_path / "old.asr", model)
    return tmp_path / "old.asr"


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "asr")
    return lambda: caplog.records[-1].getMessage()


def head_logits(model, waveform):
    found = []
    hook = model.acoustic.head.register_forward_hook(lambda *given: found.append(given[2]))
    Recognizer(model, "cpu").emissions([waveform])
    hook.remove()
    return found[0]  # (1, T, V)


def test_new_characters_replace_the_head_and_keep_the_rows_of_the_others(model_file, said):
    old, model = load_model(model_file), build()
    before = {k: v.clone() for k, v in model.acoustic.state_dict().items()}
    kept = finetune.initialize(model, model_file)
    assert "head" not in kept and {"front_end.project", "layers.0", "norm"} <= set(kept)

    shared = ["<blank>", "▁", "c", "a", "j"]
    mine = [model.tokenizer.pieces.index(piece) for piece in shared]
    yours = [old.tokenizer.pieces.index(piece) for piece in shared]
    sound = noise(1.0, 3)
    ours, theirs = head_logits(model, sound), head_logits(old, sound)
    torch.testing.assert_close(ours[..., mine], theirs[..., yours], atol=1e-5, rtol=0)
    assert torch.equal(model.acoustic.head.weight[mine], old.acoustic.head.weight[yours])
    assert torch.equal(model.acoustic.head.bias[mine], old.acoustic.head.bias[yours])
    fresh = [model.tokenizer.pieces.index(piece) for piece in "zxä"]
    assert torch.equal(model.acoustic.head.weight[fresh], before["head.weight"][fresh])

    line = said()
    assert line.startswith(f"starts from {model_file}: kept front_end.convolutions.0, ")
    assert "partly replaced head: 5 of 8 tokens kept, new z x ä" in line


def test_the_same_tokens_keep_everything(model_file, said):
    old, model = load_model(model_file), build(OLD)
    finetune.initialize(model, model_file)
    for name, value in model.acoustic.state_dict().items():
        assert torch.equal(value, old.acoustic.state_dict()[name]), name
    assert "norm, head" in said() and "; new" not in said() and "replaced" not in said()


def test_conditioning_weights_keep_shared_token_columns(tmp_path):
    inner = {"layers": 2, "inter_ctc": [1], "self_conditioned": True}
    old, model = build(OLD, model=inner), build(seed=2, model=inner)
    finetune.initialize(model, saved(tmp_path, old))
    for mine, yours in ((0, 0), (3, 4), (4, 2)):  # blank, c, a
        ours, theirs = (m.acoustic.condition.weight for m in (model, old))
        assert torch.equal(ours[:, mine], theirs[:, yours])
    assert torch.equal(model.acoustic.condition.bias, old.acoustic.condition.bias)
    assert not torch.isin(
        model.acoustic.condition.weight[:, 2], old.acoustic.condition.weight
    ).any()


@pytest.mark.parametrize(
    ("changes", "kept", "said_of_the_rest"),
    [
        ({"layers": 3}, "layers.0", ["new layers.1, layers.2"]),
        (
            {"hidden": 24},
            "front_end.convolutions.1",
            [
                "new front_end.project, layers.0, norm, head",
                "unused front_end.project, layers.0, norm, head",
            ],
        ),
        ({"rnn": "gru"}, "front_end.project", ["new layers.0", "unused layers.0"]),
        ({"subsampling": 8}, "layers.0", ["new front_end.convolutions.2"]),
        ({"layers": 2, "inter_ctc": [1], "self_conditioned": True}, "layers.0", ["condition"]),
    ],
)
def test_layers_that_fit_are_kept_and_the_rest_is_named(
    model_file, said, changes, kept, said_of_the_rest
):
    old, model = load_model(model_file), build(model=changes)
    before = {k: v.clone() for k, v in model.acoustic.state_dict().items()}
    found = finetune.initialize(model, model_file)
    assert kept in found
    assert all(part in said() for part in said_of_the_rest)
    for name, value in model.acoustic.state_dict().items():
        if any(name.startswith(f"{layer}.") for layer in found):
            assert torch.equal(value, old.acoustic.state_dict()[name])
        elif not name.startswith("head."):
            assert torch.equal(value, before[name])


def test_a_causal_model_gives_its_front_end_to_one_that_looks_ahead(tmp_path, said):
    causal = {"hidden": 32, "bidirectional": False}  # as wide as 16 each way
    old = build(OLD, model=causal, features={"cmvn": "global"})
    kept = finetune.initialize(build(OLD), saved(tmp_path, old))
    convolutions = [f"front_end.convolutions.{i}" for i in range(2)]
    assert kept == [*convolutions, "front_end.project", "norm", "head"]
    assert "new layers.0; unused layers.0" in said()


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"rate_hz": 8000}, "features.rate_hz is 16000, here it is 8000"),
        ({"n_mels": 40}, "features.n_mels is 20, here it is 40"),
        ({"kind": "mfcc", "n_mfcc": 20}, "features.kind is log_mel, here it is mfcc"),
        ({"hop_ms": 12.5}, "features.hop_ms is 10.0, here it is 12.5"),
        ({"cmvn": "none"}, "features.cmvn is any but none, here it is none"),
    ],
)
def test_other_features_are_refused_with_both_values(model_file, features, said):
    with pytest.raises(UserError, match=said):
        finetune.initialize(build(features={"n_mels": 20} | features), model_file)


def test_settings_that_change_no_feature_may_differ(model_file, said):
    same = {"n_mels": 20, "dither": 0.0, "cmvn": "global", "floor_db": 80, "high_hz": 8000}
    model = build(features=same)
    finetune.initialize(model, model_file)
    assert said().endswith("global CMVN is measured on the new data")
    assert torch.equal(model.features.std, torch.ones(20))


def test_the_tokenizer_stays_while_it_can_write_the_texts(model_file, tmp_path, said):
    characters = TokenizerConfig()
    kept = finetune.inherited_tokenizer(model_file, ["bad cab", "face"], characters)
    assert kept.pieces == load_model(model_file).tokenizer.pieces
    assert finetune.inherited_tokenizer(model_file, ["bäd cüb"], characters) is None
    assert said() == f"a new tokenizer is learned: that of {model_file} cannot write ä ü"
    bpe = TokenizerConfig(kind="bpe", vocab_size=14)
    assert finetune.inherited_tokenizer(model_file, ["bad"], bpe) is None
    assert "is of kind characters" in said()

    pieces = SentencePieceTokenizer.train(["low mid high"] * 9, "bpe", 14)
    config = build(tokenizer={"kind": "bpe", "vocab_size": 14}).config
    path = saved(tmp_path, Model.build(config, pieces))
    assert finetune.inherited_tokenizer(path, ["high"], bpe).pieces == pieces.pieces
    larger = TokenizerConfig(kind="bpe", vocab_size=15)
    assert finetune.inherited_tokenizer(path, ["high"], larger) is None
    assert "has tokenizer.vocab_size 14" in said()


def test_layers_learn_slower_the_further_they_are_from_the_head():
    model = build(model={"layers": 3, "inter_ctc": [1], "self_conditioned": True}).acoustic
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {}
    for group in finetune.parameter_groups(model, 0.01, layer_decay=0.5):
        for parameter in group["params"]:
            assert names[parameter] not in found
            found[names[parameter]] = group["scale"]
            assert group["weight_decay"] == (0.01 if parameter.ndim > 1 else 0.0)
    expected = {"head": 1, "condition": 1, "norm": 1, "layers.2": 0.5, "layers.1": 0.25}
    expected |= {"layers.0": 0.125, "front_end": 0.0625}
    assert found.keys() == set(names.values())
    for name, scale in found.items():
        assert scale == next(v for k, v in expected.items() if name.startswith(f"{k}."))
    assert len(finetune.parameter_groups(model, 0.01)) == 2


# ---- whole runs --------------------------------------------------------------------------------

FREEZE_STEPS = 7


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetune")
    make_corpus(folder, train=30, dev=4, test=4)
    old = build("dghilmow", features={"n_mels": 24, "rate_hz": 8000}, model={"layers": 2})
    save_model(folder / "old.asr", old)
    (folder / "recipe.yaml").write_text(
        f"""
name: tuned
data: {{folder: {folder}, max_duration_s: 4}}
features: {{rate_hz: 8000, n_mels: 24}}
model: {{preset: tiny, layers: 2, hidden: 16, channels: 4}}
train:
  {{init_from: {folder}/old.asr, freeze_steps: {FREEZE_STEPS}, layer_decay: 0.5, epochs: 2,
    batch_s: 4, workers: 0, threads: 1, device: cpu, checkpoint_minutes: 1.0e-6,
    keep_checkpoints: 1000}}
"""
    )
    return folder


def run(corpus, *overrides, runs="runs"):
    console = Console(record=True, width=300)
    return Run(load_recipe(corpus / "recipe.yaml", overrides), corpus / runs, console), console


@pytest.fixture(scope="module")
def finished(corpus):
    this, _ = run(corpus)
    this.train()
    return this


def weights(path):
    model = build("dghilmow", features={"n_mels": 24, "rate_hz": 8000}, model={"layers": 2})
    state = load_checkpoint(path, model.modules)
    return {k: v.clone() for k, v in model.acoustic.state_dict().items()}, state


def test_frozen_layers_change_only_after_freeze_steps(finished, corpus):
    folder = finished.folder / "checkpoints"
    old = load_model(corpus / "old.asr").acoustic.state_dict()
    steps = [weights(checkpoint_file(folder, step))[0] for step in range(1, FREEZE_STEPS + 3)]
    for number, now in enumerate(steps, 1):
        for name, value in now.items():
            frozen = number <= FREEZE_STEPS and not name.startswith("head.")
            assert torch.equal(value, old[name]) == frozen, (number, name)


def test_the_rate_of_each_group_is_scaled(finished):
    path = checkpoint_file(finished.folder / "checkpoints", 5)
    with safetensors.safe_open(str(path), "pt") as file:
        groups = json.loads(file.metadata()["asr"])["param_groups"]
    rates = {group["lr"] / group["scale"] for group in groups}
    assert len(rates) == 1 and {group["scale"] for group in groups} == {1, 0.5, 0.25, 0.125}


def test_resumed_while_frozen_equals_never_stopped_without_the_old_model(finished, corpus):
    """The checkpoint has all that is needed: the initial model file may be missing or damaged."""
    copy = corpus / "resumed/tuned"
    (copy / "checkpoints").mkdir(parents=True)
    for name in ("stages.json", "tokenizer"):
        shutil.copy(finished.folder / name, copy / name)
    ledger = (copy / "stages.json").read_text()
    shutil.copy(checkpoint_file(finished.folder / "checkpoints", 3), copy / "checkpoints")
    (corpus / "old.asr").rename(corpus / "gone.asr")
    try:
        this, _ = run(corpus, runs="resumed")
        this.train()
        assert (copy / "stages.json").read_text() == ledger
        again, console = run(corpus)  # and what is done stays done
        again.train()
        assert "skipped: done" in console.export_text()
        for fresh in (False, True):
            with pytest.raises(UserError, match=r"old\.asr: no such file"):
                run(corpus, runs="resumed" if fresh else "others")[0].train(fresh)
        assert this.model_file.exists()
    finally:
        (corpus / "gone.asr").rename(corpus / "old.asr")
    ours, theirs = (load_model(r.model_file).acoustic.state_dict() for r in (this, finished))
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_another_initial_model_is_another_run(finished, corpus):
    path = corpus / "old.asr"
    whole = path.read_bytes()
    try:
        save_model(path, build("dghilmow", seed=9, features={"n_mels": 24}))
        with pytest.raises(UserError, match=r"other settings \(init_from\)"):
            run(corpus)[0].train()
    finally:
        path.write_bytes(whole)
    with pytest.raises(UserError, match="is the model file that this run writes"):
        run(corpus, f"train.init_from={finished.model_file}")[0].train(fresh=True)
    assert finished.model_file.exists()


def test_a_run_reports_the_kept_layers(corpus, caplog):
    caplog.set_level(logging.INFO, "asr")
    rows = manifest.read(corpus / "train.jsonl")
    config = load_recipe(corpus / "recipe.yaml", ["features.cmvn=global", "train.epochs=1"]).config
    model = Model.build(config, CharacterTokenizer("dghilmowé"))
    usable = check(rows, config, ctc_frames(config), model.tokenizer, training=True).usable
    state = train(model, usable, usable[:2], corpus / "global", Console(quiet=True))
    assert "layers.1" in state.inherited and "head" not in state.inherited
    (line,) = [r.getMessage() for r in caplog.records if "starts from" in r.getMessage()]
    assert "new é" in line and "global CMVN is measured on the new data" in line
    assert not torch.equal(model.features.std, torch.ones(24))


@pytest.mark.parametrize("option", ["freeze_steps=5", "layer_decay=0.9"])
def test_options_of_fine_tuning_alone_are_refused(option):
    with pytest.raises(UserError, match=r"has no effect with init_from=null; .* give init_from"):
        parse({"name": "t"}, "t", [f"train.{option}"])
