"""Classification: the model, its losses, its settings, training and what a classifier returns."""

import io
import json

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tones import RATE_HZ, TONES_HZ, speak, weights

import asr as toolkit
from asr.config import ClassifyConfig, ModelConfig, load, parse, to_yaml
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.data.targets import labels_of
from asr.errors import UserError
from asr.model.classification import balanced_weights, class_loss, mixup, one_hot
from asr.model.classifier import POOLINGS, ClassificationModel
from asr.model.model_file import Model, load_model, save_model
from asr.pipeline.run import Run, load_recipe
from asr.recognition.classifier import Classifier
from asr.recognition.recognizer import load as load_recognizer
from asr.text.labels import Labels
from asr.training import loop
from asr.training.checkpoint import checkpoint_files

FEATURES = 12


def config(**values):
    base = {
        "name": "sounds",
        "task": "classify",
        "features": {"rate_hz": RATE_HZ, "n_mels": FEATURES, "cmvn": "level"},
        "model": {"channels": 2, "hidden": 4},
        "data": {"max_duration_s": 4},
    }
    return parse({**base, **values}, "test")


def classes(folder, **counts):
    """Manifests of recordings of one tone each, with the name of the tone in the column `tone`."""
    draw = np.random.default_rng(0)
    for split, count in counts.items():
        rows = []
        for number in range(count):
            word = list(TONES_HZ)[number % 3]
            path = folder / "audio" / f"{split}-{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, speak([word], draw), RATE_HZ)
            row = Utterance(path.stem, str(path), speaker=f"s{number % 7}", extra={"tone": word})
            rows.append(row)
        manifest.write(folder / f"{split}.jsonl", rows)


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """A recipe of three classes in a folder that the tests of this file share."""
    folder = tmp_path_factory.mktemp("classes")
    classes(folder, train=60, dev=15, test=15)
    (folder / "recipe.yaml").write_text(
        f"""
name: tones
task: classify
classify: {{label: tone, label_smoothing: 0.1, class_weights: balanced, mixup: 0.2}}
data: {{folder: {folder}, max_duration_s: 4}}
features: {{rate_hz: {RATE_HZ}, n_mels: 24, cmvn: level}}
augment: {{gain_db: 6, noise_p: 0.3, tempo: [0.8, 1.2], vtlp: 0.1}}
spec_augment: {{time_masks: 1, freq_masks: 1}}
model: {{channels: 4, hidden: 8}}
train: {{epochs: 5, batch_s: 8, learning_rate: 5.0e-3, workers: 0, threads: 1, device: cpu}}
"""
    )
    return folder


@pytest.fixture(scope="module")
def finished(tones):
    """The run that was never interrupted, with its output."""
    output = io.StringIO()
    run = start(tones, tones / "straight", output)
    run.train()
    run.score()
    return run.folder, output.getvalue()


def start(recipe, runs, output=None, *changes):
    """A run of the recipe whose messages go to `output`."""
    console = Console(file=output or io.StringIO(), width=200)
    run = Run(load_recipe(recipe, changes), runs, console)
    run.prepare()
    return run


# ---- settings


def test_a_classifier_has_its_own_defaults_and_the_resolved_settings_read_back(tmp_path):
    c = config()
    assert (c.model.preset, c.model.layers, c.tokenizer.kind) == ("cnn", 0, "labels")
    (tmp_path / "c.yaml").write_text(to_yaml(c))
    assert load(tmp_path / "c.yaml") == c


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "transcribe", "classify": {"mixup": 0.2}}, "classify.mixup 0.2 has no effect"),
        (
            {"task": "transcribe", "model": {"preset": "cnn"}},
            "model.preset cnn needs task=classify",
        ),
        ({"task": "transcribe", "model": {"layers": 0}}, "model.layers 0 needs task=classify"),
        ({"train": {"cr_ctc_weight": 0.2}}, "train.cr_ctc_weight has no effect with task=classify"),
        ({"tokenizer": {"kind": "bpe"}}, "tokenizer.kind of task=classify is labels"),
        ({"model": {"preset": "deepspeech2"}}, "model.preset deepspeech2 transcribes"),
        ({"model": {"bidirectional": False}, "features": {"cmvn": "none"}}, "model.bidirectional"),
    ],
)
def test_settings_that_do_not_fit_the_task_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        config(**values)


def test_the_labels_of_a_row():
    row = Utterance(
        "a", "a.wav", speaker="ann", extra={"label": 3, "tags": "rain; wind ;", "l": []}
    )
    assert labels_of(row, config(classify={"label": "speaker"})) == ["ann"]
    assert labels_of(row, config()) == ["3"]
    assert labels_of(row, config(classify={"label": "nothing"})) == []
    several = config(classify={"label": "tags", "multi_label": True})
    assert labels_of(row, several) == ["rain", "wind"]
    assert labels_of(row, config(classify={"label": "l", "multi_label": True})) == []


# ---- the model


def build(classes=3, **classify):
    c = config(classify=classify)
    torch.manual_seed(1)
    model = ClassificationModel(c.model, c.classify, FEATURES, classes)
    for module in model.modules():  # statistics that are not those of an untrained model
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=4),
    padding=st.integers(0, 40),
    pooling=st.sampled_from(sorted(POOLINGS)),
)
def test_batch_invariance(lengths, padding, pooling):
    """Contract 1: the same alone, in any batch and under any padding with zeros."""
    model = build(pooling=pooling)
    draw = torch.Generator().manual_seed(len(lengths))
    rows = [torch.randn(n, FEATURES, generator=draw) for n in lengths]
    padded = torch.zeros(len(rows), max(lengths) + padding, FEATURES)
    for row, place in zip(rows, padded, strict=True):
        place[: len(row)] = row
    with torch.no_grad():
        together, _ = model(padded, torch.tensor(lengths))
        for row, found in zip(rows, together, strict=True):
            alone, _ = model(row[None], torch.tensor([len(row)]))
            assert torch.allclose(alone[0], found, atol=1e-5)


@pytest.mark.parametrize("pooling", sorted(POOLINGS))
def test_pooling_equals_the_formula_on_the_frames_of_each_utterance(pooling):
    torch.manual_seed(0)
    pool, x = POOLINGS[pooling](6), torch.randn(3, 9, 6)
    lengths = torch.tensor([9, 1, 4])
    found, shares = pool(x, lengths), pool.weights(x, lengths)
    assert torch.allclose(shares.sum(1), torch.ones(3))
    for i, n in enumerate(lengths.tolist()):
        frames, share = x[i, :n], shares[i, :n, None]
        mean = (share * frames).sum(0)
        wanted = mean
        if pooling == "attention":
            scores = pool.score(torch.tanh(pool.hidden(frames))).softmax(0)
            assert torch.allclose(scores, share, atol=1e-6)
            variance = (share * frames**2).sum(0) - mean**2
            wanted = torch.cat([mean, variance.clamp(min=1e-5).sqrt()])
        assert torch.allclose(found[i], wanted, atol=1e-3)
        assert not shares[i, n:].any()


def test_gradients_do_not_depend_on_padding():
    """In training, the statistics of batch normalization are those of real frames alone."""
    found = []
    for padding in (0, 23):
        model = build().train()
        model.dropout.p = 0.0
        draw = torch.Generator().manual_seed(3)
        x = torch.nn.functional.pad(
            torch.randn(2, 30, FEATURES, generator=draw), (0, 0, 0, padding)
        )
        model.logits(x, torch.tensor([30, 30])).square().sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(*found, rtol=1e-3, atol=1e-4)


def test_recurrent_layers_may_follow_and_the_front_end_of_a_transcriber_may_be_used():
    for preset, layers in (("cnn", 1), ("tiny", 2)):
        c = ModelConfig(preset=preset, layers=layers, hidden=4, channels=2)
        model = ClassificationModel(c, ClassifyConfig(), FEATURES, 3).eval()
        assert len(model.layers) == layers
        x = torch.randn(2, 40, FEATURES)
        x[1, 13:] = 0
        together, ones = model(x, torch.tensor([40, 13]))
        alone, _ = model(x[1:, :13], torch.tensor([13]))
        assert ones.tolist() == [1, 1] and torch.allclose(together[1], alone[0], atol=1e-5)


# ---- losses


def test_the_loss_is_the_cross_entropy_and_weights_balance_the_classes():
    logits, ids = torch.randn(4, 3), torch.tensor([[0], [2], [2], [1]])
    wanted = one_hot(ids, torch.ones(4, dtype=torch.long), 3)
    plain = torch.nn.functional.cross_entropy(logits, ids[:, 0], reduction="sum")
    assert torch.allclose(class_loss(logits, wanted), plain)
    smooth = torch.nn.functional.cross_entropy(
        logits, ids[:, 0], reduction="sum", label_smoothing=0.1
    )
    assert torch.allclose(class_loss(logits, wanted, smoothing=0.1), smooth)
    found = balanced_weights(list(ids), 3)
    assert found.tolist() == pytest.approx([4 / 3, 4 / 3, 2 / 3])
    assert float((wanted @ found).mean()) == pytest.approx(1)
    several = one_hot(torch.tensor([[0, 2], [1, 0]]), torch.tensor([2, 1]), 3)
    assert several.tolist() == [[1, 0, 1], [0, 1, 0]]
    both = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[:2], several, reduction="sum"
    )
    assert torch.allclose(class_loss(logits[:2], several, multi_label=True), both)


def test_mixup_mixes_features_and_targets_with_the_same_shares():
    torch.manual_seed(0)
    x = torch.arange(4.0)[:, None, None].expand(4, 5, 2)
    wanted = torch.eye(4)
    mixed, frames, shares = mixup(x, torch.tensor([5, 3, 4, 2]), wanted, 0.4)
    assert torch.allclose(shares.sum(1), torch.ones(4)) and (shares.diagonal() >= 0.5).all()
    assert torch.allclose(mixed[:, 0, 0], shares @ torch.arange(4.0))
    assert (frames >= torch.tensor([5, 3, 4, 2])).all()
    assert (shares.diagonal() < 1).any()


# ---- training


def test_it_learns_and_the_recipe_scores_it(finished):
    run, output = finished
    score = json.loads((run / "score/test/score.json").read_text())
    assert score["accuracy"] >= 0.9, output
    assert set(score["classes"]) == set(TONES_HZ)
    assert "dev error" in output and "accuracy" in output
    page = (run / "score/test/report.html").read_text()
    assert "Confusions" in page and "Calibration" in page
    assert load_model(run / "model.asr").card.startswith("# tones\n\nA classifier by tone")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("dev/macro_f1" in row for row in rows)


def test_a_killed_and_resumed_run_equals_a_straight_run_bit_for_bit(
    tones, finished, tmp_path, monkeypatch
):
    """It ends without warning in the middle of an epoch; a checkpoint follows each step."""
    each_step, step = "train.checkpoint_minutes=0.00001", loop.train_step

    def killed(run, stop):
        if run.state.step == 7:
            raise RuntimeError("killed")
        return step(run, stop)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", killed)
        with pytest.raises(RuntimeError, match="killed"):
            start(tones, tmp_path, None, each_step).train()
    assert checkpoint_files(tmp_path / "tones/checkpoints")[0].stem == "step-00000007"
    start(tones, tmp_path, None, each_step).train()
    assert torch.equal(weights(tmp_path / "tones"), weights(finished[0]))


def test_a_row_without_a_label_is_named_before_training(tones, tmp_path):
    rows = manifest.read(tones / "train.jsonl")[:9]
    for name in ("dev", "test"):
        manifest.write(tmp_path / f"{name}.jsonl", rows)
    manifest.write(tmp_path / "train.jsonl", [*rows, Utterance("bare", rows[0].audio)])
    changes, output = (f"data.folder={tmp_path}", "train.epochs=1"), io.StringIO()
    start(tones, tmp_path, output, *changes).train()
    assert "1 problems: 1 label" in output.getvalue()
    assert "bare: no label in the column 'tone'" in output.getvalue()
    with pytest.raises(UserError, match="no label in this column"):
        start(tones, tmp_path / "b", None, *changes, "classify.label=genre").train()


def test_several_labels_for_an_utterance(tones):
    rows = []
    for u in manifest.read(tones / "train.jsonl"):
        tags = [] if u.extra["tone"] == "low" else ["tone", u.extra["tone"]]
        rows.append({"id": u.id, "audio": u.audio, "tags": tags})
    c = load(tones / "recipe.yaml", ["classify.multi_label=true", "classify.label=tags",
        "classify.class_weights=none", "train.epochs=8"])  # fmt: skip
    classifier = toolkit.train(c, rows, rows[:15])
    assert isinstance(classifier, Classifier)
    assert classifier.labels == ["high", "mid", "tone"]
    found = classifier.classify([row["audio"] for row in rows[:15]])
    wrong = sum(set(one.labels) != set(row["tags"]) for one, row in zip(found, rows, strict=False))
    assert wrong <= 1, found


# ---- recognition


@pytest.fixture(scope="module")
def classifier(finished):
    return toolkit.load(finished[0] / "model.asr", "cpu")


def test_classify_a_path_an_array_and_a_list(classifier, tones):
    paths = [u.audio for u in manifest.read(tones / "test.jsonl")]
    found = classifier.classify(paths)
    assert found[0].label == "low" and found[0].confidence == max(found[0].probabilities.values())
    assert sum(found[0].probabilities.values()) == pytest.approx(1)
    samples, rate_hz = soundfile.read(paths[0])
    assert classifier.classify(samples, rate_hz).label == found[0].label
    assert found[0].end_s == pytest.approx(len(samples) / rate_hz)
    assert json.loads(json.dumps(found[0].to_dict(top=2)))["probabilities"].keys() <= set(TONES_HZ)
    vector = classifier.embedding(paths[0])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_threshold_rejects_what_is_uncertain_and_is_saved(classifier, tones, tmp_path):
    path = manifest.read(tones / "test.jsonl")[0].audio
    strict = classifier.with_reject(1.0)
    assert strict.classify(path).label is None and strict.classify(path).best == "low"
    strict.save(tmp_path / "strict.asr")
    assert toolkit.load(tmp_path / "strict.asr").classify(path).labels == ()
    with pytest.raises(UserError, match=r"classify\.reject"):
        classifier.with_reject(1.5)


def test_models_of_the_other_task_are_refused_in_one_line(classifier, finished, model_file):
    with pytest.raises(UserError, match="classifies recordings and writes no text"):
        load_recognizer(finished[0] / "model.asr")
    with pytest.raises(UserError, match="has no hotwords"):
        toolkit.load(finished[0] / "model.asr", hotwords=["low"])
    with pytest.raises(UserError, match="transcribes and has no classes"):
        Classifier.load(model_file)


def test_a_model_file_keeps_the_labels(tmp_path):
    model = Model.build(config(), Labels(["ä b", "c"]))
    save_model(tmp_path / "m.asr", model)
    assert load_model(tmp_path / "m.asr").tokenizer.pieces == ["ä b", "c"]
