"""Manifests in the formats of other toolkits round-trip, and lhotse reads them."""

import json

import layouts
import numpy as np
import pytest
from layouts import record
from test_importers import imported

from asr import audio
from asr.data import manifest
from asr.data.exporters import EXPORTERS, export_manifest
from asr.data.manifest import Utterance
from asr.data.prepare import prepare
from asr.data.split import SplitSettings
from asr.errors import UserError


@pytest.fixture
def utterances(tmp_path):
    """Whole files of several formats, segments of one, and names that need quoting."""
    at = tmp_path / "in"
    found = []
    for i, name in enumerate(("a.wav", "b.flac", "c (1) $x's.ogg", "sub dir/a.wav", "d.sph")):
        path = record(at / name, 1 + i / 4, seed=i)
        more = {"gender": "fm"[i % 2], "age": 20 + i}
        u = Utterance(f"s{i % 2}-utt {i}", str(path), 0.0, 1 + i / 4, f'größer "{i}"', f"s{i % 2}",
                      "de", more)  # fmt: skip
        found.append(u)
    path = record(at / "long.wav", 9, seed=9)
    for i in range(3):
        found.append(Utterance(f"long-{i}", str(path), 3.0 * i, 2.5, f"stretch {i}", language="de"))
    return found


def samples(u):
    return audio.read(u.audio, layouts.RATE_HZ, u.start_s, u.duration_s)


FORMS = {"nemo": "table", "kaldi": "kaldi", "lhotse": "lhotse", "huggingface": "table"}


@pytest.mark.parametrize("form", EXPORTERS)
def test_exports_are_imported_unchanged(tmp_path, utterances, form):
    exported = export_manifest(utterances, tmp_path / "out", form)
    assert exported.utterances == 8 and not exported.left_out
    assert all(path.is_file() for path in exported.files)
    name, found, log = imported(tmp_path / "out")
    assert name == FORMS[form] and not log.total and len(found) == 8
    for u in utterances:
        id = u.id
        if form == "kaldi":  # ids have no spaces, and begin with their speaker
            id = id.replace(" ", "_")
        back = found[id]
        assert back.text == u.text
        assert back.speaker == u.speaker or (form == "kaldi" and back.speaker == id)
        assert back.language == u.language
        if form != "kaldi":
            assert {**back.extra, "split": None} == {**u.extra, "split": None}
        assert np.abs(samples(back) - samples(u)).max() < 1e-4


@pytest.mark.parametrize("form", EXPORTERS)
def test_audio_inside_archives_is_written_out(tmp_path, form):
    prepared = prepare(
        layouts.webdataset(tmp_path / "in"), tmp_path / "ours", split=SplitSettings(0, 0)
    )
    ours = manifest.read(prepared.sets[0].path)
    exported = export_manifest(ours, tmp_path / "out", form)
    assert exported.utterances == 6
    _, found, _ = imported(tmp_path / "out")
    by_text = {u.text: u for u in found.values()}
    for u in ours:
        assert np.array_equal(samples(by_text[u.text]), samples(u))


@pytest.mark.parametrize("form", EXPORTERS)
def test_what_cannot_be_read_is_left_out_and_named(tmp_path, utterances, form):
    broken = [Utterance("gone", str(tmp_path / "gone.wav"), 0.0, 1.0, "x"),
              Utterance("late", utterances[0].audio, 5.0, 1.0, "x")]  # fmt: skip
    exported = export_manifest(broken + utterances, tmp_path / "out", form)
    assert exported.utterances == 8
    assert [line.split(":")[0] for line in exported.left_out] == ["gone", "late"]


@pytest.mark.parametrize("form", EXPORTERS)
def test_the_same_utterances_are_the_same_bytes(tmp_path, utterances, form):
    contents = []
    for _ in range(2):
        exported = export_manifest(utterances, tmp_path / "out", form)
        contents.append([path.read_bytes() for path in exported.files])
    assert contents[0] == contents[1]


def test_an_unknown_format(tmp_path):
    with pytest.raises(UserError, match="espnet: no such format; choose one of nemo, kaldi"):
        export_manifest([], tmp_path, "espnet")


# ---- as others read them -------------------------------------------------------------------------


def test_lhotse_reads_its_manifests(tmp_path, utterances):
    lhotse = pytest.importorskip("lhotse", reason="pip install lhotse")
    from lhotse.qa import validate_recordings_and_supervisions

    export_manifest(utterances, tmp_path, "lhotse")
    recordings = lhotse.load_manifest(tmp_path / "recordings.jsonl.gz")
    supervisions = lhotse.load_manifest(tmp_path / "supervisions.jsonl.gz")
    validate_recordings_and_supervisions(recordings, supervisions)
    readable = [u for u in utterances if not u.audio.endswith(".sph")]  # it runs sph2pipe
    cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    by_id = {cut.supervisions[0].id: cut for cut in cuts.trim_to_supervisions()}
    assert len(by_id) == 8
    for u in readable:
        cut = by_id[u.id]
        (supervision,) = cut.supervisions
        assert supervision.text == u.text and supervision.speaker == u.speaker
        assert supervision.language == u.language and supervision.gender == u.extra.get("gender")
        theirs = cut.load_audio()[0]
        assert len(theirs) == len(samples(u)) and np.abs(theirs - samples(u)).max() < 1e-4


def test_lhotse_reads_our_kaldi_folder(tmp_path, utterances):
    pytest.importorskip("lhotse", reason="pip install lhotse")
    from lhotse.kaldi import load_kaldi_data_dir

    export_manifest(utterances, tmp_path, "kaldi")
    recordings, supervisions, _ = load_kaldi_data_dir(tmp_path, sampling_rate=16000)
    assert len(recordings) == 6 and len(supervisions) == 8
    by_id = {s.id: s for s in supervisions}
    for u in utterances:
        theirs = by_id[u.id.replace(" ", "_")]
        assert theirs.text == u.text and theirs.language == u.language
        assert (theirs.start, theirs.duration) == pytest.approx((u.start_s, u.duration_s))


def test_kaldi_files_are_sorted(tmp_path, utterances):
    export_manifest(utterances, tmp_path, "kaldi")
    for path in (path for path in tmp_path.iterdir() if path.is_file()):
        keys = [line.split()[0].encode() for line in path.read_text().splitlines()]
        assert keys == sorted(keys) and len(keys) == len(set(keys)), path.name
    speakers = dict(line.split() for line in (tmp_path / "utt2spk").read_text().splitlines())
    assert all(id.startswith(speaker) for id, speaker in speakers.items())
    order = [speakers[id] for id in sorted(speakers, key=str.encode)]
    assert order == sorted(order, key=str.encode)  # the speakers of sorted ids are sorted too


def test_kaldi_tables_that_are_not_for_all_are_left_out(tmp_path, utterances):
    export_manifest(utterances[:5], tmp_path / "all", "kaldi")
    assert (tmp_path / "all/spk2gender").read_text() == "s0 f\ns1 m\n"
    assert (tmp_path / "all/utt2lang").exists()
    nobody = [Utterance("z", utterances[0].audio, 0.0, 1.0, "x")]
    export_manifest(utterances[:5] + nobody, tmp_path / "some", "kaldi")
    assert not (tmp_path / "some/spk2gender").exists()
    assert not (tmp_path / "some/utt2lang").exists()


def test_nemo_and_hugging_face_columns(tmp_path, utterances):
    (path,) = export_manifest(utterances[5:6], tmp_path / "nemo", "nemo").files
    assert json.loads(path.read_text()) == {
        "audio_filepath": utterances[5].audio, "duration": 2.5, "text": "stretch 0",
        "id": "long-0", "lang": "de",
    }  # fmt: skip
    (path,) = export_manifest(utterances[:1], tmp_path / "hf", "huggingface").files
    row = json.loads(path.read_text())
    assert row["file_name"].startswith("audio/") and row["text"] == utterances[0].text
    assert (path.parent / row["file_name"]).read_bytes() == open(utterances[0].audio, "rb").read()
