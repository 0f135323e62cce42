"""Importers: each format in the layout of its publishers, with its oddities and errors."""

import json
import shutil
from collections import Counter
from pathlib import Path

import layouts
import pytest
from layouts import csv_text, record, write

from asr import audio
from asr.audio import Member
from asr.data import manifest
from asr.data.importers import IMPORTERS, ImportLog, ImportSettings, Source, recognize
from asr.data.importers.audio_store import AudioStore
from asr.errors import UserError


def imported(source, format=None, **settings):
    """(name of the importer, utterances by id, the log)"""
    look, log = Source(source), ImportLog()
    importer = recognize(look, format)
    rows = list(importer.read(look, ImportSettings(**settings), log))
    found = {u.id: u for u in rows}
    assert len(found) == len(rows)
    return importer.name, found, log


def counts(log):
    return dict(log.counts)


# ---- trees of corpora ----------------------------------------------------------------------------


def test_librispeech(tmp_path):
    name, found, log = imported(layouts.librispeech(tmp_path))
    assert name == "librispeech" and len(found) == 10
    u = found["14-208-0001"]
    assert u.text == "NORTHANGER ABBEY 14 DON'T" and u.speaker == "14" and u.language == "en"
    assert u.extra == {"gender": "f", "split": "train-clean-100"}
    assert Counter(u.extra["split"] for u in found.values()) == {
        "train-clean-100": 2, "train-clean-360": 2, "dev-clean": 2, "test-clean": 2, "test-other": 2
    }  # fmt: skip
    assert counts(log) == {
        "the audio file does not exist": 1,
        "the recording is not in the .trans.txt": 1,
    }


def test_a_subset_of_librispeech_alone(tmp_path):
    root = layouts.librispeech(tmp_path)
    _, found, _ = imported(root / "dev-clean")
    assert {u.extra["split"] for u in found.values()} == {"dev-clean"}


def test_multilingual_librispeech(tmp_path):
    name, found, log = imported(layouts.mls(tmp_path))
    assert name == "librispeech" and not log.total
    u = found["1_25_000003"]
    assert (u.text, u.speaker, u.language) == ("süß und größer", "1", "de")
    assert sorted(u.extra["split"] for u in found.values()) == ["dev", "test", "train"]


def test_tedlium(tmp_path):
    name, found, log = imported(layouts.tedlium(tmp_path))
    assert name == "tedlium"
    u = found["AlGore_2009-0000050-0000200"]
    assert u.text == "i'm here don't" and (u.start_s, u.duration_s) == (0.5, 1.5)
    assert u.speaker == "AlGore_2009" and u.extra == {"split": "train", "gender": "male"}
    assert found["AlGore_2009-0000325-0000400"].text == "the end"
    assert len(found) == 4 * 3
    assert counts(log) == {
        "the stm says not to score it": 4,
        "a word is not transcribed (<unk>)": 4,
        "nothing but noise": 4,
    }
    assert log.faults == 0
    assert audio.info(u.audio).duration_s == 6


def test_ljspeech(tmp_path):
    name, found, log = imported(layouts.ljspeech(tmp_path))
    assert name == "ljspeech"
    assert {id: u.text for id, u in found.items()} == {
        "LJ001-0001": '"Printing," in fourteen thirty-six',
        "LJ001-0002": "in being comparatively modern.",
    }
    assert counts(log) == {
        "the row does not have two or three columns": 1,
        "the audio file does not exist": 1,
        "no text": 1,
    }


def test_common_voice(tmp_path):
    root = layouts.common_voice(tmp_path)
    name, found, log = imported(root)
    assert name == "common-voice" and len(found) == 5 + 1
    u = found["common_voice_de_0"]
    assert u.text == '„Er sagte: "Nein 1' and u.speaker == "speaker1" and u.language == "de"
    assert u.duration_s == 1.0 and found["common_voice_de_1"].duration_s is None
    assert u.extra["up_votes"] == "2" and u.extra["down_votes"] == "0"
    assert u.extra["split"] == "train" and found["common_voice_de_3"].extra["split"] == "dev"
    assert counts(log) == {
        "the audio file does not exist": 1,
        "the row does not have the columns of the first line": 1,
    }
    name, found, _ = imported(root / "de/validated.tsv")
    assert name == "common-voice" and len(found) == 5
    assert all("split" not in u.extra for u in found.values())


def test_several_languages_of_common_voice_are_named(tmp_path):
    root = layouts.common_voice(tmp_path)
    shutil.copytree(root / "de", root / "fr")
    with pytest.raises(UserError, match=r"several languages \(de, fr\); give one of the folders"):
        imported(root)
    assert len(imported(root / "fr")[1]) == 6


def test_an4(tmp_path):
    name, found, log = imported(layouts.an4(tmp_path))
    assert name == "sphinx" and not log.total
    assert {id: (u.text, u.speaker, u.extra["split"]) for id, u in found.items()} == {
        "an251-fash-b": ("YES", "fash", "train"),
        "an253-fash-b": ("GO ON", "fash", "train"),
        "an406-fcaw-b": ("YES", "fcaw", "test"),
    }
    assert audio.info(found["an251-fash-b"].audio).duration_s == 1


def test_yesno(tmp_path):
    name, found, log = imported(layouts.yesno(tmp_path))
    assert name == "yesno" and not log.total and len(found) == 60
    u = found["0_0_0_0_1_0_0_0"]
    assert (u.text, u.language, u.extra) == (
        "no no no no yes no no no", "he", {"split": "train"}
    )  # fmt: skip
    assert found["1_1_1_0_1_1_0_0"].extra == {"split": "test"}
    assert Counter(u.extra["split"] for u in found.values()) == {"train": 30, "test": 30}


def test_fsdd(tmp_path):
    root = layouts.fsdd(tmp_path)
    name, found, log = imported(root)
    assert name == "fsdd" and not log.total and len(found) == 120
    u = found["7_theo_5"]
    assert (u.text, u.speaker, u.extra) == ("seven", "theo", {"split": "train"})
    assert found["7_theo_0"].extra == {"split": "test"}
    write(root / "manifest.tsv", "id\taudio\ttext\na\trecordings/7_theo_5.wav\tseven\n")
    assert imported(root)[0] == "table"  # which tells more than names do


def test_speech_commands(tmp_path):
    name, found, log = imported(layouts.speech_commands(tmp_path))
    assert name == "speech-commands" and len(found) == 10
    u = found["visual/ffd2ba2f_nohash_0"]
    assert (u.text, u.speaker, u.extra) == ("visual", "ffd2ba2f", {"split": "test"})
    assert Counter(u.extra["split"] for u in found.values()) == {
        "train": 4, "validation": 3, "test": 3
    }  # fmt: skip
    assert counts(log) == {"background noise": 1} and log.faults == 0


def test_voxforge(tmp_path):
    name, found, log = imported(layouts.voxforge(tmp_path))
    assert name == "voxforge" and len(found) == 5
    u = found["jose-20080102-abc/a0001"]
    assert (u.text, u.speaker, u.language) == ("AUTHOR OF THE DANGER TRAIL", "jose", "en")
    assert u.extra == {"gender": "male", "age": "adult", "accent": "american english"}
    assert found["jose-20091231-xyz/a0001"].audio.endswith(".flac")
    assert found["jose-20091231-xyz/a0001"].extra == {}
    speakers = {u.speaker for u in found.values()}
    assert speakers == {"jose", "anonymous-20080410-aaa", "anonymous-20080411-bbb"}
    assert counts(log) == {
        "the audio file does not exist": 1,
        "no text": 1,
        "the submission has no etc/PROMPTS": 1,
        "the prompts cannot be read": 1,
    }


def test_kaldi(tmp_path):
    name, found, log = imported(layouts.kaldi(tmp_path))
    assert name == "kaldi"
    assert not (tmp_path / "ran").exists()
    assert len(found) == 11
    u = found["s1-r1-0"]
    assert (u.start_s, u.duration_s, u.speaker, u.language) == (0, 2.5, "s1", "de")
    assert u.text == "wörter von s1-r1-0" and u.extra == {"gender": "m"}
    assert found["s1-r1-1"].duration_s == 1.5  # -1 with reco2dur
    assert found["s0-r2-1"].duration_s is None  # -1 without
    assert found["s0-r4-0"].audio.endswith("r4.sph") and found["s0-r4-0"].extra["channel"] == 0
    assert found["s1-r5-0"].extra["channel"] == 1
    assert all(Path(u.audio).is_file() for u in found.values())
    assert counts(log) == {
        "a command in wav.scp is not understood": 4,
        "no text": 1,
        "the recording is not in wav.scp": 1,
        "the segment ends before it starts": 1,
        "the line is not `utterance recording start end`": 1,
    }
    assert any("speed changes the sound" in line for line in log.lines())
    assert any("needs a shell" in line and "touch" in line for line in log.lines())


def test_kaldi_folders_of_several_sets(tmp_path):
    layouts.kaldi(tmp_path)
    _, found, _ = imported(tmp_path / "data")
    assert {u.extra["split"] for u in found.values()} == {"train"} and len(found) == 11


def test_webdataset(tmp_path):
    name, found, log = imported(layouts.webdataset(tmp_path))
    assert name == "webdataset" and len(found) == 6
    u = found["0/sample1"]
    assert isinstance(u.audio, Member) and audio.info(u.audio).duration_s == u.duration_s == 2
    assert (u.text, u.speaker) == ("json 1", "s1") and u.extra == {"x": [1], "split": "train"}
    assert found["1/sample2"].text == "text 2" and found["1/sample2"].duration_s is None
    assert counts(log) == {"the sample does not have one audio file": 4}


def test_a_tar_that_is_cut_off_gives_what_is_before_the_damage(tmp_path):
    layouts.webdataset(tmp_path)
    path = tmp_path / "train-000001.tar"
    path.write_bytes(path.read_bytes()[:40_000])
    _, found, log = imported(path)
    assert len(found) == 1 and log.counts["a tar cannot be read to its end"] == 1
    (tmp_path / "train-000000.tar").write_bytes(b"no tar" * 500)
    _, _, log = imported(tmp_path)
    assert log.counts["a tar cannot be read to its end"] == 2


def test_nemo_tars(tmp_path):
    name, found, log = imported(layouts.nemo_tars(tmp_path))
    assert name == "webdataset" and len(found) == 6
    u = found["clips_1_2"]
    assert u.text == "shard 1 2" and u.start_s == 0 and audio.info(u.audio).duration_s == 3
    assert counts(log) == {
        "the audio file does not exist": 1,
        "the tar with the audio is missing": 1,
    }


def test_nemo_manifest(tmp_path):
    name, found, log = imported(layouts.nemo(tmp_path))
    assert name == "table"
    assert {(u.text, u.start_s, u.duration_s, Path(u.audio).name) for u in found.values()} == {
        ("row 0", 0, 2.5, "0.wav"),
        ("row 1", 3, 2.5, "0.wav"),
        ("row 2", 0, 2.5, "1.wav"),
        ("row 3", 3, 2.5, "1.wav"),
        ("moved", 1, 2.5, "1.wav"),
    }
    assert {u.language for u in found.values()} == {"en"}
    assert counts(log) == {
        "no text": 1,
        "the audio file does not exist": 1,
        "a time is not a number of seconds, at least 0": 1,
        "the row cannot be read (columns, quotes or JSON)": 2,
    }


def test_hugging_face_audio_folder(tmp_path):
    name, found, log = imported(layouts.huggingface(tmp_path))
    assert name == "table" and not log.total and len(found) == 4
    u = next(u for u in found.values() if u.audio.endswith("test1.wav"))
    assert u.text == 'He said "test", twice or 1' and u.speaker == "s1"
    assert u.extra == {"split": "test"}


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow", reason="pip install 'asr[parquet]'")
    source = layouts.parquet(tmp_path)
    store = AudioStore(tmp_path / "out/audio")
    name, found, log = imported(source, store=store)
    assert name == "parquet" and len(found) == 8
    assert counts(log) == {"no audio named": 2}
    assert {u.extra["split"] for u in found.values()} == {"train", "validation"}
    lengths = sorted(audio.info(u.audio).duration_s for u in found.values())
    assert lengths == [1, 1, 1, 1, 1, 1, 2, 2]
    assert len(list((tmp_path / "out/audio").iterdir())) == 6
    imported(source)  # without a store nothing is written
    assert not Path("audio").exists()


# ---- tables --------------------------------------------------------------------------------------

HEADERS = [
    ("audio", "text", "speaker"),
    ("Path", "Sentence", "Speaker ID"),
    ("wav_filename", "transcript", "spk"),
    ("Audio File", "Transcription", "reader_id"),
    ("file_name", "normalized_text", "user"),
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_columns_are_found(tmp_path, header, delimiter):
    record(tmp_path / "a.wav")
    path = csv_text(tmp_path, [header, ["a.wav", "hello there", "me"]], delimiter=delimiter)
    _, found, log = imported(path)
    (u,) = found.values()
    assert (u.audio, u.text, u.speaker) == (str(tmp_path / "a.wav"), "hello there", "me")
    assert not log.total


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (("audio", "sentence", "transcript"), "sentence and transcript could both be the text"),
        (("wav", "path", "text"), "wav and path could both be the audio"),
        (("clip", "utterance_words"), "which column is the text"),
        (("x", "y"), "which column is the audio"),
    ],
)
def test_ambiguous_columns_are_named(tmp_path, header, message):
    path = csv_text(tmp_path, [header, ["a.wav" for _ in header]])
    with pytest.raises(UserError, match=message):
        imported(path, "table")


def test_columns_that_the_user_names(tmp_path):
    record(tmp_path / "clips/a.wav")
    path = csv_text(tmp_path, [["x", "sentence", "transcript"], ["a", "no", "yes"]])
    _, found, log = imported(path, columns={"audio": "x", "text": "transcript"})
    assert [u.text for u in found.values()] == ["yes"]
    assert log.notes == ["audio is 'x', text is 'transcript'"]
    with pytest.raises(UserError, match="no column 'y'; the columns are x, sentence, transcript"):
        imported(path, columns={"audio": "y"})


def test_a_table_without_a_header(tmp_path):
    record(tmp_path / "a.wav")
    record(tmp_path / "b.wav")
    write(tmp_path / "t.tsv", "a.wav\thello\nb.wav\tthere\n")
    _, found, _ = imported(tmp_path / "t.tsv")
    assert [u.text for u in found.values()] == ["hello", "there"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path, encoding):
    record(tmp_path / "a.wav")
    write(tmp_path / "t.csv", "audio,text\r\na.wav,größer\r\n", encoding)
    _, found, _ = imported(tmp_path / "t.csv")
    assert found["a"].text == "größer"


def test_latin_1_is_refused(tmp_path):
    record(tmp_path / "a.wav")
    write(tmp_path / "t.csv", "audio,text\na.wav,größer\n", "latin-1")
    with pytest.raises(UserError, match=r"t\.csv: not UTF-8; save it as UTF-8|has no rows"):
        imported(tmp_path / "t.csv")


def test_quotes_in_a_csv(tmp_path):
    for name in "abcd":
        record(tmp_path / f"{name}.wav")
    text = (
        'audio,text\na.wav,"He said ""no"", then"\nb.wav,a "word" inside\nc.wav,one,two\nd.wav,"x\n'
    )
    path = write(tmp_path / "t.csv", text)
    _, found, log = imported(path)
    assert found["a"].text == 'He said "no", then' and found["b"].text == 'a "word" inside'
    assert counts(log) == {"the row cannot be read (columns, quotes or JSON)": 2}
    assert log.examples["the row cannot be read (columns, quotes or JSON)"] == [
        f"{path}:4",
        f"{path}:5",
    ]


def test_quotes_in_a_tsv_are_letters(tmp_path):
    record(tmp_path / "a.wav")
    record(tmp_path / "b.wav")
    write(tmp_path / "t.tsv", 'audio\ttext\na.wav\t"never closed\nb.wav\tnext\n')
    _, found, log = imported(tmp_path / "t.tsv")
    assert [u.text for u in found.values()] == ['"never closed', "next"] and not log.total


@pytest.mark.parametrize(
    ("columns", "cells", "expected"),
    [
        (("start", "end"), ("1.5", "2.25"), (1.5, 0.75)),
        (("start_ms", "end_ms"), ("1500", "2250"), (1.5, 0.75)),
        (("offset", "duration"), ("1.5", "0.75"), (1.5, 0.75)),
        (("begin", "stop"), ("0:01.5", "00:00:02,25"), (1.5, 0.75)),
        (("offset", "length"), ("", "0.75"), (0, 0.75)),
        (("start", "end"), ("2", "1"), None),
        (("start", "end"), ("x", "1"), None),
        (("start", "end"), ("-1", "1"), None),
        (("start", "end"), ("nan", "1"), None),
    ],
)
def test_times(tmp_path, columns, cells, expected):
    record(tmp_path / "a.wav", 3)
    path = csv_text(tmp_path, [["audio", "text", *columns], ["a.wav", "x", *cells]])
    _, found, log = imported(path)
    if expected is None:
        assert not found and log.total == 1
    else:
        (u,) = found.values()
        assert (u.start_s, u.duration_s) == expected


@pytest.mark.parametrize(
    "named", ["a.wav", "a", "clips/a.wav", ".\\clips\\a.wav", "/old/place/a.wav"]
)
def test_where_audio_is_looked_for(tmp_path, named):
    record(tmp_path / "clips/a.wav")
    if named.startswith("/"):
        record(tmp_path / "a.wav")
    path = csv_text(tmp_path, [["audio", "text"], [named, "x"]])
    _, found, _ = imported(path)
    assert [Path(u.audio).name for u in found.values()] == ["a.wav"]


def test_a_root_that_the_user_names(tmp_path):
    record(tmp_path / "far/away/a.wav")
    path = csv_text(tmp_path / "near", [["audio", "text"], ["a.wav", "x"]])
    assert not imported(path)[1]
    assert len(imported(path, audio_root=tmp_path / "far/away")[1]) == 1


def test_one_table_for_each_set(tmp_path):
    for split in ("train", "dev", "test"):
        record(tmp_path / f"{split}.wav")
        write(tmp_path / f"{split}.jsonl", json.dumps({"audio": f"{split}.wav", "text": split}))
    _, found, _ = imported(tmp_path)
    assert {id: u.extra["split"] for id, u in found.items()} == {
        "train": "train",
        "dev": "dev",
        "test": "test",
    }


def test_several_tables_are_an_error_that_names_them(tmp_path):
    record(tmp_path / "a.wav")
    for name in ("one.csv", "two.csv"):
        write(tmp_path / name, "audio,text\na.wav,x\n")
    with pytest.raises(UserError, match=r"several tables \(one\.csv, two\.csv\); give one of them"):
        imported(tmp_path)


def test_our_own_manifest_comes_back(tmp_path):
    record(tmp_path / "a.wav", 3)
    u = manifest.Utterance("u1", str(tmp_path / "a.wav"), 1.0, 1.5, "x y", "s", "de", {"age": 7})
    manifest.write(tmp_path / "m.jsonl", [u])
    assert imported(tmp_path / "m.jsonl")[1] == {"u1": u}


# ---- recognition ---------------------------------------------------------------------------------


def test_what_could_be_two_formats_is_an_error_that_names_them(tmp_path):
    layouts.kaldi(tmp_path)
    source = tmp_path / "data/train"
    record(source / "wavs/LJ001-0001.wav")
    write(source / "metadata.csv", "LJ001-0001|a|b\n")
    with pytest.raises(
        UserError, match=r"could be ljspeech \(.*\) or kaldi \(.*\); name the format"
    ):
        imported(source)
    assert imported(source, "ljspeech")[0] == "ljspeech"


def test_two_kinds_of_text_beside_recordings(tmp_path):
    record(tmp_path / "a.wav")
    write(tmp_path / "a.txt", "hello")
    write(tmp_path / "a.lab", "other")
    with pytest.raises(UserError, match=r"could be txt .* or lab"):
        imported(tmp_path)
    assert imported(tmp_path, "lab")[1]["a"].text == "other"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda at: None, "no such file or folder"),
        (lambda at: at.mkdir(), "a folder without audio and texts"),
        (lambda at: record(at / "a.wav"), "a folder without audio and texts"),
        (lambda at: write(at, "x"), "a file in no format that is known"),
    ],
)
def test_nothing_is_recognized(tmp_path, make, message):
    make(tmp_path / "source")
    with pytest.raises(UserError, match=message):
        imported(tmp_path / "source")


def test_a_format_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="mp3: no such format; choose one of librispeech"):
        imported(tmp_path, "mp3")


def test_no_importer_accepts_an_empty_folder(tmp_path):
    look = Source(tmp_path)
    assert {name: importer.sniff(look) for name, importer in IMPORTERS.items()} == dict.fromkeys(
        IMPORTERS, 0
    )
