"""Every mistake in a configuration is one line: where, which key, what was probably meant."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from asr import config
from asr.config import PRESETS, Config
from asr.errors import UserError


def written(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_is_all_that_is_needed(tmp_path):
    assert config.load(written(tmp_path, "name: mine\n")) == Config(name="mine")


@pytest.mark.parametrize(
    ("text", "needles"),
    [
        ("name: a\ntrian: {}\n", ["unknown key 'trian'", "did you mean 'train'?"]),
        ("name: a\ntrain: {epoch: 3}\n", ["'train.epoch'", "did you mean 'train.epochs'?"]),
        ("name: a\nepochs: 3\n", ["'epochs'", "did you mean 'train.epochs'?"]),
        ("name: a\nmodel: {lr: 3}\n", ["unknown key 'model.lr'"]),
        ("name: a\nxyzzyplugh: 3\n", ["unknown key 'xyzzyplugh'"]),
        ("seed: 1\n", ["key 'name' is missing"]),
        ("", ["key 'name' is missing"]),
        ("name: my run\n", ["name", "'my run'"]),
        ("name: ../up\n", ["name", "'../up'"]),
        ("name: a\ntrain: {epochs: many}\n", ["train.epochs", "integer", "'many'"]),
        ("name: a\ntrain: {epochs: 0}\n", ["train.epochs", "0"]),
        ("name: a\ntrain: {learning_rate: .nan}\n", ["train.learning_rate", "nan"]),
        ("name: a\nmodel: {preset: huge}\n", ["model.preset", "'tiny'", "'huge'"]),
        ("name: a\nmodel: {subsampling: 3}\n", ["model.subsampling", "2, 4 or 8", "3"]),
        ("name: a\nmodel: 3\n", ["model", "3"]),
        ("name: a\nfeatures: {hop_ms: 30}\n", ["hop_ms 30", "25"]),
        ("name: a\nfeatures: {high_hz: 9000}\n", ["high_hz", "8000 Hz"]),
        ("name: a\nfeatures: {kind: mfcc, n_mels: 20}\n", ["n_mfcc 40", "n_mels 20"]),
        ("name: a\naugment: {speed: [0.1]}\n", ["speed", "0.5 to 2"]),
        ("name: a\ntrain: {batch_s: 5}\n", ["batch_s 5", "max_duration_s 30"]),
        ("- name\n", ["key: value", "list"]),
        ("just words\n", ["key: value", "str"]),
        ("name: [a\n", ["not valid YAML", "line"]),
        ("name: a\nseed: 1\nseed: 2\n", ["not valid YAML", "'seed' stands twice", "line 3"]),
        ("name: a\n1: 2\n", ["1"]),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path, text, needles):
    path = written(tmp_path, text)
    line = complaint(config.load, path)
    assert line.startswith(f"{path}: ")
    for needle in needles:
        assert needle in line


@pytest.mark.parametrize(
    ("override", "needles"),
    [
        ("epochs", ["section.key=value"]),
        ("=3", ["section.key=value"]),
        ("train.epohcs=3", ["unknown key 'train.epohcs'", "did you mean 'train.epochs'?"]),
        ("train.epochs=many", ["train.epochs", "'many'"]),
        ("train.epochs=[", ["not valid YAML"]),
        ("model=tiny", ["model", "'tiny'"]),
        ("augment.noise_snr_db=[a, 3]", ["noise_snr_db", "'a'"]),
        ("name.first=a", ["name"]),
    ],
)
def test_a_mistake_in_an_override_names_the_override(tmp_path, override, needles):
    line = complaint(config.load, written(tmp_path, "name: a\n"), [override])
    assert line.startswith(f"override {override!r}: ")
    for needle in needles:
        assert needle in line


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert "no such" in complaint(config.load, tmp_path / "none.yaml")
    assert str(tmp_path) in complaint(config.load, tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: café\n".encode("latin-1"))
    assert str(latin) in complaint(config.load, latin)


def test_later_overrides_win_and_take_yaml_types(tmp_path):
    path = written(tmp_path, "name: a\ntrain: {epochs: 3}\n")
    overrides = ["train.epochs=5", "train.epochs=7", "augment.speed=[0.9, 1.1]", "name=b"]
    overrides += ["model.bidirectional=false", "train.learning_rate=1e-4", "data.folder=null"]
    loaded = config.load(path, overrides)
    assert (loaded.name, loaded.train.epochs, loaded.augment.speed) == ("b", 7, [0.9, 1.1])
    assert loaded.model.bidirectional is False
    assert loaded.train.learning_rate == 1e-4
    assert loaded.data.folder is None


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fills_what_is_not_given(preset):
    model = config.parse({"name": "a", "model": {"preset": preset, "hidden": 99}}, "test").model
    assert model.hidden == 99
    assert model.layers == PRESETS[preset]["layers"]
    assert model.dropout == PRESETS[preset]["dropout"]


def test_what_is_parsed_is_not_changed():
    values = {"name": "a", "train": {"epochs": 3}}
    config.parse(values, "test", ["train.epochs=5", "seed=2"])
    assert values == {"name": "a", "train": {"epochs": 3}}


# PyYAML loses U+0085 and the Unicode line separators, which no name of a folder has.
text = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))


@given(
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]*", fullmatch=True),
    preset=st.sampled_from(sorted(PRESETS)),
    layers=st.none() | st.integers(1, 9),
    rate=st.floats(1e-12, 1e6),
    folder=st.none() | text,
    options=st.dictionaries(text, text | st.integers() | st.booleans() | st.floats(0, 1)),
    speed=st.lists(st.floats(0.5, 2.0)),
)
def test_the_resolved_yaml_is_the_same_configuration(
    name, preset, layers, rate, folder, options, speed
):
    values = {
        "name": name,
        "data": {"folder": folder, "prepare": options},
        "augment": {"speed": speed},
        "model": {"preset": preset, "layers": layers},
        "train": {"learning_rate": rate},
    }
    made = config.parse(values, "test")
    assert config.parse(yaml.safe_load(config.to_yaml(made)), "again") == made


def test_another_preset_replaces_what_the_old_one_filled_in():
    resolved = yaml.safe_load(config.to_yaml(config.parse({"name": "a"}, "test")))
    changed = config.parse(resolved, "test", ["model.layers=5", "model.preset=tiny"]).model
    assert (changed.preset, changed.layers, changed.hidden) == ("tiny", 5, 128)
