"""Train, evaluate and transcribe from Python alone: rows in, a recognizer out."""

import logging
from dataclasses import replace

import numpy as np
import pandas
import pytest
import soundfile
import tones
import torch

import asr
import asr.config
from asr import audio
from asr.data.records import utterances_of
from asr.errors import UserError
from asr.pipeline.rows import train_rows
from asr.recognition.waveforms import LONG_S

SETTINGS = {
    "name": "tones",
    "data": {"max_duration_s": 4},
    "features": {"rate_hz": tones.RATE_HZ, "n_mels": 24},
    "tokenizer": {"kind": "bpe", "vocab_size": 14},
    "spec_augment": {"time_masks": 1, "freq_masks": 1},
    "model": {"preset": "tiny", "layers": 1, "hidden": 48, "channels": 8},
    "train": {
        "epochs": 12,
        "batch_s": 4,
        "learning_rate": 5e-3,
        "workers": 0,
        "threads": 1,
        "device": "cpu",
    },
}
SHORT = SETTINGS | {"train": SETTINGS["train"] | {"epochs": 1}}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones")
    tones.make_corpus(folder, train=120, dev=20, test=20)
    return folder


@pytest.fixture(scope="module")
def rows(corpus):
    return asr.read_manifest(corpus / "train.jsonl"), asr.read_manifest(corpus / "dev.jsonl")


@pytest.fixture(scope="module")
def few(rows):
    return rows[0][:24], rows[1][:3]


@pytest.fixture(scope="module")
def trained(rows) -> asr.Recognizer:
    return asr.train(SETTINGS, train=rows[0], dev=rows[1])


def weights(recognizer):
    values = recognizer.emitter.acoustic.state_dict().values()
    return torch.cat([value.flatten() for value in values])


def test_train_evaluate_save_and_load(trained, corpus, tmp_path):
    found = asr.evaluate(trained, corpus / "test.jsonl")
    assert found.wer < 0.2 and found.cer < 0.1
    assert repr(found).startswith("<Evaluation: WER ") and "\n" not in repr(found)
    trained.save(tmp_path / "tones.asr")
    path = corpus / "audio/test-0.wav"
    expected = trained.transcribe(path)
    assert asr.transcribe(tmp_path / "tones.asr", path) == expected
    assert asr.transcribe(trained, [path]) == [expected]
    placed = asr.align(tmp_path / "tones.asr", path, expected.text)
    assert placed.text == expected.text
    assert placed == asr.align(trained, path, [expected.text])


def test_a_long_array_is_recognized_like_its_file(trained, tmp_path, monkeypatch):
    """More than a minute of words, at the rate of the model and at four times that rate."""
    monkeypatch.setattr(
        "asr.audio.vad.silero_installed", lambda: False
    )  # tones are no speech to it
    draw, words, parts = np.random.default_rng(5), [], []
    for _ in range(50):
        sentence = draw.choice(list(tones.TONES_HZ), size=4).tolist()
        words += sentence
        parts += [tones.speak(sentence, draw), 0.003 * draw.standard_normal(6000)]
    samples = np.concatenate(parts).astype(np.float32)
    assert len(samples) / tones.RATE_HZ > LONG_S
    for rate_hz in (tones.RATE_HZ, 4 * tones.RATE_HZ):
        played = audio.resample(samples, tones.RATE_HZ, rate_hz)
        soundfile.write(tmp_path / "long.wav", played, rate_hz, subtype="FLOAT")
        as_file = trained.transcribe(tmp_path / "long.wav")
        as_array = trained.transcribe(played, rate_hz=rate_hz)
        assert replace(as_array, audio=as_file.audio) == as_file
        assert asr.wer(" ".join(words), as_file.text) < 0.2


def test_every_kind_of_rows_trains_the_same_weights(few, tmp_path):
    expected = weights(asr.train(SHORT, *few))
    train, dev = ([_columns(row) for row in part] for part in few)
    frames = pandas.DataFrame(train).assign(speaker=None), pandas.DataFrame(dev)
    for name, part in zip(("train", "dev"), few, strict=True):
        asr.write_manifest(tmp_path / f"{name}.jsonl", part)
    for given in ((train, dev), frames, (tmp_path / "train.jsonl", str(tmp_path / "dev.jsonl"))):
        assert torch.equal(weights(asr.train(SHORT, *given)), expected)
    (tmp_path / "c.yaml").write_text(asr.config.to_yaml(asr.config.parse(SHORT, "x")))
    for settings in (tmp_path / "c.yaml", asr.config.parse(SHORT, "x")):
        assert torch.equal(weights(asr.train(settings, *few)), expected)
    model = train_rows(asr.config.parse(SHORT, "x"), *few)
    assert torch.equal(weights(asr.Recognizer(model, "cpu")), expected)


def _columns(row):
    return {"id": row.id, "audio": row.audio, "text": row.text}


def test_samples_in_memory_train_the_same_weights(few):
    def in_memory(row):
        samples, rate_hz = soundfile.read(row.audio, dtype="float32")
        return {"id": row.id, "audio": samples, "rate_hz": rate_hz, "text": row.text}

    expected = weights(asr.train(SHORT, *few))
    found = asr.train(SHORT, *([in_memory(row) for row in part] for part in few))
    assert torch.equal(weights(found), expected)


def test_training_leaves_threads_and_console_alone(few, capsys, tmp_path):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        kept = asr.train(SHORT, *few, folder=tmp_path / "run")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert capsys.readouterr() == ("", "")
    again = asr.load(tmp_path / "run/model.asr", "cpu")
    assert torch.equal(weights(again), weights(kept))
    asr.train(SHORT, *few, show_progress=True)
    shown = capsys.readouterr()
    assert shown.out == "" and "dev WER" in shown.err


def test_two_precisions_in_one_process(few):
    """A notebook trains again with other settings."""
    half = SHORT | {"train": SHORT["train"] | {"precision": "bf16"}}
    expected = weights(asr.train(SHORT, *few))
    assert not torch.equal(weights(asr.train(half, *few)), expected)
    assert torch.equal(weights(asr.train(SHORT, *few)), expected)


def test_rows_that_cannot_be_used_are_named(few, caplog):
    train, dev = few
    with caplog.at_level(logging.WARNING, "asr"):
        asr.train(SHORT, [*train, {"id": "gone", "audio": "gone.wav", "text": "low"}], dev)
    assert any("gone.wav: no such file" in record.getMessage() for record in caplog.records)


def test_evaluate_takes_rows_of_every_kind(trained, rows):
    expected = asr.evaluate(trained, rows[1])
    dicts = [_columns(row) for row in rows[1]]
    for given in (dicts, iter(dicts), pandas.DataFrame(dicts)):
        assert asr.evaluate(trained, given).pairs == expected.pairs
    failed = asr.evaluate(trained, [*dicts, {"audio": "gone.wav", "text": "low"}])
    assert "gone.wav" in failed.failures[0].reason and "1 recordings failed" in repr(failed)


# ---- rows ----------------------------------------------------------------------------------------


def test_rows_keep_their_columns_without_missing_values():
    frame = pandas.DataFrame(
        {
            "audio": ["a.wav", "sub/b.wav"],
            "text": ["one", None],
            "duration": [1.5, float("nan")],
            "age": pandas.array([7, None], "Int64"),
            "group": np.array([3, 4]),
        }
    )
    first, second = utterances_of(frame, "rows")
    assert first == asr.Utterance(
        "a", "a.wav", duration_s=1.5, text="one", extra={"age": 7, "group": 3}
    )
    assert second == asr.Utterance("sub/b", "sub/b.wav", extra={"group": 4})
    assert type(first.extra["group"]) is int


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "rows: there are no rows"),
        ([{"text": "one"}], "rows:1: no column 'audio'"),
        ([{"audio": float("nan")}], "rows:1: no column 'audio'"),
        (["a.wav"], "rows:1: a row must be an Utterance or a dict, not str"),
        ([{"audio": "a.wav"}, {"audio": "a.wav"}], "rows:2: the id 'a' is also that of row 1"),
        ([{"audio": "a.wav", "start_s": "x"}], "rows:1: start_s must be seconds"),
        ([{"audio": np.zeros(9)}], "rows:1: audio is an array; give its rate in a column rate_hz"),
        ([{"audio": np.zeros(0), "rate_hz": 8000}], "rows:1: array: holds no samples"),
        ([{"audio": 7}], "rows:1: an object of type int is not audio"),
        ("missing.jsonl", "missing.jsonl: no such manifest"),
    ],
)
def test_invalid_rows_are_refused(rows, message):
    with pytest.raises(UserError, match=message):
        utterances_of(rows, "rows")
