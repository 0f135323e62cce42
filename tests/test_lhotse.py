"""lhotse's manifests and Shar, as lhotse itself writes them."""

import base64
import json
from pathlib import Path

import layouts
import pytest
from layouts import encoded, gzipped, record
from test_importers import counts, imported

from asr import audio
from asr.audio import Member

lhotse = pytest.importorskip("lhotse", reason="pip install lhotse")


def corpus(at):
    """Three recordings with a supervision each, and a stereo one with a speaker a channel."""
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

    recordings, supervisions = [], []
    for i in range(3):
        path = record(at / f"audio/{i}.wav", 3, seed=i)
        recordings.append(Recording.from_file(path, recording_id=f"r{i}"))
        more = {"speaker": f"s{i}", "language": "en", "gender": "f", "custom": {"snr": i}}
        supervisions.append(
            SupervisionSegment(f"u{i}", f"r{i}", 0.5, 1.5, text=f"text {i}", **more)
        )
    path = record(at / "audio/stereo.wav", 3, seed=9, channels=2)
    recordings.append(Recording.from_file(path, recording_id="stereo"))
    for channel in range(2):
        supervisions.append(
            SupervisionSegment(f"st{channel}", "stereo", 1.0, 1.0, channel, f"side {channel}")
        )
    return RecordingSet.from_recordings(recordings), SupervisionSet.from_segments(supervisions)


def expected(found, starts=True):
    assert {id: u.text for id, u in found.items()} == {
        "u0": "text 0", "u1": "text 1", "u2": "text 2", "st0": "side 0", "st1": "side 1"
    }  # fmt: skip
    u = found["u1"]
    assert (u.start_s, u.duration_s) == (0.5 if starts else 0, 1.5)
    assert (u.speaker, u.language, u.extra["gender"], u.extra["snr"]) == ("s1", "en", "f", 1)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_recordings_and_supervisions(tmp_path, suffix):
    recordings, supervisions = corpus(tmp_path)
    recordings.to_file(tmp_path / f"mini_recordings_train.{suffix}")
    supervisions.to_file(tmp_path / f"mini_supervisions_train.{suffix}")
    name, found, log = imported(tmp_path)
    assert name == "lhotse" and not log.total
    expected(found)
    assert found["st1"].extra == {"channel": 1, "split": "train"}
    assert "channel" not in found["u0"].extra
    for kind in ("recordings", "supervisions"):
        path = tmp_path / f"mini_{kind}_train.{suffix}"
        assert imported(path)[1] == found


@pytest.mark.parametrize("trimmed", [True, False])
def test_cuts(tmp_path, trimmed):
    recordings, supervisions = corpus(tmp_path)
    cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    if trimmed:
        cuts = cuts.trim_to_supervisions(keep_overlapping=False)
    cuts.to_file(tmp_path / "cuts_train.jsonl.gz")
    name, found, log = imported(tmp_path)
    assert name == "lhotse" and not log.total
    expected(found)
    assert found["st1"].extra["channel"] == 1


def test_windows_cut_supervisions_apart(tmp_path):
    recordings, supervisions = corpus(tmp_path)
    cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    cuts.cut_into_windows(1.0).to_file(tmp_path / "cuts.jsonl")
    _, found, log = imported(tmp_path)
    assert counts(log)["the supervision is only partly inside its cut"] >= 3
    assert all(u.duration_s == 1.0 for u in found.values())


def test_shar(tmp_path):
    from lhotse.shar import SharWriter

    recordings, supervisions = corpus(tmp_path)
    cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    folder = tmp_path / "shar" / "train"
    folder.mkdir(parents=True)
    with SharWriter(folder, fields={"recording": "flac"}, shard_size=2) as writer:
        for cut in cuts.trim_to_supervisions(keep_overlapping=False):
            writer.write(cut)
    name, found, log = imported(tmp_path / "shar")
    assert name == "shar" and not log.total
    expected(found, starts=False)
    for u in found.values():
        assert isinstance(u.audio, Member) and u.extra["split"] == "train"
        assert audio.info(u.audio).duration_s == u.duration_s
    ours, theirs = audio.read(found["u1"].audio, 16000), recordings["r1"].load_audio(0, 0.5, 1.5)
    assert abs(ours - theirs[0]).max() < 1e-4


def recording(**more):
    source = {"type": "file", "channels": [0], "source": "audio/a.wav"}
    more_of_source = more.pop("source", {})
    return {"id": "r", "sources": [source | more_of_source], "sampling_rate": 16000,
            "num_samples": 48000, "duration": 3.0, "channel_ids": [0], **more}  # fmt: skip


def cut(**more):
    supervision = {"id": "u", "recording_id": "r", "start": 0.25, "duration": 1.0, "channel": 0,
                   "text": "hello"} | more.pop("supervision", {})  # fmt: skip
    return {"id": "c", "start": 1.0, "duration": 2.0, "channel": 0, "supervisions": [supervision],
            "recording": recording(), "type": "MonoCut"} | more  # fmt: skip


def command(text):
    return cut(recording=recording(source={"type": "command", "source": text}))


QUIRKS = {
    "relative path": (cut(), None),
    "start of the cut and the supervision": (cut(start=0.5), None),
    "rounding beyond the cut": (cut(supervision={"duration": 1.76}), None),
    "a command that is understood": (command("sox audio/a.wav -t wav - |"), None),
    "a command that is not": (command("curl http://x |"), "a command is not understood"),
    "mixed": (cut(type="MixedCut"), "the cut is mixed from several"),
    "no supervision": (cut(supervisions=[]), "no text"),
    "no text": (cut(supervision={"text": None}), "no text"),
    "before the cut": (
        cut(supervision={"start": -0.5}),
        "the supervision is only partly inside its cut",
    ),
    "speed": (
        cut(recording=recording(transforms=[{"name": "Speed"}])),
        "the recording is transformed when it is read",
    ),
    "no file": (
        cut(recording=recording(source={"source": "gone.wav"})),
        "the audio file does not exist",
    ),
    "a URL": (
        cut(recording=recording(source={"type": "url", "source": "http://x/a.wav"})),
        "the audio is of the type 'url'",
    ),
    "no recording": (cut(recording=None), "the recording does not have one source of audio"),
    "no start": (cut(start=None), "a start or duration is missing"),
}


@pytest.mark.parametrize("name", QUIRKS)
def test_quirks_of_cuts(tmp_path, name):
    record(tmp_path / "audio/a.wav", 3)
    row, reason = QUIRKS[name]
    path = gzipped(tmp_path / "data/manifests/cuts.jsonl.gz", [row])
    _, found, log = imported(path)
    if reason is not None:
        assert counts(log) == {reason: 1} and not found
    else:
        assert found["u"].start_s == row["start"] + 0.25 and Path(found["u"].audio).is_file()


def test_audio_in_memory(tmp_path):
    from asr.data.importers.audio_store import AudioStore

    data = base64.b64encode(encoded(3)).decode()
    row = cut(recording=recording(source={"type": "memory", "source": data}))
    path = layouts.write(tmp_path / "cuts.jsonl", json.dumps(row))
    _, found, _ = imported(path, store=AudioStore(tmp_path / "audio"))
    assert audio.info(found["u"].audio).duration_s == 3
    row["recording"]["sources"][0]["source"] = "no base64!"
    _, _, log = imported(layouts.write(tmp_path / "cuts.jsonl", json.dumps(row)))
    assert counts(log) == {"audio in memory is damaged": 1}
