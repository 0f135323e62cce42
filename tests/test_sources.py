"""The same audio gives the same transcript as a file, bytes, a file object or an array."""

import csv
import io
import logging
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from conftest import RATE_HZ, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from test_audio import write_container

import asr
from asr import audio
from asr.errors import UserError
from asr.recognition.waveforms import LONG_S


@pytest.fixture(scope="module")
def recognizer(model_file) -> asr.Recognizer:
    return asr.load(model_file, "cpu")


def same_text_times_and_confidences(recognizer, path, samples, rate_hz) -> asr.Transcript:
    """Transcribe a file and its content in every other form; all transcripts must be equal."""
    expected = recognizer.transcribe(path)
    with open(path, "rb") as file:
        sources = [
            (str(path), None),
            (file, None),
            (path.read_bytes(), None),
            (bytearray(path.read_bytes()), None),
            (io.BytesIO(path.read_bytes()), None),
            (samples, rate_hz),
            (samples, float(rate_hz)),
            (torch.from_numpy(samples), rate_hz),
        ]
        for source, rate in sources:
            found = recognizer.transcribe(source, rate_hz=rate)
            assert replace(found, audio=str(path)) == expected, type(source)
    return expected


@given(
    duration_s=st.floats(0.05, 4.0),
    rate_hz=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]),
    channels=st.integers(1, 3),
    kind=st.sampled_from(["float32", "int16", "int32", "uint8"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=12)
def test_the_same_audio_gives_the_same_transcript(
    recognizer, tmp_path_factory, duration_s, rate_hz, channels, kind, seed
):
    columns = [noise(duration_s, seed + i, rate_hz) for i in range(channels)]
    samples = np.stack(columns, axis=1)  # (N, C)
    subtype = {"float32": "FLOAT", "int16": "PCM_16", "int32": "PCM_32", "uint8": "PCM_U8"}[kind]
    path = tmp_path_factory.mktemp("one") / "a.wav"
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    if kind == "uint8":  # soundfile cannot read it as integers
        stored = np.round(soundfile.read(path, dtype="float32")[0] * 128 + 128).astype(np.uint8)
    else:
        stored, _ = soundfile.read(path, dtype=kind)  # (N,) for one channel
    same_text_times_and_confidences(recognizer, path, stored, rate_hz)


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 22050])
def test_long_recordings_are_cut_alike(recognizer, tmp_path, monkeypatch, rate_hz):
    monkeypatch.setattr("asr.audio.vad.silero_installed", lambda: False)  # noise is no speech to it
    quiet = np.zeros(rate_hz, np.float32)
    parts = [part for i in range(12) for part in (noise(5.0 + i / 7, i, rate_hz), quiet)]
    samples = np.concatenate(parts)
    soundfile.write(tmp_path / "long.wav", samples, rate_hz, subtype="FLOAT")
    assert len(samples) / rate_hz > LONG_S
    found = same_text_times_and_confidences(recognizer, tmp_path / "long.wav", samples, rate_hz)
    assert len(found.segments) > 2


def test_joined_speech_is_cut_alike(recognizer, corpora, tmp_path):
    """Real speech of more than a minute, at 24 kHz and at the rate of the model."""
    folder = corpora / "ljspeech_part"
    with (folder / "manifest.tsv").open() as file:
        names = [row["audio"] for row in csv.DictReader(file, delimiter="\t")][:14]
    for rate_hz in (24000, RATE_HZ):
        samples = np.concatenate([audio.read(folder / name, rate_hz) for name in names])
        path = tmp_path / f"{rate_hz}.wav"
        soundfile.write(path, samples, rate_hz, subtype="FLOAT")
        assert len(samples) / rate_hz > LONG_S
        found = same_text_times_and_confidences(recognizer, path, samples, rate_hz)
        assert len(found.segments) > 2


@pytest.mark.parametrize(
    ("name", "codec"), [("a.m4a", "aac"), ("a.webm", "libopus"), ("a.mp3", "libmp3lame")]
)
def test_containers_are_decoded_from_memory_too(recognizer, tmp_path, name, codec):
    path = write_container(tmp_path / name, codec, rate_hz=48000)
    samples = audio.read(path, 48000)
    same_text_times_and_confidences(recognizer, path, samples, 48000)


def test_every_layout_of_channels_is_their_mean(recognizer):
    left, right = noise(1.5, 1), noise(1.5, 2)
    expected = recognizer.transcribe(np.stack([left, right]).mean(axis=0), RATE_HZ)
    stereo = np.stack([left, right])  # (2, N)
    for samples in (stereo, stereo.T, np.asfortranarray(stereo), stereo.astype(np.float64)):
        assert recognizer.transcribe(samples, RATE_HZ) == expected
    mono = recognizer.transcribe(left, RATE_HZ)
    for samples in (left[None], left[:, None], left.astype(">f4"), left[::-1][::-1]):
        assert recognizer.transcribe(samples, RATE_HZ) == mono
    grown = torch.from_numpy(left).requires_grad_()
    assert recognizer.transcribe(grown, RATE_HZ) == mono


def test_integers_are_scaled_as_in_files():
    for kind, full in (("int16", 2**15), ("int32", 2**31), (">i2", 2**15)):
        found = audio.Samples(np.array([-full, 0, full // 2], kind), RATE_HZ).samples
        assert found[:, 0].tolist() == [-1.0, 0.0, 0.5] and found.dtype == np.float32
    found = audio.Samples(np.array([0, 128, 192], np.uint8), RATE_HZ).samples
    assert found[:, 0].tolist() == [-1.0, 0.0, 0.5]
    assert not audio.Samples(torch.zeros(9, dtype=torch.bfloat16), RATE_HZ).samples.any()


def test_an_array_without_a_rate_is_at_the_rate_of_the_model_and_says_so_once(
    recognizer, caplog, monkeypatch
):
    monkeypatch.setattr("asr.audio.source._warned_rates", set())
    samples = noise(1.0)
    with caplog.at_level(logging.WARNING, "asr"):
        given = recognizer.transcribe(samples, RATE_HZ)
        assert not caplog.records
        assert recognizer.transcribe(samples) == given == recognizer.transcribe(samples)
    (record,) = caplog.records
    assert "16000 Hz; give rate_hz=16000" in record.getMessage()


def test_another_rate_is_resampled(recognizer, recordings):
    """Samples at 48 kHz, which a 16 kHz model would otherwise process at a third of the speed."""
    samples, _ = soundfile.read(recordings / "r4.wav", dtype="float32")
    found = recognizer.transcribe(audio.resample(samples, RATE_HZ, 48000), 48000)
    assert found.duration_s == pytest.approx(len(samples) / RATE_HZ)


def test_a_list_gives_a_list(recognizer, recordings):
    paths = sorted(recordings.glob("*.wav"))
    found = recognizer.transcribe(paths)
    assert [one.audio for one in found] == [str(path) for path in paths]
    alone = [recognizer.transcribe(path) for path in paths]
    assert [one.text for one in found] == [one.text for one in alone]
    assert recognizer.transcribe([]) == []
    mixed = recognizer.transcribe((paths[0], paths[1].read_bytes(), open(paths[2], "rb")))
    assert [one.text for one in mixed] == [one.text for one in alone[:3]]
    assert [one.audio for one in mixed] == [
        str(paths[0]),
        "audio in memory",
        str(paths[2]),
    ]
    arrays = recognizer.transcribe([noise(1.0, 1), noise(2.0, 2)], rate_hz=RATE_HZ)
    assert [one.duration_s for one in arrays] == [1.0, 2.0]
    with pytest.raises(UserError, match=r"missing\.wav: no such file"):
        recognizer.transcribe([paths[0], "missing.wav"])


def at(rate_hz):
    return {"rate_hz": rate_hz}


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (np.zeros(0, np.float32), at(RATE_HZ), r"array: holds no samples \(shape \(0,\)\)"),
        (np.zeros((2, 0), np.float32), at(RATE_HZ), "array: holds no samples"),
        (np.array([0.1, np.nan]), at(RATE_HZ), "array: holds samples that are not finite"),
        (np.full(99, np.inf), at(RATE_HZ), "array: holds samples that are not finite"),
        (np.float32(0.5), at(RATE_HZ), r"array: shape \(\); give \(N,\) for mono"),
        (np.zeros((2, 3, 4)), at(RATE_HZ), r"array: shape \(2, 3, 4\); give \(N,\) for mono"),
        (np.zeros((80, 400)), at(RATE_HZ), r"shape \(80, 400\); give"),
        (np.zeros((5, 5)), at(RATE_HZ), r"shape \(5, 5\); give"),
        (np.zeros(99, np.int64), at(RATE_HZ), r"type int64; give floats in \[-1, 1\], int16"),
        (np.zeros(99, complex), at(RATE_HZ), "type complex128; give floats"),
        (np.array(["a", "b"]), at(RATE_HZ), "samples of type <U1"),
        (np.zeros(99), at(16), "rate_hz must be a whole number of Hz, 1000 to 768000, not 16"),
        (np.zeros(99), at(0), "rate_hz must be a whole number"),
        (np.zeros(99), at(-8000), "rate_hz must be a whole number"),
        (np.zeros(99), at(8000.5), "rate_hz must be a whole number"),
        (np.zeros(99), at(float("nan")), "rate_hz must be a whole number"),
        (np.zeros(99), at("8000"), "rate_hz must be a whole number"),
        ("a.wav", at(8000), "rate_hz=8000: only an array needs a rate; 'a.wav' has its own"),
        (b"", {}, r"audio in memory: the file is empty \(0 bytes\)"),
        (b"no audio at all" * 50, {}, "audio in memory: not an audio file that"),
        (io.StringIO("text"), {}, "reading gives str, not bytes; open the file with 'rb'"),
        (7, {}, "an object of type int is not audio: give a path, a file"),
        (None, {}, "an object of type NoneType is not audio"),
        ([[0.1, 0.2]], {}, "an object of type list is not audio"),
    ],
)
def test_what_cannot_be_audio_is_refused_in_one_line(recognizer, source, options, message):
    with pytest.raises(UserError, match=message) as refused:
        recognizer.transcribe(source, **options)
    assert "\n" not in str(refused.value)


def test_a_file_cut_short_in_memory_is_refused(recognizer, recordings):
    data = (recordings / "r4.wav").read_bytes()
    with pytest.raises(UserError, match="audio in memory: truncated"):
        recognizer.transcribe(data[: len(data) // 2])


def test_emissions_of_every_source(recognizer, recordings):
    path = recordings / "r2.wav"
    samples, _ = soundfile.read(path, dtype="float32")
    (expected,) = recognizer.emissions([samples]).rows()
    for source in (path, path.read_bytes(), samples, torch.from_numpy(samples), samples[None]):
        (row,) = recognizer.emissions(source).rows()
        assert np.array_equal(row, expected)
    (slower,) = recognizer.emissions(audio.resample(samples, RATE_HZ, 8000), rate_hz=8000).rows()
    assert slower.shape == expected.shape
    assert len(recognizer.emissions([path, samples]).rows()) == 2
    with pytest.raises(UserError, match="holds no samples"):
        recognizer.emissions(samples[:0])


def test_alignment_of_every_source(recognizer, recordings, tmp_path):
    path = recordings / "r4.wav"
    samples, _ = soundfile.read(path, dtype="float32")
    found = recognizer.align(path, "Bad cab\n\nace")
    assert [segment.text for segment in found.segments] == ["bad cab", "ace"]
    assert all(0 <= w.start_s < w.end_s <= found.duration_s for w in found.words)
    again = recognizer.align(samples, ["bad cab", "ace"], rate_hz=RATE_HZ)
    assert again.segments == found.segments and again.audio == "array"
    found.save(tmp_path / "r4.TextGrid")
    for text, message in (("\n", "the text is empty"), ("xyz", "sentence 1"), ("?", "nothing to")):
        with pytest.raises(UserError, match=message):
            recognizer.align(path, text)


# ---- the recognizer itself -----------------------------------------------------------------------


def test_a_saved_recognizer_transcribes_alike(recognizer, recordings, tmp_path):
    recognizer.save(tmp_path / "a.asr")
    changed = asr.load(tmp_path / "a.asr", "cpu", beam=7)
    changed.save(tmp_path / "b.asr")
    again = asr.load(tmp_path / "b.asr", "cpu")
    assert again.config.decoder.beam == 7
    for path in recordings.glob("*.wav"):
        assert again.transcribe(path) == changed.transcribe(path)
    small = asr.load(tmp_path / "a.asr", "cpu", quantized=True)
    with pytest.raises(UserError, match="int8 weights cannot be saved"):
        small.save(tmp_path / "c.asr")


def test_repr_says_rate_tokens_decoder_and_size(model_file):
    count = sum(p.numel() for p in asr.load(model_file, "cpu").emitter.acoustic.parameters())
    size = f"{count / 1e3:.0f} k parameters"
    said = repr(asr.load(model_file, "cpu"))
    assert said == (
        f"<Recognizer: 16000 Hz, 12 tokens (characters), greedy decoder, {size} on cpu>"
    )
    ngram = asr.NGram.estimate(["bad cab", "ace"], 2)
    said = repr(asr.load(model_file, "cpu", lm=ngram, hotwords=["bad", "cab"], quantized=True))
    assert "beam 50 with a 2-gram on words and 2 hotwords" in said and "in int8" in said


def test_hotwords_in_a_list_get_the_default_weight(model_file, recordings):
    plain = asr.load(model_file, "cpu", beam=50)
    listed = asr.load(model_file, "cpu", hotwords=["Bad Cab", " fig "])
    weighed = asr.load(model_file, "cpu", hotwords={"bad cab": 5.0, "fig": 5.0})
    strong = asr.load(model_file, "cpu", hotwords={"bad cab": 40.0, "fig": 40.0})
    paths = sorted(recordings.glob("*.wav"))
    texts = [[t.text for t in one.transcribe(paths)] for one in (plain, listed, weighed, strong)]
    assert texts[1] == texts[2] and texts[3] != texts[0]
    for wrong, message in (
        ("bad cab", r"give a list, \['bad cab'\]"),
        (["?"], r"hotword '\?': 5.0; give a phrase"),
        ({"bad": float("nan")}, "a finite weight"),
        (["xyz"], "the model has no 'x'"),
    ):
        with pytest.raises(UserError, match=message):
            asr.load(model_file, "cpu", hotwords=wrong)
