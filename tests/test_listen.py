"""`asr listen`: a file plays the microphone; what was heard is printed and kept."""

import json
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import soundfile
import tones
from test_stream import said, streaming_model  # noqa: F401 (a fixture)

from asr.audio import microphone
from asr.data import manifest
from asr.diagnostics import doctor
from asr.errors import UserError
from asr.recognition.recognizer import load
from asr.recognition.recording import Recording


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """14 s at another rate than the model's."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, said(14.0, 2, 16000), 16000)
    return path


def listen(*arguments, status=0):
    done = subprocess.run(
        tones.command("listen", *arguments), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def test_a_file_is_heard_like_any_recording(streaming_model, talk):  # noqa: F811
    expected = load(streaming_model, "cpu").transcribe(talk)
    assert len(expected.segments) > 2
    lines = listen(streaming_model, "--from", talk, "--fast").splitlines()
    assert lines == [segment.text for segment in expected.segments]
    rows = map(json.loads, listen(streaming_model, "--from", talk, "--fast", "--json").splitlines())
    words = [word for row in rows for word in row["words"]]
    assert [(w["text"], w["start_s"]) for w in words] == [
        (w.text, w.start_s) for w in expected.words
    ]


def test_commands_end_early_and_what_is_no_command_is_refused(
    streaming_model,  # noqa: F811
    talk,
    tmp_path,
):
    """The untrained model says anything, so that accepting and refusing is a matter of min_fit."""
    (tmp_path / "grammar.yaml").write_text(
        "intents: {Say: ['(a|b|c|d|e|f) [{n}]']}\nlists: {n: [ab, ba]}"
    )
    given = ["--from", talk, "--fast", "--json", "--grammar", tmp_path / "grammar.yaml"]
    for min_fit in (-1000, 0):
        rows = [
            json.loads(line)
            for line in listen(
                streaming_model, *given, "--decoder", f"min_fit={min_fit}"
            ).splitlines()
        ]
        assert rows and {row["command"]["accepted"] for row in rows} == {min_fit < 0}
        assert all(bool(row["words"]) == (min_fit < 0) for row in rows)
        assert {row["command"]["intent"] for row in rows} == {"Say"}
        recognizer = load(
            streaming_model, "cpu", grammar=tmp_path / "grammar.yaml", min_fit=min_fit
        )
        expected = recognizer.transcribe(talk).segments
        assert [row["text"] for row in rows] == [segment.text for segment in expected]


def test_what_was_heard_is_kept_and_continued(streaming_model, talk, tmp_path):  # noqa: F811
    recognizer = load(streaming_model, "cpu")
    expected = recognizer.transcribe(talk)
    for times in (1, 2):
        listen(streaming_model, "--from", talk, "--fast", "--save", tmp_path / "heard")
        rows = manifest.read(tmp_path / "heard/manifest.jsonl")
        assert [row.text for row in rows] == times * [s.text for s in expected.segments]
    assert [row.id for row in rows] == [f"{i:05d}" for i in range(1, len(rows) + 1)]
    whole, rate_hz = soundfile.read(talk)
    kept = [soundfile.read(row.audio)[0] for row in rows]
    for row, samples in zip(rows, kept, strict=True):
        assert row.duration_s == pytest.approx(len(samples) / rate_hz)
    assert sum(map(len, kept[: len(kept) // 2])) <= len(whole)
    starts = [
        next(
            i
            for i in range(0, len(whole), 40)
            if np.allclose(whole[i:][: len(one)], one, atol=1e-4)
        )
        for one in kept[: len(kept) // 2]
    ]
    assert starts == sorted(starts)  # each is a stretch of the recording, in its order


def test_memory_holds_the_utterance_under_way_only(streaming_model, tmp_path):  # noqa: F811
    recording = Recording(tmp_path / "heard", 8000)
    stream = load(streaming_model, "cpu").stream(8000, keep_transcript=False)
    held = []
    for _ in range(40):
        samples = said(1.0, 3)
        recording.hear(samples)
        for utterance in stream.feed(samples).finished:
            recording.finish(utterance)
        held.append(sum(map(len, recording._pieces)))
    assert max(held) <= 23 * 8000


def test_real_time_is_kept(talk):
    rate_hz, packets = microphone.packets_of(talk)
    begun = time.monotonic()
    heard = [next(packets) for _ in range(5)]
    assert rate_hz == 16000 and [len(one) for one in heard] == 5 * [1600]
    assert 0.5 <= time.monotonic() - begun < 3


def test_what_makes_no_sense_is_refused(streaming_model, model_file, talk):  # noqa: F811
    assert "--from FILE" in listen(streaming_model, "--fast", status=2)
    both = listen(streaming_model, "--from", talk, "--microphone", "0", status=2)
    assert "one of them" in both
    assert "both directions" in listen(model_file, "--from", talk, "--fast", status=2)
    assert "no such file" in listen(streaming_model, "--from", "none.wav", status=2)


# ---- PortAudio -------------------------------------------------------------------------------


def test_without_portaudio_the_message_says_what_to_install(monkeypatch, tmp_path):
    broken = tmp_path / "sounddevice.py"
    broken.write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(UserError, match="apt install libportaudio2"):
        microphone.import_sounddevice()
    found = {check.name: check for check in doctor.check_installation()}
    assert "missing" in found["PortAudio"].found and "libportaudio2" in found["PortAudio"].found
    broken.write_text("raise ImportError\n")
    with pytest.raises(UserError, match=r"pip install 'asr\[listen\]'"):
        microphone.import_sounddevice()
    assert "PortAudio" not in {check.name for check in doctor.check_installation()}


def test_a_microphone_delivers_what_portaudio_records(monkeypatch):
    class Stream:
        def __init__(self, **options):
            self.options = options

        def __enter__(self):
            assert self.options["samplerate"] == 8000 and self.options["device"] == 3
            for packet in range(3):
                samples = np.full((self.options["blocksize"], 1), packet, np.float32)
                self.options["callback"](samples, len(samples), None, None)

        def __exit__(self, *_):
            pass

    class PortAudioError(Exception):
        pass

    def refuse(**options):
        raise PortAudioError("Error querying device -1")

    fake = types.SimpleNamespace(InputStream=Stream, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    with microphone.microphone(8000, "3") as packets:
        heard = [next(packets) for _ in range(3)]
    assert [(one.shape, one[0]) for one in heard] == [((800,), i) for i in range(3)]
    fake.InputStream = refuse
    with (
        pytest.raises(UserError, match="microphone default: Error querying device -1"),
        microphone.microphone(8000),
    ):
        pass
