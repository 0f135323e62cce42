"""Preparation of manifests: measured durations, left-out utterances, and disjoint sets."""

import json
from collections import Counter
from dataclasses import replace

import layouts
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from layouts import csv_text, record, write

from asr import audio
from asr.audio import Member
from asr.data import manifest
from asr.data.importers import ImportSettings
from asr.data.importers.kaldi import read_kaldi
from asr.data.manifest import Utterance
from asr.data.prepare import prepare, preview
from asr.data.split import SplitSettings, assign, key_of, value_of
from asr.data.split import split as split_utterances
from asr.errors import UserError


def speakers(at, count=6, each=3):
    for speaker in range(count):
        for i in range(each):
            path = record(at / f"speaker{speaker}/{i}.wav", 0.5 + 0.1 * i, seed=speaker * each + i)
            path.with_suffix(".txt").write_text(f"text {i}\n")
    return at


def read(prepared):
    """{name of a set: its utterances}"""
    return {part.name: manifest.read(part.path) for part in prepared.sets}


def everything(prepared):
    return [u for part in read(prepared).values() for u in part]


# ---- what prepare writes -------------------------------------------------------------------------


def test_a_folder_is_split_by_speaker(tmp_path):
    source = speakers(tmp_path / "recordings")
    prepared = prepare(source, tmp_path / "out")
    assert prepared.by == "speaker" and prepared.left_out is None
    assert not (tmp_path / "out/left_out.tsv").exists()
    assert [part.name for part in prepared.sets] == ["train", "dev", "test"]
    found = read(prepared)
    assert sorted(u.id for u in everything(prepared)) == [
        f"speaker{s}/{i}" for s in range(6) for i in range(3)
    ]
    names = [{u.speaker for u in found[name]} for name in ("train", "dev", "test")]
    assert all(names) and sum(map(len, names)) == 6
    for u in everything(prepared):
        assert soundfile.info(u.audio).duration == pytest.approx(u.duration_s)
    assert sum(part.hours for part in prepared.sets) * 3600 == pytest.approx(6 * 1.8)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "dev.jsonl", "test.jsonl", "train.jsonl"
    ]  # fmt: skip


def test_what_is_left_out_is_counted_and_listed(tmp_path):
    source = speakers(tmp_path / "recordings")
    (source / "speaker0/1.txt").unlink()
    (source / "speaker1/0.wav").write_text("not audio")
    (source / "speaker1/1.wav").write_bytes(b"")
    (source / "speaker2/2.txt").write_text(" \n")
    prepared = prepare(source, tmp_path / "out")
    assert prepared.utterances == 14 and prepared.log.total == prepared.log.faults == 4
    assert prepared.log.counts == {
        "no .txt beside the recording": 1,
        "the audio cannot be read": 1,
        "the audio file is empty": 1,
        "no text": 1,
    }
    header, *rows = prepared.left_out.read_text().splitlines()
    assert header.split("\t") == ["reason", "where", "detail"] and len(rows) == 4
    assert all(len(row.split("\t")) == 3 for row in rows)


def test_a_second_run_replaces_the_first(tmp_path):
    source = speakers(tmp_path / "recordings")
    (source / "speaker0/1.txt").unlink()
    prepare(source, tmp_path / "out")
    before = (tmp_path / "out/train.jsonl").read_bytes()
    assert (tmp_path / "out/left_out.tsv").exists()
    (source / "speaker0/1.txt").write_text("text 1")
    prepare(source, tmp_path / "out")
    assert not (tmp_path / "out/left_out.tsv").exists()
    prepare(source, tmp_path / "again")
    assert (tmp_path / "again/train.jsonl").read_text().replace("../", "") == (
        tmp_path / "out/train.jsonl"
    ).read_text().replace("../", "")
    assert before


def test_sets_of_an_earlier_run_do_not_stay(tmp_path):
    source = speakers(tmp_path / "recordings")
    prepare(source, tmp_path / "out")
    prepare(source, tmp_path / "out", split=SplitSettings(dev=0.2, test=0))
    assert not (tmp_path / "out/test.jsonl").exists()


def test_nothing_is_written_where_nothing_can_be_used(tmp_path):
    source = tmp_path / "in"
    record(source / "a.wav").with_suffix(".txt").write_text("x")
    (source / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"nothing can be used: a: .*a\.wav: not an audio file"):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out/train.jsonl").exists()


@pytest.mark.parametrize(
    ("start_s", "duration_s", "expected"),
    [
        (0, None, 2.0),
        (0.5, None, 1.5),
        (0.5, 1.0, 1.0),
        (0.5, 1.9, 1.5),  # rounded, or a subtitle that stays a little
        (0.5, 2.1, "the recording ends before the segment does"),
        (0, 9.0, "the recording ends before the segment does"),
        (2.5, 1.0, "the segment starts after the end of the recording"),
    ],
)
def test_segments_are_checked_against_the_recording(tmp_path, start_s, duration_s, expected):
    record(tmp_path / "a.wav", 2)
    rows = [{"audio": "a.wav", "id": "x", "text": "x", "start_s": start_s}]
    rows[0] |= {} if duration_s is None else {"duration_s": duration_s}
    rows.append({"audio": "a.wav", "id": "y", "text": "y"})
    write(tmp_path / "m.jsonl", "\n".join(map(json.dumps, rows)))
    prepared = prepare(tmp_path / "m.jsonl", tmp_path / "out", split=SplitSettings(0, 0))
    found = {u.id: u for u in everything(prepared)}
    if isinstance(expected, str):
        assert prepared.log.counts == {expected: 1} and "x" not in found
    else:
        assert found["x"].duration_s == pytest.approx(expected)


def test_a_long_recording_names_the_road_to_utterances(tmp_path):
    rows = ["id,audio,text,duration_s", "a,a.wav,a whole book,3600"]
    rows += [f"{i},a.wav,short {i},3" for i in range(3)]
    source = write(tmp_path / "rows.csv", "\n".join(rows))
    record(tmp_path / "a.wav", 0.1)
    prepared = prepare(source, tmp_path / "out", open_audio=False)
    (note,) = [line for line in prepared.log.notes if "asr align" in line]
    assert note.startswith(f"1 utterances last over 60 s, up to 3600 s (first {tmp_path}/a.wav)")


def test_trusted_durations_open_no_file(tmp_path):
    write(tmp_path / "a.wav", "not audio at all")
    row = {"audio": "a.wav", "text": "x", "duration_s": 1.5}
    write(tmp_path / "m.jsonl", json.dumps(row))
    settings = SplitSettings(0, 0)
    prepared = prepare(tmp_path / "m.jsonl", tmp_path / "out", split=settings, open_audio=False)
    assert everything(prepared)[0].duration_s == 1.5
    with pytest.raises(UserError, match="nothing can be used"):
        prepare(tmp_path / "m.jsonl", tmp_path / "out", split=settings)


def test_ids_that_repeat(tmp_path):
    for name in "ab":
        record(tmp_path / f"{name}.wav")
    rows = [["id", "audio", "text"], ["1", "a.wav", "x"], ["2", "b.wav", "y"], ["1", "b.wav", "z"]]
    path = csv_text(tmp_path, rows)
    prepared = prepare(path, tmp_path / "out", split=SplitSettings(0, 0))
    assert [(u.id, u.text) for u in everything(prepared)] == [("1", "x"), ("2", "y")]
    assert prepared.log.counts == {"the id was used before": 1}
    assert "the id was used before\t1\t" in prepared.left_out.read_text()


def test_one_channel_of_several_becomes_a_file(tmp_path):
    path = record(tmp_path / "call.wav", 4, channels=2)
    stereo, _ = soundfile.read(path, dtype="int16")
    write(tmp_path / "call.stm", "call A ann 0.5 2.0 hello\ncall B bob 2.0 3.0 yes\n")
    prepared = prepare(tmp_path / "call.stm", tmp_path / "out", split=SplitSettings(0, 0))
    ann, bob = everything(prepared)
    for u, channel, start, stop in ((ann, 0, 8000, 32000), (bob, 1, 32000, 48000)):
        found, _ = soundfile.read(u.audio, dtype="int16")
        assert u.start_s == 0 and "channel" not in u.extra
        assert np.array_equal(found, stereo[start:stop, channel])


def test_audio_inside_tars_is_read_in_its_place(tmp_path):
    source = layouts.webdataset(tmp_path / "tars")
    prepared = prepare(source, tmp_path / "out", split=SplitSettings(0, 0))
    found = everything(prepared)
    assert len(found) == 6 and all(isinstance(u.audio, Member) for u in found)
    assert sorted(round(audio.info(u.audio).duration_s) for u in found) == [1, 1, 2, 2, 3, 3]
    assert not (tmp_path / "out/audio").exists()
    line = (tmp_path / "out/train.jsonl").read_text().splitlines()[0]
    assert json.loads(line)["audio"]["path"] == "../tars/train-000000.tar"


@pytest.mark.parametrize("wrong", [{}, {"name": "a"}, {"offset": -1}, {"size": True}, {"path": 3}])
def test_a_place_in_an_archive_must_be_whole(tmp_path, wrong):
    place = {"path": "a.tar", "name": "a.wav", "offset": 512, "size": 9} | wrong
    if wrong == {} or wrong == {"name": "a"}:
        place = wrong or {"path": "a.tar"}
    path = write(tmp_path / "m.jsonl", json.dumps({"audio": place, "text": "x"}))
    with pytest.raises(UserError, match=r"m\.jsonl:1: audio in an archive needs path, name"):
        manifest.read(path)


def test_bytes_of_a_table_become_files(tmp_path):
    pytest.importorskip("pyarrow", reason="pip install 'asr[parquet]'")
    prepared = prepare(layouts.parquet(tmp_path / "in"), tmp_path / "out")
    found = read(prepared)
    assert set(found) == {"train", "dev", "test"} and prepared.log.counts == {"no audio named": 2}
    assert [u.text for u in found["dev"]] == [f"validation {i}" for i in range(4)]
    assert all(audio.info(u.audio) for u in everything(prepared))
    assert [u.extra for u in found["dev"][:2]] == [
        {"snr": 1.5, "day": "2026-01-01", "split": "validation"},
        {"day": "2026-01-01", "split": "validation"},
    ]


# ---- sets of the corpus --------------------------------------------------------------------------


def test_sets_of_a_corpus_are_kept(tmp_path):
    prepared = prepare(layouts.librispeech(tmp_path / "in"), tmp_path / "out")
    assert {part.name: part.utterances for part in prepared.sets} == {
        "train": 4, "dev": 2, "test-clean": 2, "test-other": 2
    }  # fmt: skip
    assert prepared.by == "set of the corpus"
    assert {u.extra["split"] for u in read(prepared)["train"]} == {
        "train-clean-100",
        "train-clean-360",
    }


def test_a_set_that_the_corpus_lacks_is_taken_from_training(tmp_path):
    prepared = prepare(layouts.an4(tmp_path / "in"), tmp_path / "out", split=SplitSettings(1, 1))
    assert {part.name: part.utterances for part in prepared.sets} == {
        "train": 1, "dev": 1, "test": 1
    }  # fmt: skip
    assert [u.id for u in read(prepared)["test"]] == ["an406-fcaw-b"]
    assert prepared.by == "set of the corpus; text in what was taken from its training set"


def test_sets_of_a_corpus_can_be_drawn_anew(tmp_path):
    source = layouts.librispeech(tmp_path / "in")
    prepared = prepare(source, tmp_path / "out", keep_sets=False)
    assert {part.name for part in prepared.sets} == {"train", "dev", "test"}
    assert prepared.by == "speaker"
    prepared = prepare(source, tmp_path / "out2", split=SplitSettings(by="speaker"))
    assert prepared.by == "speaker"


def test_tedlium_with_its_shortened_audio(tmp_path):
    prepared = prepare(layouts.tedlium(tmp_path / "in"), tmp_path / "out")
    assert {part.name: part.utterances for part in prepared.sets} == {
        "train": 4, "dev": 2, "test": 2
    }  # fmt: skip
    assert prepared.log.counts["the recording ends before the segment does"] == 4
    u = read(prepared)["test"][0]
    assert len(audio.read(u.audio, 16000, u.start_s, u.duration_s)) == 24_000


# ---- previews ------------------------------------------------------------------------------------


def test_a_preview_writes_nothing(tmp_path):
    source = speakers(tmp_path / "in")
    before = sorted(tmp_path.rglob("*"))
    title, rows, log = preview(source, count=2)
    assert title == "recordings with a .txt beside each" and not log.total
    assert [u.id for u in rows] == ["speaker0/0", "speaker0/1"]
    assert sorted(tmp_path.rglob("*")) == before


def test_settings_reach_the_importer(tmp_path):
    record(tmp_path / "a.wav")
    path = csv_text(tmp_path, [["x", "y"], ["a.wav", "hello"]])
    settings = ImportSettings({"audio": "x", "text": "y"})
    prepared = prepare(
        path, tmp_path / "out", settings=settings, split=SplitSettings(0, 0), language="de"
    )
    assert [(u.text, u.language) for u in everything(prepared)] == [("hello", "de")]
    assert prepared.log.notes == ["audio is 'x', text is 'y'"]


# ---- Kaldi ---------------------------------------------------------------------------------------


def test_a_kaldi_folder_in_one_call(tmp_path):
    path = record(tmp_path / "long.wav", 9)
    write(tmp_path / "wav.scp", f"rec {path}\n")
    write(tmp_path / "text", "".join(f"u{i} text {i}\n" for i in range(3)))
    lines = [f"u{i} rec {3 * i} {3 * i + 2.5}\n" for i in range(3)]
    write(tmp_path / "segments", "".join(lines))
    assert [(u.start_s, u.duration_s, u.text) for u in read_kaldi(tmp_path)] == [
        (0, 2.5, "text 0"), (3, 2.5, "text 1"), (6, 2.5, "text 2")
    ]  # fmt: skip
    write(tmp_path / "wav.scp", "rec curl http://x |\n")
    with pytest.raises(UserError, match=r"a command in wav\.scp is not understood: rec curl"):
        read_kaldi(tmp_path)


# ---- splits --------------------------------------------------------------------------------------


def made(rows, named=True):
    return [
        Utterance(str(i), "x.wav", 0, seconds, text, f"s{speaker}" if named else None)
        for i, (speaker, text, seconds) in enumerate(rows)
    ]


ROWS = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from("abcdefgh"), st.floats(0.5, 20)),
    min_size=3,
    max_size=60,
)


@given(ROWS, st.booleans(), st.integers(0, 3))
def test_sets_share_nothing_and_lose_nothing(rows, named, seed):
    utterances = made(rows, named)
    settings = SplitSettings(seed=seed)
    try:
        split = split_utterances(utterances, settings)
    except UserError:
        assert len({u.text for u in utterances}) < 3  # too few to keep apart
        return
    parts = split.train, split.dev, split.test
    assert sorted(u.id for part in parts for u in part) == sorted(u.id for u in utterances)
    keys = [{getattr(u, split.by) for u in part} for part in parts]
    assert all(keys) and not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    turned = split_utterances(utterances[::-1], settings)
    if len({u.duration_s for u in utterances}) == len(utterances):
        assert {u.id for u in turned.test} == {u.id for u in split.test}


@pytest.mark.parametrize("by", ["speaker", "text", "utterance", "room"])
@pytest.mark.parametrize(("dev", "test"), [(0.2, 0.1), (20, 10), (0.1, 15)])
def test_sizes(by, dev, test):
    draw = np.random.default_rng(0)
    utterances = [
        Utterance(str(i), "x.wav", 0, 1.0, f"text {draw.integers(40)}", f"s{draw.integers(30)}",
                  extra={"room": int(draw.integers(25))})
        for i in range(200)
    ]  # fmt: skip
    split = split_utterances(utterances, SplitSettings(dev, test, by))
    largest = max(Counter(value_of(u, by) for u in utterances).values())
    for part, amount in ((split.dev, dev), (split.test, test)):
        wanted = amount * 200 if amount < 1 else amount
        assert abs(len(part) - wanted) <= largest
    parts = [{value_of(u, by) for u in part} for part in (split.train, split.dev, split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_seeds_draw_other_sets():
    utterances = made([(i, "abc"[i % 3], 1.0) for i in range(60)])
    drawn = [
        frozenset(u.id for u in split_utterances(utterances, SplitSettings(seed=seed)).test)
        for seed in (0, 0, 1, 2)
    ]
    assert drawn[0] == drawn[1] and len(set(drawn)) == 3


def test_without_a_set():
    utterances = made([(i, "a", 1.0) for i in range(10)])
    split = split_utterances(utterances, SplitSettings(dev=0, test=0.2))
    assert not split.dev and len(split.test) == 2 and len(split.train) == 8


def test_few_speakers_are_split_by_text():
    utterances = made([(i % 4, f"text {i}", 1.0) for i in range(40)])
    assert split_utterances(utterances).by == "text"
    assert split_utterances(utterances, SplitSettings(by="speaker")).by == "speaker"


@pytest.mark.parametrize(
    ("dev", "test", "message"),
    [(-0.1, 0.1, "dev -0.1"), (1.5, 0.1, "dev 1.5"), (0.5, 0.5, "leave nothing for training")],
)
def test_invalid_amounts_are_errors(dev, test, message):
    with pytest.raises(UserError, match=message):
        SplitSettings(dev, test)


def test_a_column_that_is_missing_somewhere():
    utterances = made([(i, "a", 1.0) for i in range(10)])
    utterances[3] = replace(utterances[3], speaker=None)
    with pytest.raises(UserError, match="3: no speaker to split by; choose another column"):
        split_utterances(utterances, SplitSettings(by="speaker"))


def test_too_few_to_split():
    with pytest.raises(UserError, match="2 different texts are too few for 3 sets"):
        split_utterances(made([(0, "a", 1.0), (0, "b", 1.0), (0, "b", 1.0)]))


def test_keys_are_those_of_their_definition():
    assert key_of("abc", 0) == int.from_bytes(bytes.fromhex("ba7816bf8f01cfea"), "big")  # SHA-256
    assert key_of("abc", 1) != key_of("abc", 0) != key_of("abd", 0)
    keys = np.array([key_of(str(i), 0) for i in range(1000)], np.uint64)
    sets = assign(keys, np.ones(1000), SplitSettings(0.1, 0.2), "text")
    assert np.bincount(sets).tolist() == [700, 100, 200]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda at: None, "no such file or folder"),
        (lambda at: at.mkdir(), "a folder without audio and texts"),
        (lambda at: record(at / "a.wav"), "a folder without audio and texts"),
    ],
)
def test_nothing_to_prepare(tmp_path, make, message):
    make(tmp_path / "source")
    with pytest.raises(UserError, match=message):
        prepare(tmp_path / "source", tmp_path / "out")
    assert not (tmp_path / "out").exists()
