"""Contract 12: an exported model gives the texts and emissions of the model that it comes from."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from conftest import noise
from test_stream import save_streaming_model

import asr as toolkit
from asr.config import parse
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.decoder.total import log_probability
from asr.errors import UserError
from asr.export.model import export
from asr.lm.grammar import Grammar
from asr.lm.ngram import NGram
from asr.model.features import MEASURED
from asr.model.model_file import Model, load_model, save_model
from asr.recognition.recognizer import Recognizer, load
from asr.runtime.onnx_file import read_metadata, write_metadata
from asr.text.labels import Labels
from asr.text.tokenizer import CharacterTokenizer

SMALL = {"preset": "tiny", "layers": 2, "hidden": 16, "channels": 4}
WHOLE = [
    *(({}, {"cmvn": kind}) for kind in ("utterance", "loud", "scalar", "running", "none")),
    ({"edge": 4}, {"cmvn": "level", "floor_db": 80}),
    ({"rnn": "gru", "subsampling": 8}, {"kind": "mfcc", "n_mfcc": 20, "cmvn": "level"}),
    (
        {"subsampling": 2, "inter_ctc": [1], "self_conditioned": True},
        {"kind": "spectrogram", "cmvn": "global"},
    ),
    ({"preset": "deepspeech2", "subsampling": 2}, {"kind": "spectrogram", "window_ms": 20}),
]
CAUSAL = [
    ({"streaming": True}, {}),
    ({"streaming": True, "subsampling": 2, "lookahead_ms": 0}, {"cmvn": "running"}),
    ({"streaming": True, "subsampling": 8, "rnn": "gru"}, {"cmvn": "running", "rate_hz": 8000}),
    ({"bidirectional": False, "inter_ctc": [1], "self_conditioned": True}, {"rate_hz": 22050}),
]


def model_of(model: dict, features: dict) -> Model:
    if model.get("bidirectional") is False:
        features = {"cmvn": "none"} | features
    config = parse({"name": "made", "model": SMALL | model, "features": features}, "test")
    rate_hz = config.features.rate_hz
    with torch.random.fork_rng():
        torch.manual_seed(37)
        made = Model.build(config, CharacterTokenizer("abcdefghij"))
        if config.features.cmvn in MEASURED:
            speech = torch.from_numpy(noise(2.0, rate_hz=rate_hz))[None]
            made.features.measure([(speech, torch.tensor([speech.shape[1]]))])
    return shaken(made)


def shaken(made: Model) -> Model:
    """The model with statistics of batches and outputs that are not those of an untrained one."""
    with torch.no_grad():
        made.acoustic.head.weight.mul_(5)
        for module in made.acoustic.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.5, 2.0)
    return made


def spoken(rate_hz: int) -> list[np.ndarray]:
    durations_s = (2.03, 4.0, 0.4, 0.003, 1.0)
    return [noise(s, seed, rate_hz) for seed, s in enumerate(durations_s)]


@pytest.mark.parametrize("values", WHOLE + CAUSAL, ids=str)
def test_emissions_are_those_of_pytorch_alone_and_in_mixed_batches(values, tmp_path):
    made = model_of(*values)
    export(tmp_path / "made.onnx", made)
    exported, waveforms = load(tmp_path / "made.onnx"), spoken(made.config.features.rate_hz)
    expected = Recognizer(made, "cpu").emissions(waveforms).rows()
    together = exported.emissions(waveforms).rows()
    for waveform, theirs, ours in zip(waveforms, expected, together, strict=True):
        (alone,) = exported.emissions([waveform]).rows()
        assert ours.dtype == np.float32 and np.ptp(theirs) > 0.1
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
        np.testing.assert_allclose(alone, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "classify"),
    [
        ({"preset": "cnn", "edge": 2}, {}),
        ({"preset": "cnn", "subsampling": 4, "layers": 1}, {"pooling": "mean"}),
        ({"preset": "tiny", "layers": 1}, {"multi_label": True}),
    ],
    ids=str,
)
def test_a_classifier_gives_the_probabilities_and_embeddings_of_pytorch(model, classify, tmp_path):
    model = {"hidden": 8, "channels": 4} | model
    features = {"cmvn": "level", "floor_db": 80, "n_mels": 20}
    config = parse(
        {"name": "made", "task": "classify", "classify": classify, "model": model}
        | {"features": features},
        "test",
    )
    made = shaken(Model.build(config, Labels(["one", "two", "three"])))
    export(tmp_path / "made.onnx", made)
    save_model(tmp_path / "made.asr", made)
    ours, theirs = toolkit.load(tmp_path / "made.onnx"), toolkit.load(tmp_path / "made.asr", "cpu")
    waveforms = spoken(16000)
    np.testing.assert_allclose(
        ours.emissions(waveforms).log_probs, theirs.emissions(waveforms).log_probs, atol=1e-4
    )
    for waveform in waveforms:
        found, expected = (one.classify(waveform, 16000) for one in (ours, theirs))
        assert found.labels == expected.labels and found.probabilities == pytest.approx(
            expected.probabilities, abs=1e-5
        )
        vectors = [one.embedding(waveform, 16000) for one in (ours, theirs)]
        np.testing.assert_allclose(*vectors, atol=1e-5)
    strict = ours.with_reject(1.0)
    strict.save(tmp_path / "strict.onnx")
    assert toolkit.load(tmp_path / "strict.onnx").config.classify.reject == 1.0


@pytest.mark.parametrize("values", CAUSAL, ids=str)
def test_a_stream_gives_the_emissions_of_the_whole_recording(values, tmp_path):
    made = model_of(*values)
    export(tmp_path / "made.onnx", made)
    samples = np.concatenate(spoken(made.config.features.rate_hz))
    (expected,) = Recognizer(made, "cpu").emissions([samples]).rows()
    stream = load(tmp_path / "made.onnx").emission_stream()
    pieces = np.split(samples, [0, 100, 101, 5000, 5003, 60000])
    rows = [*map(stream.feed, pieces), stream.finish()]
    np.testing.assert_allclose(np.concatenate(rows), expected, atol=1e-4)
    assert len(load(tmp_path / "made.onnx").emission_stream().finish()) == 0


@pytest.mark.parametrize("values", CAUSAL, ids=str)
def test_streams_together_give_what_each_gives_alone(values, tmp_path):
    made = model_of(*values)
    export(tmp_path / "made.onnx", made)
    recognizer = load(tmp_path / "made.onnx")
    waveforms = spoken(recognizer.rate_hz)
    streams = [recognizer.emission_stream() for _ in waveforms]
    rng, rows, at = np.random.default_rng(5), [[] for _ in waveforms], [0] * len(waveforms)
    while any(end < len(waveform) for end, waveform in zip(at, waveforms, strict=True)):
        joined = rng.permutation(len(waveforms))[: rng.integers(1, len(waveforms) + 1)]
        sizes = {i: int(rng.integers(0, 3 * recognizer.rate_hz)) for i in joined}
        pieces = [waveforms[i][at[i] : at[i] + size] for i, size in sizes.items()]
        found = recognizer.emitter.feed_together([streams[i] for i in sizes], pieces)
        for (i, size), row in zip(sizes.items(), found, strict=True):
            rows[i].append(row)
            at[i] += size
    for waveform, stream, row in zip(waveforms, streams, rows, strict=True):
        (expected,) = recognizer.emissions([waveform]).rows()
        np.testing.assert_allclose(np.concatenate([*row, stream.finish()]), expected, atol=1e-4)


def test_a_batch_has_a_frame_of_each_stream_that_has_one(tmp_path, monkeypatch):
    made = model_of(*CAUSAL[0])
    export(tmp_path / "made.onnx", made)
    emitter = load(tmp_path / "made.onnx").emitter
    streams, sizes = [emitter.stream() for _ in range(3)], []
    advance = emitter.advance

    def counted(samples, frames, states):
        sizes.append((len(samples), int(frames[0])))
        return advance(samples, frames, states)

    monkeypatch.setattr(emitter, "advance", counted)
    step, first = emitter.framing.step, emitter.framing.samples(1)
    emitter.feed_together(streams, [noise(4.0)[: first + more * step] for more in (1, 4, 4)])
    assert sizes == [(3, 2), (2, 3)]


def test_a_stream_gives_the_transcript_of_the_file(tmp_path):
    save_streaming_model(tmp_path / "made.asr")
    export(tmp_path / "made.onnx", load_model(tmp_path / "made.asr"))
    original, exported = load(tmp_path / "made.asr", "cpu"), load(tmp_path / "made.onnx")
    samples = noise(70.0, 3, original.rate_hz)  # long enough to be read in blocks
    whole = exported.transcribe(samples, original.rate_hz)
    assert whole.text and whole.text == original.transcribe(samples, original.rate_hz).text
    stream = exported.stream(original.rate_hz)
    for piece in np.array_split(samples, 50):
        stream.feed(piece)
    assert stream.finish().text == whole.text


def test_int8_weights_are_close_and_independent_of_the_batch(tmp_path, tiny_model):
    export(tmp_path / "made.onnx", tiny_model)
    export(tmp_path / "small.onnx", tiny_model, int8=True)
    exact, small = load(tmp_path / "made.onnx"), load(tmp_path / "small.onnx")
    waveforms = spoken(16000)
    together = small.emissions(waveforms).rows()
    for waveform, expected, ours in zip(
        waveforms, exact.emissions(waveforms).rows(), together, strict=True
    ):
        assert np.abs(np.exp(ours) - np.exp(expected)).mean() < 0.02
        np.testing.assert_array_equal(small.emissions([waveform]).rows()[0], ours)
    assert small.quantized and "int8" in repr(small)
    with pytest.raises(UserError, match="has float32 weights"):
        load(tmp_path / "made.onnx", quantized=True)


def test_int8_weights_of_a_gru_are_refused(tmp_path):
    with pytest.raises(UserError, match="gru"):
        export(tmp_path / "made.onnx", model_of({"rnn": "gru"}, {}), int8=True)
    assert not (tmp_path / "made.onnx").exists()


def test_the_file_has_all_that_the_model_file_has(tmp_path, tiny_model):
    config = parse(
        tiny_model.config.model_dump(mode="json"), "test", ["decoder.beam=8", "decoder.n_best=2"]
    )
    ngram = NGram.estimate(["ab ba", "ba ab ab"], order=2)
    given = replace(tiny_model, config=config, ngram=ngram, card="# ä\n- said\n")
    export(tmp_path / "made.onnx", given)
    save_model(tmp_path / "made.asr", given)
    original, exported = load(tmp_path / "made.asr", "cpu"), load(tmp_path / "made.onnx")
    assert exported.config == original.config
    assert exported.tokenizer.to_bytes() == original.tokenizer.to_bytes()
    assert exported.ngram.to_bytes() == original.ngram.to_bytes()
    assert original.emitter.parameter_count == exported.emitter.parameter_count
    samples = noise(2.0)
    ours, theirs = (one.transcribe(samples, 16000) for one in (exported, original))
    assert (ours.text, ours.alternatives) == (theirs.text, theirs.alternatives)
    exported.save(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "made.onnx").read_bytes()
    card = read_metadata(tmp_path / "again.onnx")["asr.card"]
    assert card == "# ä\n- said\n"


def test_a_grammar_travels_in_the_file(tmp_path, tiny_model):
    grammar = Grammar.parse("intents:\n  Cab:\n    data:\n      - sentences: [bad cab]\n", "test")
    export(tmp_path / "made.onnx", replace(tiny_model, grammar=grammar))
    assert load(tmp_path / "made.onnx").grammar.text == grammar.text


def test_metadata_are_those_that_the_onnx_package_reads(tmp_path, tiny_model):
    export(tmp_path / "made.onnx", tiny_model)
    changed = {"long": "ü" * 1000, "": "empty key", "asr.format": "1"}
    write_metadata(tmp_path / "made.onnx", tmp_path / "made.onnx", changed)
    read = onnx.load(tmp_path / "made.onnx")
    onnx.checker.check_model(read, full_check=True)
    assert {one.key: one.value for one in read.metadata_props} == changed
    assert read_metadata(tmp_path / "made.onnx") == changed
    assert [one.version for one in read.opset_import] == [18] and read.ir_version == 8


def test_what_is_no_exported_model_is_refused(tmp_path, tiny_model):
    path = tmp_path / "made.onnx"
    with pytest.raises(UserError, match="no such model file"):
        load(path)
    export(path, tiny_model)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="not an ONNX file, or damaged"):
        load(path)
    path.write_bytes(b"RIFF" + whole)
    with pytest.raises(UserError, match="not an ONNX file, or damaged"):
        load(path)
    path.write_bytes(whole)
    entries = read_metadata(path)
    for changed, message in (
        ({}, "not a model of asr"),
        (entries | {"asr.format": "99", "asr.version": "9.9"}, "written by asr 9.9"),
        (entries | {"asr.tokenizer": "???"}, "metadata are damaged"),
        (entries | {"asr.config": "name: [1]"}, "its configuration"),
    ):
        write_metadata(path, path, changed)
        with pytest.raises(UserError, match=message):
            load(path)
    path.write_bytes(whole)
    with pytest.raises(UserError, match="runs on the device cpu, not cuda"):
        load(path, "cuda")


def test_the_command_compares_with_pytorch(run, model_file, recordings, tmp_path):
    rows = [Utterance(f"r{i}", str(recordings / f"r{i}.wav"), text="abc de") for i in range(8)]
    manifest.write(tmp_path / "set.jsonl", rows)
    target = tmp_path / "made.onnx"
    status, out, _ = run("export", model_file, "--to", target, "--check", tmp_path / "set.jsonl")
    assert status == 0 and "0 of 8 results differ" in out and "PyTorch, float32" in out
    status, out, _ = run("export", model_file, "-o", tmp_path / "q.onnx", "--quantize")
    assert status == 0 and "int8 weights" in out
    status, _, err = run("export", model_file, "--to", tmp_path / "made.asr")
    assert status == 2 and "the suffix .onnx" in err[-1]
    rows.append(Utterance("none", str(tmp_path / "none.wav"), text="a"))
    manifest.write(tmp_path / "set.jsonl", rows)
    status, out, _ = run("export", model_file, "--to", target, "--check", tmp_path / "set.jsonl")
    assert status == 1 and "0 of 8 results differ" in out


def test_tuning_writes_an_exported_model(run, tmp_path, tiny_model, recordings):
    rows = [Utterance(f"r{i}", str(recordings / f"r{i}.wav"), text="ab ba") for i in range(4)]
    manifest.write(tmp_path / "dev.jsonl", rows)
    export(tmp_path / "made.onnx", tiny_model)
    NGram.estimate(["ab ba", "ba ab ab"], order=2).save(tmp_path / "lm.npz")
    status, out, _ = run(
        *("tune", tmp_path / "made.onnx", tmp_path / "dev.jsonl"),
        *("--lm", tmp_path / "lm.npz", "-o", tmp_path / "tuned.onnx"),
    )
    assert status == 0 and "tuned.onnx" in out
    tuned = load(tmp_path / "tuned.onnx")
    assert "Decoder tuned on dev.jsonl" in read_metadata(tmp_path / "tuned.onnx")["asr.card"]
    assert tuned.transcribe(noise(1.0), 16000).duration_s == 1.0
    status, _, err = run(
        "tune", tmp_path / "made.onnx", tmp_path / "dev.jsonl", "-o", tmp_path / "tuned.asr"
    )
    assert status == 2 and "the suffix .onnx" in err[-1]


def test_the_probability_of_a_text_is_that_of_the_ctc_loss():
    draw = torch.Generator().manual_seed(1)
    for tokens in ([1, 1, 2, 5], [3], [1, 2, 1], []):
        log_probs = torch.randn(12, 6, generator=draw).log_softmax(1)
        lengths = torch.tensor([12]), torch.tensor([len(tokens)])
        loss = torch.nn.functional.ctc_loss(
            log_probs[:, None], torch.tensor([tokens]), *lengths, reduction="sum"
        )
        assert log_probability(log_probs.numpy(), tokens) == pytest.approx(-loss.item(), rel=1e-5)
