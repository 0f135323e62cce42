"""Manifests: three formats, two sets of column names, and errors that name file:line."""

import json
import os
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.data import manifest
from asr.data.manifest import COLUMNS, SYNONYMS, Utterance
from asr.errors import UserError

ROWS = [
    {"id": "a", "audio": "wav/a.wav", "start_s": 0.5, "duration_s": 2.0, "text": 'say "hi"'},
    {"id": "b", "audio": "wav/b.wav", "start_s": 0.0, "duration_s": 1.25, "text": "שלום"},
]


def written(folder, name, text, encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def complaint(path) -> str:
    with pytest.raises(UserError) as caught:
        manifest.read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("names", ["ours", "nemo"])
def test_all_formats_and_column_names_are_equivalent(tmp_path, names, bom, newline):
    nemo = {ours: theirs for theirs, ours in SYNONYMS.items()} if names == "nemo" else {}
    columns = [nemo.get(key, key) for key in ROWS[0]]
    rows = [dict(zip(columns, row.values(), strict=True)) for row in ROWS]
    tables = {
        "m.jsonl": [json.dumps(row, ensure_ascii=False) for row in rows],
        "m.tsv": ["\t".join(columns)] + ["\t".join(map(str, row.values())) for row in rows],
        "m.csv": [",".join(columns)]
        + [",".join('"' + str(v).replace('"', '""') + '"' for v in row.values()) for row in rows],
    }
    expected = [Utterance(**{**row, "audio": str(tmp_path / row["audio"])}) for row in ROWS]
    for name, lines in tables.items():
        path = written(tmp_path, name, bom + newline.join(lines) + newline)
        assert manifest.read(path) == expected, name


def test_paths_are_relative_to_the_manifest(tmp_path, monkeypatch):
    written(tmp_path, "m.jsonl", '{"audio": "x/a.wav"}\n{"audio": "/elsewhere/b.wav"}\n')
    first, second = manifest.read(tmp_path / "m.jsonl")
    assert first.audio == str(tmp_path / "x/a.wav")
    assert second.audio == "/elsewhere/b.wav"
    monkeypatch.chdir(tmp_path)
    assert manifest.read("m.jsonl")[0].audio == "x/a.wav"


def test_writing_elsewhere_keeps_the_paths_true(tmp_path):
    utterance = Utterance("a", str(tmp_path / "audio/a.wav"), text="x")
    manifest.write(tmp_path / "deep/er/m.jsonl", [utterance])
    assert json.loads((tmp_path / "deep/er/m.jsonl").read_text())["audio"] == "../../audio/a.wav"
    (again,) = manifest.read(tmp_path / "deep/er/m.jsonl")
    assert os.path.normpath(again.audio) == utterance.audio


def test_missing_columns_are_none(tmp_path):
    (utterance,) = manifest.read(written(tmp_path, "m.tsv", "audio\ttext\tspeaker\na.wav\t\t\n"))
    assert utterance == Utterance("a", str(tmp_path / "a.wav"), text="")
    (utterance,) = manifest.read(written(tmp_path, "m.jsonl", '{"audio": "a.wav", "text": null}'))
    assert utterance.text is None
    assert utterance.duration_s is None


def test_ids_come_from_path_and_start_when_not_given(tmp_path):
    rows = '{"audio": "s/a.wav"}\n{"audio": "s/a.wav", "start_s": 1.5}\n{"audio": "t/a.wav"}\n'
    found = manifest.read(written(tmp_path, "m.jsonl", rows))
    assert [utterance.id for utterance in found] == ["s/a", "s/a@1.500", "t/a"]


def test_other_columns_are_kept(tmp_path):
    row = {"audio": "a.wav", "snr": 12.5, "tags": ["x", {"y": 1}], "age": 7}
    (utterance,) = manifest.read(written(tmp_path, "m.jsonl", json.dumps(row)))
    assert utterance.extra == {"snr": 12.5, "tags": ["x", {"y": 1}], "age": 7}
    (utterance,) = manifest.read(written(tmp_path, "m.csv", "audio,age\na.wav,7\n"))
    assert utterance.extra == {"age": "7"}


def test_quotes_in_tsv_are_ordinary_characters(tmp_path):
    path = written(tmp_path, "m.tsv", 'audio\ttext\na.wav\t"so" he said "\nb.wav\t"\n')
    assert [u.text for u in manifest.read(path)] == ['"so" he said "', '"']


def test_numbers_as_texts_and_speakers_become_text(tmp_path):
    row = '{"audio": "a.wav", "id": 7, "text": 42, "speaker": 3}'
    (utterance,) = manifest.read(written(tmp_path, "m.jsonl", row))
    assert (utterance.id, utterance.text, utterance.speaker) == ("7", "42", "3")


@pytest.mark.parametrize(
    ("name", "text", "line", "needles"),
    [
        ("m.jsonl", '{"audio": "a.wav"}\n{"audio": \n', 2, ["not valid JSON"]),
        ("m.jsonl", '{"audio": "a.wav"}\n\n[1]\n', 3, ["expected an object"]),
        ("m.jsonl", '{"id": "a"}\n', 1, ["no column 'audio'"]),
        ("m.jsonl", '{"audio": 7}\n', 1, ["no column 'audio'"]),
        ("m.jsonl", '{"audio": ""}\n', 1, ["no column 'audio'"]),
        ("m.jsonl", '{"audio": "a", "duration": "long"}\n', 1, ["duration_s", "'long'"]),
        ("m.jsonl", '{"audio": "a", "offset": -1}\n', 1, ["start_s", "-1"]),
        ("m.jsonl", '{"audio": "a", "offset": NaN}\n', 1, ["start_s", "nan"]),
        ("m.jsonl", '{"audio": "a", "offset": Infinity}\n', 1, ["start_s", "inf"]),
        ("m.jsonl", '{"audio": "a", "offset": true}\n', 1, ["start_s", "True"]),
        ("m.jsonl", '{"audio": "a", "duration_s": [1]}\n', 1, ["duration_s", "[1]"]),
        ("m.jsonl", '{"audio": "a", "duration_s": 0}\n', 1, ["duration_s is 0"]),
        ("m.jsonl", '{"audio": "a", "text": "\\ud800"}\n', 1, ["surrogate"]),
        ("m.jsonl", '{"audio": "a.wav"}\n{"audio": "a.wav"}\n', 2, ["'a'", "line 1"]),
        ("m.tsv", "audio\tduration_s\na.wav\t1,5\n", 2, ["duration_s", "'1,5'"]),
        ("m.tsv", "audio\ttext\na.wav\n", 2, ["2 columns"]),
        ("m.tsv", "audio\ttext\na.wav\tb\tc\n", 2, ["2 columns"]),
        ("m.tsv", "path\ttext\na.wav\tb\n", 2, ["no column 'audio'"]),
        ("m.csv", 'audio,text\na.wav,"two\nlines"\na.wav,x\n', 4, ["'a'"]),
        ("m.csv", f"audio,text\na.wav,{'x' * 200_000}\n", 2, ["field larger"]),
    ],
)
def test_a_mistake_names_file_and_line(tmp_path, name, text, line, needles):
    path = written(tmp_path, name, text)
    said = complaint(path)
    assert said.startswith(f"{path}:{line}: ")
    for needle in needles:
        assert needle in said


@pytest.mark.parametrize("name", ["m.jsonl", "m.tsv", "m.csv"])
def test_an_empty_manifest_is_an_error(tmp_path, name):
    assert "no such manifest" in complaint(tmp_path / name)
    assert "has no utterances" in complaint(written(tmp_path, name, ""))
    assert "cannot be read" in complaint(written(tmp_path, name, "é\n", "latin-1"))
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert str(tmp_path / name) in complaint(tmp_path / name)


text = st.text(max_size=20)
seconds = st.integers(0, 10**8).map(lambda n: n / 10**4)
extra_keys = st.text(string.ascii_letters + "_é", min_size=1).filter(
    lambda key: key not in COLUMNS and key not in SYNONYMS
)
json_values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
utterances = st.lists(
    st.builds(
        Utterance,
        id=text,
        audio=st.text("abcé /.-", min_size=1).map(lambda name: f"/x/{name}/a.wav"),
        start_s=seconds,
        duration_s=st.none() | seconds.filter(bool),
        text=st.none() | text,
        speaker=st.none() | text,
        language=st.none() | text,
        extra=st.dictionaries(extra_keys, json_values, max_size=3),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda utterance: utterance.id,
)


@given(utterances)
def test_a_written_file_is_read_back(tmp_path_factory, made):
    path = tmp_path_factory.getbasetemp() / "identity.jsonl"
    manifest.write(path, made)
    for again, utterance in zip(manifest.read(path), made, strict=True):
        assert os.path.normpath(again.audio) == os.path.normpath(utterance.audio)
        assert vars(again) | {"audio": ""} == vars(utterance) | {"audio": ""}


def test_a_failure_while_writing_leaves_the_old_manifest(tmp_path):
    path = written(tmp_path, "m.jsonl", '{"audio": "old.wav"}\n')

    def interrupted():
        yield Utterance("new", "new.wav")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        manifest.write(path, interrupted())
    assert path.read_text() == '{"audio": "old.wav"}\n'
    assert os.listdir(tmp_path) == ["m.jsonl"]
