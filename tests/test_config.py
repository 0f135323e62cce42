"""Every error in a configuration is one line with the source, the key and a suggestion."""

import math
import re
from pathlib import Path
from typing import Annotated, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from asr import config
from asr.config import PRESETS, Config, FeatureConfig
from asr.errors import UserError

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
DEEPSPEECH2 = RECIPES / "speechocean/deepspeech2.yaml"


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
        ("name: a\nseed: 1\nseed: 2\n", ["not valid YAML", "'seed' occurs twice", "line 3"]),
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
    overrides += [
        "model.bidirectional=false",
        "features.cmvn=none",
        "train.learning_rate=1e-4",
        "data.folder=null",
    ]
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


def test_parsing_does_not_change_its_input():
    values = {"name": "a", "train": {"epochs": 3}}
    config.parse(values, "test", ["train.epochs=5", "seed=2"])
    assert values == {"name": "a", "train": {"epochs": 3}}


MFCC = {"features.kind": "mfcc"}
IDLE = [
    ("features", {"kind": "spectrogram"}, {"n_mels": 40}, "kind=log_mel"),
    ("features", {"kind": "spectrogram"}, {"low_hz": 100}, "kind=log_mel"),
    ("features", {"kind": "spectrogram"}, {"high_hz": 4000}, "kind=log_mel"),
    ("features", {"kind": "log_mel"}, {"n_mfcc": 13}, "kind=mfcc"),
    ("tokenizer", {"kind": "characters"}, {"vocab_size": 60}, "kind=bpe or kind=unigram"),
    ("text", {}, {"numbers": "spell"}, "language"),
    ("commands", {}, {"sentences": 20}, "grammar"),
    ("commands", {}, {"voices": 20}, "grammar"),
    ("commands", {}, {"engines": ["espeak"]}, "grammar"),
    ("commands", {}, {"test_engines": ["flite"]}, "grammar"),
    ("commands", {}, {"outside": ["other.txt"]}, "grammar"),
    ("commands", {}, {"false_accepts": 0.1}, "grammar"),
    ("text", {}, {"abbreviations": "expand"}, "language"),
    ("text", {"punctuation": "keep"}, {"apostrophes": "join"}, "punctuation=remove"),
    ("text", {"punctuation": "keep"}, {"hyphens": "join"}, "punctuation=remove"),
    ("train", {"optimizer": "adamw"}, {"momentum": 0.5}, "optimizer=sgd"),
    ("train", {"schedule": "cosine"}, {"patience": 5}, "schedule=plateau"),
    ("train", {"schedule": "noam"}, {"anneal": 1.5}, "schedule=exponential"),
    ("train", {}, {"inter_ctc_weight": 0.5}, "model.inter_ctc"),
    ("train", {}, {"freeze_steps": 5}, "init_from"),
    ("train", {}, {"layer_decay": 0.5}, "init_from"),
    ("model", {"bidirectional": True}, {"lookahead_ms": 80}, "no bidirectional"),
    ("model", {"inter_ctc": []}, {"self_conditioned": True}, "inter_ctc"),
    ("model", {"bidirectional": False}, {"edge": 4}, "bidirectional=true"),
    ("augment", {"noise_p": 0}, {"noise_snr_db": [0, 10]}, "noise_p above 0"),
    ("augment", {"noise_p": 0}, {"noise_folder": "noise"}, "noise_p above 0"),
    ("augment", {"reverb_p": 0}, {"reverb_s": [0.2, 0.3]}, "reverb_p above 0"),
    ("augment", {"reverb_p": 0}, {"reverb_folder": "rooms"}, "reverb_p above 0"),
    ("augment", {"reverb_p": 1, "reverb_folder": "rooms"}, {"reverb_s": [0.2, 0.3]}, "no reverb_f"),
    ("augment", {"pad_silence_s": 0}, {"pad_silence_p": 0.5}, "pad_silence_s above 0"),
    ("augment", {"noise_floor_p": 0}, {"noise_floor_db": [5, 9]}, "noise_floor_p above 0"),
    ("augment", MFCC, {"vtlp": 0.1}, "features.kind=log_mel"),
    ("augment", MFCC, {"tilt_db": 3}, "features.kind=log_mel"),
    ("augment", MFCC, {"equalizer_db": 3}, "features.kind=log_mel"),
    ("augment", MFCC, {"noise_floor_p": 0.5}, "features.kind=log_mel"),
    ("spec_augment", {"freq_masks": 0}, {"freq_share": 0.1}, "freq_masks above 0"),
    ("spec_augment", {"time_masks": 0}, {"time_share": 0.1}, "time_masks above 0"),
    ("data", {"train": "train.jsonl"}, {"shuffle_shards": 4}, "shards as train"),
    ("decoder", {"beam": 1}, {"lm_weight": 0.8}, "beam above 1"),
    ("decoder", {"beam": 1}, {"word_bonus": 1.0}, "beam above 1"),
    ("decoder", {"beam": 1}, {"unknown_score": -9.0}, "beam above 1"),
    ("decoder", {"beam": 1}, {"n_best": 5}, "beam above 1"),
    ("decoder", {"beam": 1}, {"prior_weight": 0.3}, "beam above 1"),
    ("decoder", {"beam": 1}, {"log_prior": [-0.1, -2.0]}, "beam above 1"),
    ("decoder", {"beam": 1}, {"lexicon": ["a"]}, "beam above 1"),
    ("decoder", {"beam": 1}, {"token_min_logp": -3.0}, "beam above 1"),
    ("decoder", {"beam": 1}, {"tokens_per_frame": 4}, "beam above 1"),
    ("decoder", {"beam": 1}, {"beam_margin": 4.0}, "beam above 1"),
    ("lm", {"texts": []}, {"order": 2}, "texts"),
    *(
        ("classify", {}, idle, "task=classify")
        for idle in (
            *({"label": "speaker"}, {"multi_label": True}, {"pooling": "mean"}),
            *({"class_weights": "balanced"}, {"label_smoothing": 0.1}, {"mixup": 0.2}),
            {"reject": 0.5},
        )
    ),
]


@pytest.mark.parametrize(("section", "other", "idle", "condition"), IDLE)
def test_a_setting_without_effect_is_refused(tmp_path, section, other, idle, condition):
    ((key, value),) = idle.items()
    rest = {"name": "a"}
    if other is MFCC:
        rest, other = {**rest, "features": {"kind": "mfcc"}}, {}
    path = written(tmp_path, yaml.safe_dump({**rest, section: {**other, **idle}}))
    line = complaint(config.load, path)
    assert line.startswith(f"{path}: {section}.{key} ") and "has no effect" in line
    assert condition in line
    plain = written(tmp_path, yaml.safe_dump({**rest, section: other}))
    override = f"{section}.{key}={yaml.safe_dump(value, default_flow_style=True)}"
    assert complaint(config.load, plain, [override]).startswith(f"override {override!r}: ")


def test_every_condition_of_a_setting_is_tested():
    tested = {(section, *idle) for section, _, idle, _ in IDLE}
    assert tested == {(section, name) for section, name, _, _ in Config.conditions()}


def test_a_default_may_be_stated_where_it_has_no_effect():
    model = {"name": "a", "tokenizer": {"kind": "characters", "vocab_size": 500}}
    assert config.parse(model, "test") == Config(name="a")


WORDS_OF_YAML = ("no", "yes", "on", "off")  # booleans in YAML 1.1, words in YAML 1.2


def test_words_that_old_yaml_takes_for_booleans_stay_words(tmp_path):
    """Every setting whose allowed values include such a word accepts it, as it stands."""
    found = [
        (setting.key, word)
        for setting in config.settings()
        for word in set(WORDS_OF_YAML) & {*re.split(" or |, ", setting.values)}
    ]
    assert ("train.precision", "no") in found
    for key, word in found:
        section, _, name = key.partition(".")
        path = written(tmp_path, f"name: a\n{section}: {{{name}: {word}}}\n")
        assert config.load(path)[key] == word
        assert config.load(path, [f"{key}={word}"])[key] == word
    norwegian = ["text.language=no", "text.lowercase=no", "text.numbers=spell"]
    text = config.parse({"name": "a"}, "test", norwegian).text
    assert (text.language, text.lowercase) == ("no", False)
    assert config.parse({"name": "a"}, "test", ["text.lowercase=False"]).text.lowercase is False


def test_an_override_drops_settings_without_effect():
    values = {
        "name": "a",
        "tokenizer": {"kind": "bpe", "vocab_size": 60},
        "decoder": {"beam": 50, "lm_weight": 0.9, "n_best": 5},
        "model": {"inter_ctc": [1], "self_conditioned": True},
        "train": {"inter_ctc_weight": 0.5},
    }
    overrides = ["tokenizer.kind=characters", "decoder.beam=1", "model.inter_ctc=[]"]
    assert config.parse(values, "test", overrides) == Config(name="a")
    line = complaint(config.parse, values, "test", [*overrides, "decoder.lm_weight=0.9"])
    assert line.startswith("override 'decoder.lm_weight=0.9': ")


@pytest.mark.parametrize(
    ("values", "needles"),
    [
        ({"augment": {"noise_p": 1, "noise_snr_db": [30, 5]}}, ["noise_snr_db [30, 5] is empty"]),
        ({"augment": {"reverb_p": 1, "reverb_s": [0.6, 0.1]}}, ["reverb_s [0.6, 0.1] is empty"]),
        ({"augment": {"reverb_p": 1, "reverb_s": [0, 0.1]}}, ["reverb_s", "above 0 seconds"]),
        ({"data": {"min_duration_s": 40}}, ["min_duration_s 40", "max_duration_s 30"]),
        ({"features": {"low_hz": 4000, "high_hz": 300}}, ["high_hz 300", "low_hz 4000"]),
        ({"features": {"low_hz": 9000}}, ["low_hz 9000", "8000 Hz"]),
        ({"decoder": {"beam": 5, "n_best": 6}}, ["n_best 6", "the beam, 5"]),
        ({"decoder": {"beam": 5, "lexicon": []}}, ["lexicon has no words"]),
        ({"decoder": {"beam": 5, "lexicon": ["two words"]}}, ["'two words'", "single words"]),
        ({"decoder": {"beam": 5, "lexicon": [True, "maybe"]}}, ["decoder.lexicon", "quotes"]),
        ({"decoder": {"beam": 5, "word_bonus": math.inf}}, ["decoder.word_bonus", "finite", "inf"]),
        ({"decoder": {"beam": 5, "beam_margin": -1}}, ["decoder.beam_margin", "-1"]),
        ({"decoder": {"beam": 5, "tokens_per_frame": 0}}, ["decoder.tokens_per_frame", "0"]),
        ({"decoder": {"beam": 5, "token_min_logp": 1}}, ["decoder.token_min_logp", "1"]),
        ({"model": {"preset": "deepspeech2", "layers": 2, "subsampling": 4}}, ["subsampling of"]),
        ({"model": {"inter_ctc": [3]}}, ["inter_ctc [3]", "1 to 2"]),
        ({"model": {"layers": 1, "inter_ctc": [1]}}, ["inter_ctc [1]", "only one layer"]),
    ],
)
def test_empty_ranges_and_impossible_values_are_refused(values, needles):
    line = complaint(config.parse, {"name": "a", **values}, "test")
    assert line.startswith("test: ")
    for needle in needles:
        assert needle in line


@pytest.mark.parametrize("cmvn", get_args(FeatureConfig.model_fields["cmvn"].annotation))
def test_a_causal_model_has_a_normalization_that_is_causal(cmvn):
    values = {"name": "a", "features": {"cmvn": cmvn}, "model": {"bidirectional": False}}
    if cmvn in ("global", "running", "none"):
        assert not config.parse(values, "test").model.bidirectional
    else:
        line = complaint(config.parse, values, "test")
        assert f"features.cmvn={cmvn}" in line and "give features.cmvn=running, global or" in line


TRANSCRIBERS = [
    path
    for path in sorted(RECIPES.glob("*/recipe.yaml"))
    if "task: classify" not in path.read_text()
]


@pytest.mark.parametrize("recipe", TRANSCRIBERS, ids=str)
def test_one_switch_makes_any_recipe_a_streaming_one_and_back(recipe):
    offline = config.load(recipe)
    streaming = config.load(recipe, ["model.streaming=true"])
    assert not streaming.model.bidirectional and streaming.features.cmvn == "global"
    assert streaming.model.edge == 0 and streaming.features.floor_db is None
    given = yaml.safe_load(recipe.read_text()).get("model", {}).get("hidden")
    assert streaming.model.hidden == (given or 2 * offline.model.hidden)
    assert streaming.lookahead_frames * streaming.features.hop_ms * streaming.model.subsampling == (
        pytest.approx(160)
    )
    written = yaml.safe_load(config.to_yaml(streaming))
    assert config.parse(written, "test") == streaming
    back = config.parse(written, "test", ["model.streaming=false"])
    # What a streaming model cannot have is no longer known: the edge, and the recipe's CMVN.
    assert back.model == offline.model.model_copy(update={"edge": 0})
    assert back.features.cmvn == "loud"


def test_what_is_given_beside_streaming_stays():
    given = {"preset": "tiny", "streaming": True, "hidden": 96, "lookahead_ms": 80}
    values = {"name": "a", "model": given, "features": {"cmvn": "running"}}
    found = config.parse(values, "test")
    assert (found.model.hidden, found.lookahead_frames, found.features.cmvn) == (96, 2, "running")
    found = config.parse(values, "test", ["model.streaming=true", "model.lookahead_ms=0"])
    assert (found.model.hidden, found.lookahead_frames, found.features.cmvn) == (96, 0, "running")


@pytest.mark.parametrize(
    ("values", "needles"),
    [
        ({"model": {"streaming": True, "bidirectional": True}}, ["model.streaming", "leave"]),
        ({"model": {"lookahead_ms": 80}}, ["lookahead_ms 80", "no bidirectional"]),
        ({"model": {"streaming": True}, "features": {"cmvn": "loud"}}, ["cmvn=loud", "running"]),
        ({"model": {"streaming": True}, "features": {"floor_db": 60}}, ["floor_db=60"]),
        ({"model": {"streaming": True, "preset": "deepspeech2"}}, ["bidirectional of preset"]),
    ],
)
def test_what_does_not_stream_is_refused(values, needles):
    line = complaint(config.parse, {"name": "a", **values}, "test")
    for needle in needles:
        assert needle in line


def test_a_causal_model_has_no_relative_floor():
    values = {"name": "a", "features": {"cmvn": "none", "floor_db": 80}}
    assert config.parse(values, "test").features.floor_db == 80
    line = complaint(config.parse, values | {"model": {"bidirectional": False}}, "test")
    assert "features.floor_db=80" in line and "give features.floor_db=null" in line


def test_every_setting_has_a_default_and_a_meaning():
    found = {setting.key: setting for setting in config.settings()}
    plain = Config(name="a")
    for key, setting in found.items():
        assert re.fullmatch(r"[A-Z].*\w.*\.", setting.meaning), key
        if key not in ("name", "model.layers", "model.hidden", "model.dropout"):
            assert setting.default == plain[key]
    assert len(found) == 3 + sum(len(s.model_fields) for s in Config.sections().values())
    assert found["train.momentum"].conditions == ("optimizer=sgd",)
    assert found["features.rate_hz"].values == "integer, at least 4000, at most 96000"
    assert found["decoder.lexicon"].values == "list of text or text or null"
    assert found["augment.noise_snr_db"].values == "[number, number]"
    assert found["train.batch_s"].values == "number or auto"


@pytest.mark.parametrize("path", [*sorted(RECIPES.glob("*/recipe.yaml")), DEEPSPEECH2], ids=str)
def test_a_resolved_recipe_is_the_same_configuration(path):
    made = config.load(path)
    assert config.parse(yaml.safe_load(config.to_yaml(made)), "again") == made
    assert config.parse(made.model_dump(mode="json"), "again") == made


# PyYAML loses U+0085 and the Unicode line separators, which no name of a folder has.
text = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))


def values_of(field) -> st.SearchStrategy:
    """Values that the type and the bounds of a field allow."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    optional = type(None) in get_args(field.annotation)
    (kind,) = kinds if optional else [field.annotation]
    bounded = Annotated[kind, field.description, *field.metadata]
    return st.none() | st.from_type(bounded) if optional else st.from_type(bounded)


@st.composite
def configurations(draw) -> Config:
    """Random configurations: settings are drawn by type, and dropped if they are refused."""
    values = {"name": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]*", fullmatch=True))}
    folders = {"folder": draw(st.none() | text), "prepare": draw(st.dictionaries(text, text))}
    values["data"] = folders
    values["augment"] = {"speed": draw(st.lists(st.floats(0.5, 2.0)))}
    for section, kind in Config.sections().items():
        names = draw(st.sets(st.sampled_from(sorted(kind.model_fields))))
        for name in sorted(names - set(values.get(section, ()))):
            value = draw(SETTINGS[section, name])
            try:
                changed = {**values.get(section, {}), name: value}
                config.parse({**values, section: changed}, "test")
            except UserError:
                continue
            values[section] = changed
    return config.parse(values, "test")


WORDS = st.lists(st.from_regex(r"[a-z']+|yes|no|1", fullmatch=True), min_size=1).map(tuple)
SETTINGS = {
    (section, name): values_of(field)
    for section, kind in Config.sections().items()
    for name, field in kind.model_fields.items()
    if (section, name) != ("decoder", "lexicon")
} | {
    ("data", "test"): st.lists(text),
    ("data", "train"): text,
    ("data", "dev"): text,
    ("lm", "texts"): st.lists(text),
    ("train", "init_from"): text,
    ("train", "wandb"): text,
    ("augment", "noise_folder"): text,
    ("augment", "reverb_folder"): text,
    ("decoder", "lexicon"): WORDS | text.filter(bool),
    ("decoder", "beam_margin"): st.floats(0),  # infinity too
}


@given(made=configurations())
def test_the_resolved_yaml_is_the_same_configuration(made):
    again = config.parse(yaml.safe_load(config.to_yaml(made)), "again")
    assert again == made
    assert config.parse(made.model_dump(mode="json"), "again") == made
    assert config.to_yaml(again) == config.to_yaml(made)


def test_the_resolved_yaml_has_only_what_has_an_effect():
    written = yaml.safe_load(config.to_yaml(Config(name="a")))
    assert "vocab_size" not in written["tokenizer"] and "momentum" not in written["train"]
    assert written["features"]["n_mels"] == 80 and written["decoder"]["beam"] == 1


def test_another_preset_replaces_the_values_of_the_old_one():
    resolved = yaml.safe_load(config.to_yaml(config.parse({"name": "a"}, "test")))
    changed = config.parse(resolved, "test", ["model.layers=5", "model.preset=tiny"]).model
    assert (changed.preset, changed.layers, changed.hidden) == ("tiny", 5, 128)
