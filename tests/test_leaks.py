"""Speakers, sentences and recordings that two sets share, re-encoded ones among them."""

import csv
import io
from dataclasses import replace

import av
import numpy as np
import pytest
import soundfile
from layouts import record, sound

from asr import audio
from asr.audio.fingerprint import CANDIDATE, COPY, RATE_HZ, correlation, fingerprint
from asr.data.leaks import find_leaks
from asr.data.manifest import Utterance

CODECS = {  # codec, container, rate in Hz, bits a second
    "Opus 8 kbit/s": ("libopus", "ogg", 16000, 8000),
    "Opus 24 kbit/s": ("libopus", "ogg", 48000, 24000),
    "MP3 16 kbit/s": ("libmp3lame", "mp3", 16000, 16000),
    "MP3 64 kbit/s": ("libmp3lame", "mp3", 44100, 64000),
    "AAC 32 kbit/s": ("aac", "mp4", 16000, 32000),
    "mu-law at 8 kHz": ("pcm_mulaw", "wav", 8000, 64000),
}


def encode(samples, codec, container, rate_hz, bits):
    """(N,) at 16 kHz -> bytes of a file, 3 dB quieter."""
    y = audio.resample(samples, 16000, rate_hz) * 0.7
    pcm = np.rint(y * 32768).clip(-32768, 32767).astype(np.int16)
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate_hz, layout="mono")
        stream.bit_rate = bits
        to_codec, fifo = av.AudioResampler(stream.format.name, "mono", rate_hz), av.AudioFifo()
        frame = av.AudioFrame.from_ndarray(pcm[None], "s16", "mono")
        frame.rate, frame.pts = rate_hz, 0
        for part in to_codec.resample(frame):
            fifo.write(part)
        while (part := fifo.read(stream.frame_size or 960) or fifo.read()) is not None:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return file.getvalue()


def real(corpora, name, count, step=1):
    with (corpora / name / "manifest.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))[::step][:count]
    return [(row["id"], audio.read(corpora / name / row["audio"], 16000)) for row in rows]


@pytest.fixture(scope="module")
def speech(corpora):
    """Isolated digits by the same speaker, prompts, and sentences read twice."""
    return real(corpora, "fsdd", 30, 5) + real(corpora, "asterisk_en", 20) + real(
        corpora, "rhasspy_kathleen", 30
    )  # fmt: skip


# ---- fingerprints --------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_copies_are_alike(speech, codec):
    for id, samples in speech[::4]:
        data = encode(samples, *CODECS[codec])
        copy = audio.read(audio.Encoded(data, f"a.{CODECS[codec][1]}"), RATE_HZ)
        original = audio.resample(samples, 16000, RATE_HZ)
        assert correlation(original, copy) > COPY, id
        assert fingerprint(original) @ fingerprint(copy) > CANDIDATE, id


def test_different_takes_are_not(speech):
    sounds = [audio.resample(samples, 16000, RATE_HZ) for _, samples in speech]
    found = [correlation(a, b) for i, a in enumerate(sounds) for b in sounds[:i:2]]
    assert max(found) < COPY - 0.02


def test_correlation_equals_its_definition():
    a = sound(1.0, 1)[:, 0] / 32768
    late = np.concatenate([np.zeros(4000), a * 0.01])
    assert correlation(a, late) == pytest.approx(1, abs=1e-3)
    assert correlation(a, -a) == pytest.approx(1, abs=1e-9)
    assert correlation(a, sound(1.0, 2)[:, 0] / 32768) < 0.2
    half = len(a) // 2
    assert correlation(a, a[:half]) == pytest.approx(np.sqrt(0.5), abs=0.05)


@pytest.mark.parametrize("count", [0, 1, 10, 255, 256, 8000])
def test_silence_and_very_short_audio_match_nothing(count):
    silent = np.zeros(count, np.float32)
    assert not fingerprint(silent).any()
    assert correlation(silent, np.ones(100, np.float32)) == 0


# ---- leaks ---------------------------------------------------------------------------------------


def utterance(tmp_path, name, seed, **more):
    path = record(tmp_path / name, 1.5, seed=seed)
    more = {"text": f"text of {name}", "speaker": name} | more
    return Utterance(name, str(path), 0.0, 1.5, **more)


def test_nothing_is_shared(tmp_path):
    train = [utterance(tmp_path, f"a{i}.wav", i) for i in range(4)]
    test = [utterance(tmp_path, f"b{i}.wav", 10 + i) for i in range(3)]
    leaks = find_leaks(train, test)
    assert not leaks and not leaks.unreadable
    assert leaks.lines("train", "test") == [
        "no speakers in common", "no sentences in common", "no recordings in common"
    ]  # fmt: skip


def test_speakers_and_sentences(tmp_path):
    train = [
        utterance(tmp_path, f"a{i}.wav", i, speaker="ann", text="Hello, there") for i in (0, 1)
    ]
    test = [utterance(tmp_path, "b.wav", 9, speaker="ann", text="hello there!")]
    leaks = find_leaks(train, test)
    assert (leaks.speakers.values, leaks.speakers.utterances) == (1, 2)
    assert (leaks.sentences.values, leaks.sentences.utterances) == (1, 2)
    assert leaks.recordings.utterances == 0
    assert leaks.lines("a.jsonl", "b.jsonl")[:2] == [
        "1 speakers of b.jsonl are in a.jsonl too, in 2 of its utterances:",
        "  ann (a0.wav)",
    ]


def test_missing_speakers_and_texts_are_no_leak(tmp_path):
    train = [utterance(tmp_path, "a.wav", 1, speaker=None, text=None)]
    test = [utterance(tmp_path, "b.wav", 2, speaker=None, text="")]
    assert not find_leaks(train, test)


@pytest.mark.parametrize(
    ("start_s", "duration_s", "leaks"),
    [(0.0, 1.0, False), (0.5, 1.0, True), (2.0, 1.0, False), (1.2, 0.2, True), (0.0, None, True)],
)
def test_stretches_of_a_file(tmp_path, start_s, duration_s, leaks):
    path = str(record(tmp_path / "a.wav", 4))
    test = [Utterance("t", path, 1.0, 1.0)]
    train = [Utterance("u", path, start_s, duration_s)]
    found = find_leaks(train, test, open_audio=False)
    assert bool(found) is leaks
    if leaks:
        assert found.recordings.examples == ["u and t: the same stretch of a file"]


@pytest.mark.parametrize("codec", CODECS)
def test_copies_in_other_formats(tmp_path, speech, codec):
    train, test = [], []
    for number, (id, samples) in enumerate(speech):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, samples, 16000)
        train.append(Utterance(id, str(path), text=id, speaker="x"))
        if number % 8 == 0:
            path = tmp_path / f"{number}.{CODECS[codec][1]}"
            if path.suffix == ".wav":
                path = path.with_name(f"copy{number}.wav")
            path.write_bytes(encode(samples, *CODECS[codec]))
            test.append(Utterance(f"copy of {id}", str(path), text="other", speaker="y"))
    leaks = find_leaks(train, test)
    assert leaks.recordings.values == leaks.recordings.utterances == len(test) == 10
    for example in leaks.recordings.examples:
        id, other = example.split(": ")[0].split(" and ")
        assert other == f"copy of {id}" and "the same sound" in example
    assert not find_leaks(train, test, open_audio=False)


def test_what_cannot_be_read_is_named(tmp_path):
    train = [utterance(tmp_path, "a.wav", 1)]
    gone = replace(train[0], id="gone", audio=str(tmp_path / "gone.wav"))
    leaks = find_leaks([*train, gone], [utterance(tmp_path, "b.wav", 2), replace(gone, id="too")])
    assert [line.split(":")[0] for line in leaks.unreadable] == ["too"]
    assert leaks.recordings.examples == ["gone and too: the same stretch of a file"]
