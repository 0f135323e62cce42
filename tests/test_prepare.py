"""Own recordings -> splits: every source, nothing shared between the parts, nothing lost."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr.data import manifest, prepare
from asr.data.importers import kaldi
from asr.data.manifest import Utterance
from asr.data.split import split as split_utterances
from asr.errors import UserError


def record(path, seconds=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(int(8000 * seconds)), 8000)


@pytest.fixture
def folder(tmp_path):
    for speaker in range(6):
        for i in range(3):
            path = tmp_path / "recordings" / f"speaker{speaker}" / f"{i}.wav"
            record(path, 0.5 + 0.1 * i)
            path.with_suffix(".txt").write_text(f"text {i}\n")
    return tmp_path / "recordings"


def everything(split):
    return split.train + split.dev + split.test


def test_a_folder_is_split_by_speaker(folder, tmp_path):
    split, left_out = prepare.prepare(folder, tmp_path / "out")
    assert left_out == [] and split.by == "speaker"
    assert sorted(u.id for u in everything(split)) == [
        f"speaker{s}/{i}" for s in range(6) for i in range(3)
    ]
    parts = [{u.speaker for u in part} for part in (split.train, split.dev, split.test)]
    assert all(parts) and sum(map(len, parts)) == 6
    read = manifest.read(tmp_path / "out/train.jsonl")
    assert [u.text for u in read] == [u.text for u in split.train]
    assert all(soundfile.info(u.audio).duration == pytest.approx(u.duration_s) for u in read)


def test_what_has_no_text_or_is_no_audio_is_named(folder, tmp_path):
    (folder / "speaker0/1.txt").unlink()
    (folder / "speaker1/0.wav").write_text("not audio")
    (folder / "speaker2/2.txt").write_text(" \n")
    split, left_out = prepare.prepare(folder, tmp_path / "out")
    assert len(everything(split)) == 15 and len(left_out) == 3
    assert any("speaker0/1.wav: no text beside it (1.txt)" in line for line in left_out)
    assert any("speaker1/0.wav: not an audio file" in line for line in left_out)
    assert any("speaker2/2: no text" in line for line in left_out)


def test_a_table_and_a_kaldi_folder_give_the_same(tmp_path):
    rows = ["audio\ttext\tspeaker"]
    kaldi = tmp_path / "kaldi"
    kaldi.mkdir()
    tables = {"wav.scp": [], "text": [], "utt2spk": []}
    for i in range(8):
        record(tmp_path / f"{i}.wav")
        rows.append(f"{i}.wav\ttext {i}\ts{i}")
        for name, value in zip(tables, (tmp_path / f"{i}.wav", f"text {i}", f"s{i}"), strict=True):
            tables[name].append(f"{i} {value}")
    (tmp_path / "table.tsv").write_text("\n".join(rows))
    for name, lines in tables.items():
        (kaldi / name).write_text("\n".join(lines) + "\n")
    a, _ = prepare.prepare(tmp_path / "table.tsv", tmp_path / "a")
    b, _ = prepare.prepare(kaldi, tmp_path / "b")
    assert a == b


def test_kaldi_segments_are_stretches(tmp_path):
    record(tmp_path / "long.wav", 9.0)
    (tmp_path / "wav.scp").write_text(f"rec {tmp_path / 'long.wav'}\n")
    (tmp_path / "text").write_text("".join(f"u{i} text {i}\n" for i in range(3)))
    (tmp_path / "segments").write_text(
        "".join(f"u{i} rec {3 * i} {3 * i + 2.5}\n" for i in range(3))
    )
    found = kaldi.read_kaldi(tmp_path)
    assert [(u.start_s, u.duration_s, u.text) for u in found] == [
        (0, 2.5, "text 0"),
        (3, 2.5, "text 1"),
        (6, 2.5, "text 2"),
    ]
    (tmp_path / "wav.scp").write_text("rec sox in.wav -t wav - |\n")
    with pytest.raises(UserError, match=r"wav\.scp: rec is a command"):
        kaldi.read_kaldi(tmp_path)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from("abcdefgh"), st.floats(0.5, 20)),
        min_size=3,
        max_size=60,
    ),
    st.booleans(),
)
def test_parts_share_nothing_and_lose_nothing(rows, named):
    utterances = [
        Utterance(str(i), "x.wav", 0, seconds, text, f"s{speaker}" if named else None)
        for i, (speaker, text, seconds) in enumerate(rows)
    ]
    try:
        split = split_utterances(utterances, 0.1, 0.1)
    except UserError:
        assert len({u.text for u in utterances}) < 3  # too few to keep apart
        return
    assert sorted(u.id for u in everything(split)) == sorted(u.id for u in utterances)
    keys = [{getattr(u, split.by) for u in part} for part in (split.train, split.dev, split.test)]
    assert all(keys) and not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    assert split_utterances(utterances[::-1], 0.1, 0.1).by == split.by


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: None, "no such file or folder"),
        (lambda f: f.mkdir(), "no audio file in this folder"),
        (lambda f: record(f / "a.wav"), "put the text of a.wav into a.txt"),
    ],
)
def test_nothing_to_prepare(tmp_path, make, message):
    make(tmp_path / "source")
    with pytest.raises(UserError, match=message):
        prepare.prepare(tmp_path / "source", tmp_path / "out")
