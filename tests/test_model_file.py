"""A model file is a plain zip of data: damaged ones are refused, and nothing in it is executed."""

import dataclasses
import json
import math
import os
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from asr import audio, files
from asr.config import parse
from asr.decoder.beam import BeamDecoder
from asr.decoder.greedy import GreedyDecoder
from asr.errors import UserError
from asr.lm.ngram import NGram
from asr.model.model_file import (
    GRAMMAR_PART,
    MODEL_PARTS,
    NGRAM_PART,
    PLAIN_FORMAT,
    Model,
    load_model,
    save_model,
)
from asr.recognition import recognizer
from asr.text.tokenizer import train as train_tokenizer


def parts_of(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(path, parts, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        recognizer.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


NEEDED = tuple(part for part in MODEL_PARTS if part not in (NGRAM_PART, GRAMMAR_PART))


class Bomb:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_it_is_a_stored_zip_without_a_pickle(model_file):
    with zipfile.ZipFile(model_file) as archive:
        assert tuple(archive.namelist()) == NEEDED
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
    parts = parts_of(model_file)
    assert json.loads(parts["format.json"])["format"] == PLAIN_FORMAT
    assert b"preset: tiny" in parts["config.yaml"]
    weights = safetensors.torch.load(parts["weights.safetensors"])
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    for name, data in parts.items():
        assert not data.startswith((b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK")), name


@pytest.mark.parametrize("kind", ["characters", "bpe", "unigram"])
@pytest.mark.parametrize("cmvn", ["utterance", "global"])
def test_what_is_loaded_is_what_was_saved(tmp_path, kind, cmvn):
    values = {
        "name": "m",
        "features": {"n_mels": 20, "cmvn": cmvn},
        "tokenizer": {"kind": kind},
        "model": {"preset": "tiny", "layers": 1, "hidden": 16, "channels": 4},
    }
    model = Model.build(parse(values, "test"), train_tokenizer(["one two", "three"], kind, 15))
    if cmvn == "global":
        model.features.mean.uniform_(-1, 1)
    model.card = "# card\n"
    save_model(tmp_path / "m.asr", model)
    again = load_model(tmp_path / "m.asr")
    assert again.config == model.config
    assert again.tokenizer.pieces == model.tokenizer.pieces
    for name, module in model.modules.items():
        state = again.modules[name].state_dict()
        assert list(state) == list(module.state_dict())
        assert all(torch.equal(state[key], value) for key, value in module.state_dict().items())
    waves = [np.random.default_rng(0).standard_normal(8000).astype(np.float32)]
    before = recognizer.Recognizer(model, "cpu").emissions(waves).log_probs
    after = recognizer.Recognizer(again, "cpu").emissions(waves).log_probs
    assert np.array_equal(before, after)


def test_a_pickle_for_weights_is_refused_and_not_run(tmp_path, model_file):
    mark = tmp_path / "was run"
    bomb = pickle.dumps(Bomb(mark))
    for part in MODEL_PARTS:
        if part == "README.md":
            continue
        path = packed(tmp_path / "bomb.asr", parts_of(model_file) | {part: bomb})
        assert "not a model file, or damaged" in refusal(path)
    torch.save(Bomb(mark), tmp_path / "torch.asr")
    refusal(tmp_path / "torch.asr")
    (tmp_path / "plain.asr").write_bytes(bomb)
    refusal(tmp_path / "plain.asr")
    assert not mark.exists()
    pickle.loads(bomb).close()
    assert mark.exists()  # it would have been


def test_yaml_objects_are_not_made(tmp_path, model_file):
    mark = tmp_path / "was run"
    tagged = f"!!python/object/apply:os.mkdir ['{mark}']\n".encode()
    refusal(packed(tmp_path / "m.asr", parts_of(model_file) | {"config.yaml": tagged}))
    assert not mark.exists()
    yaml.unsafe_load(tagged)
    assert mark.exists()  # it would have been


@pytest.mark.parametrize("name", ["../../evil.py", "/tmp/evil.py", "data.pkl", "sitecustomize.py"])
def test_a_member_that_does_not_belong_is_refused(tmp_path, model_file, name):
    path = packed(tmp_path / "m.asr", parts_of(model_file))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"print('run')")
    assert repr(name) in refusal(path)
    assert os.listdir(tmp_path) == ["m.asr"]


def test_a_compressed_part_is_refused_before_it_is_unpacked(tmp_path, model_file):
    parts = parts_of(model_file) | {"tokenizer": bytes(100 << 20)}
    path = packed(tmp_path / "m.asr", parts, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    assert "compressed" in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_duplicate_part_is_refused(tmp_path, model_file):
    path = packed(tmp_path / "m.asr", parts_of(model_file))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.yaml", "name: other\n")
    assert "twice" in refusal(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, model_file, share):
    data = model_file.read_bytes()
    (tmp_path / "m.asr").write_bytes(data[: int(len(data) * share)])
    assert "not a model file, or damaged" in refusal(tmp_path / "m.asr")


def test_a_flipped_bit_anywhere_in_the_weights_is_noticed(tmp_path, model_file):
    data = bytearray(model_file.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "m.asr").write_bytes(data)
    assert "damaged" in refusal(tmp_path / "m.asr")


@pytest.mark.parametrize(
    ("part", "data", "needle"),
    [
        ("format.json", b'{"format": 99, "asr": "9.9"}', "written by asr 9.9, which is newer"),
        ("format.json", b"[]", "damaged"),
        ("format.json", b'{"format": "new", "asr": "1"}', "damaged"),
        ("format.json", b"\xff", "damaged"),
        ("config.yaml", b"name: [", "damaged"),
        ("config.yaml", b"name: a\nfrom_the_future: 1\n", "unknown key 'from_the_future'"),
        ("config.yaml", b"", "config.yaml"),
        ("tokenizer", b"", "not a tokenizer"),
        ("tokenizer", b'{"characters": "abc"}', "weights do not fit"),
        ("weights.safetensors", b"", "damaged"),
        ("weights.safetensors", safetensors.torch.save({}), "weights do not fit"),
    ],
)
def test_a_part_that_does_not_fit_is_named(tmp_path, model_file, part, data, needle):
    assert needle in refusal(packed(tmp_path / "m.asr", parts_of(model_file) | {part: data}))


@pytest.mark.parametrize("part", NEEDED)
def test_a_missing_part_is_named(tmp_path, model_file, part):
    parts = parts_of(model_file)
    del parts[part]
    assert part in refusal(packed(tmp_path / "m.asr", parts))


def test_what_is_no_model_file_is_refused(tmp_path):
    assert "no such model file" in refusal(tmp_path / "none.asr")
    assert "no such model file" in refusal(tmp_path)
    np.savez(tmp_path / "arrays.asr", a=np.zeros(3))
    (tmp_path / "arrays.asr.npz").rename(tmp_path / "arrays.asr")
    assert "'a.npy'" in refusal(tmp_path / "arrays.asr")


def test_a_missing_device_is_a_user_error(model_file):
    assert recognizer.load(model_file, "cpu").emitter.device.type == "cpu"
    with pytest.raises(UserError, match="device 'gpu': not available"):
        recognizer.load(model_file, "gpu")


def test_a_language_model_travels_in_the_file(tmp_path, tiny_model):
    ngram = NGram.estimate(["ab ba", "ba ab ab"], order=2)
    path = tmp_path / "m.asr"
    config = parse(tiny_model.config.model_dump(mode="json"), "test", ["decoder.beam=8"])
    save_model(path, dataclasses.replace(tiny_model, config=config, ngram=ngram))
    loaded = load_model(path)
    assert loaded.ngram.score("ba ab") == ngram.score("ba ab")
    assert isinstance(recognizer.load(path, "cpu").decoder, BeamDecoder)
    assert isinstance(recognizer.load(path, "cpu", beam=1).decoder, GreedyDecoder)
    ngram.save(tmp_path / "lm.npz")
    for listening in ({"lm": tmp_path / "lm.npz"}, {"hotwords": {"ab": 2.0}}):
        assert isinstance(recognizer.load(path, "cpu", **listening).decoder, BeamDecoder)
        with pytest.raises(UserError, match=r"decoder\.beam: 1 is greedy"):
            recognizer.load(path, "cpu", beam=1, **listening)


# ---- atomic writes -------------------------------------------------------------------------------


def test_a_failure_while_saving_leaves_the_old_file(tmp_path, tiny_model, model_file, monkeypatch):
    path = tmp_path / "m.asr"
    path.write_bytes(model_file.read_bytes())
    write = zipfile.ZipFile.writestr

    def fail_late(archive, name, data):
        if name == NEEDED[-1]:
            write(archive, name, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        write(archive, name, data)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail_late)
    with pytest.raises(OSError, match="No space left"):
        save_model(path, tiny_model)
    assert path.read_bytes() == model_file.read_bytes()
    assert os.listdir(tmp_path) == ["m.asr"]


def test_a_file_is_whole_or_not_there(tmp_path):
    files.write(tmp_path / "new/folder/a.txt", "é")
    assert (tmp_path / "new/folder/a.txt").read_bytes() == "é".encode()
    with pytest.raises(KeyboardInterrupt), files.replacing(tmp_path / "b.txt") as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["new"]


def test_a_place_that_cannot_be_written_is_a_users_mistake(tmp_path):
    files.write(tmp_path / "file", "x")
    with pytest.raises(UserError, match=r"file/a\.txt: cannot be written: .*/file"):
        files.write(tmp_path / "file/a.txt", "x")
    with pytest.raises(UserError, match="cannot be written: File name too long"):
        files.write(tmp_path / ("x" * 300), "x")


def test_names_from_data_stay_inside_their_folder(tmp_path):
    assert files.below(tmp_path, "a/b.txt") == tmp_path / "a/b.txt"
    assert files.below(tmp_path, "/etc/passwd") == tmp_path / "etc/passwd"
    for name in ("../b.txt", "a/../../b.txt", "/../b.txt"):
        with pytest.raises(UserError, match="leads out of the folder"):
            files.below(tmp_path, name)


# ---- decoder settings ----------------------------------------------------------------------------


def changed(model, *changes) -> Model:
    config = parse(model.config.model_dump(mode="json"), "test", changes)
    return dataclasses.replace(model, config=config)


def test_a_lexicon_travels_in_the_file(tmp_path, tiny_model, recordings):
    words = tmp_path / "words.txt"
    words.write_text("Ab,\nba ab\n", encoding="utf-8")
    path = tmp_path / "m.asr"
    save_model(path, changed(tiny_model, "decoder.beam=8", f"decoder.lexicon={words}"))
    words.unlink()
    loaded = recognizer.load(path, "cpu")
    assert loaded.config.decoder.lexicon == ("ab", "ba")
    text = loaded.transcribe(recordings / "r0.wav").text.split()
    assert text and set(text) <= {"ab", "ba"}
    free = recognizer.load(path, "cpu", lexicon=None).transcribe(recordings / "r0.wav").text.split()
    assert not set(free) <= {"ab", "ba"}
    for other in (["c", "cab"], ("c", "cab"), "[c, cab]"):
        text = recognizer.load(path, "cpu", lexicon=other).transcribe(recordings / "r0.wav").text
        assert set(text.split()) <= {"c", "cab"}
    words.write_text("c", encoding="utf-8")
    text = recognizer.load(path, "cpu", lexicon=words).transcribe(recordings / "r0.wav").text
    assert set(text.split()) == {"c"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such file of words"),
        ("", "has no words"),
        ("., !", "has no words"),
        ("xyz", "can spell none of its 1 words, such as 'xyz'"),
        (b"\xff", "cannot be read as UTF-8"),
    ],
)
def test_a_file_of_words_that_cannot_be_used_is_named(tmp_path, model_file, content, problem):
    words = tmp_path / "words.txt"
    if content is not None:
        words.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=problem) as caught:
        recognizer.load(model_file, "cpu", beam=8, lexicon=words)
    assert "\n" not in str(caught.value)


def test_loading_a_model_file_reads_no_other_file(tmp_path, tiny_model):
    path = tmp_path / "m.asr"
    save_model(path, changed(tiny_model, "decoder.beam=8", "decoder.lexicon=[ab]"))
    parts = parts_of(path)
    parts["config.yaml"] = parts["config.yaml"].replace(b"lexicon:\n  - ab", b"lexicon: /etc/hosts")
    assert b"/etc/hosts" in parts["config.yaml"]
    assert "lexicon is a path" in refusal(packed(path, parts))


@pytest.mark.parametrize(
    "tight", [{"token_min_logp": -0.2}, {"tokens_per_frame": 1}, {"beam_margin": 0.1}, {"beam": 2}]
)
def test_each_limit_of_the_search_reaches_the_decoder(model_file, recordings, tight):
    """A tighter limit cannot find a better hypothesis, and finds a worse one here."""

    def score(**limits) -> float:
        opened = recognizer.load(model_file, "cpu", **{"beam": 200} | limits)
        emissions = opened.emissions(audio.read(recordings / "r4.wav", opened.rate_hz))
        return opened.decode(emissions.rows()[0])[0].score

    loose = {"token_min_logp": -math.inf, "beam_margin": math.inf, "tokens_per_frame": 99}
    assert score(**loose | tight) < score(**loose) - 0.01
