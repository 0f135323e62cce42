"""Files of texts in every format are joined by id; every mismatch is reported."""

import json

import pytest

from asr.config import TextConfig
from asr.errors import UserError
from asr.scoring.pairs import empty_texts, pair_files
from asr.scoring.transcript_readers import read_texts, split_by_segments
from asr.scoring.wer import Pair, score, write_results
from asr.text.normalize import NORMALIZATIONS
from asr.transcript import Segment, Transcript, Word, writers


def written(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def read(folder, name, text, role="hypothesis"):
    """{id: text} of a file that is written with this name and content."""
    found = read_texts(written(folder, name, text), role)
    return {text.id: text.text for text in found.texts}


BOTH = {"u1": "one two", "u2": ""}


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("h.txt", "u1\tone two\nu2\t\n", "id, tab, text"),
        ("text", "u1 one two\nu2\n", "Kaldi text"),
        ("hyp", "\nu1   one two\nu2\n\n", "Kaldi text"),
        ("h.trn", "one two (u1)\n(u2)\n", "trn"),
        ("h.tsv", "id\ttext\nu1\tone two\nu2\t\n", "table"),
        ("h.csv", 'id,text\nu1,"one two"\nu2,\n', "table"),
        ("h.jsonl", '{"id": "u1", "text": "one two"}\n\n{"id": "u2", "text": ""}\n', "table"),
        ("h.jsonl", '{"audio": "u1.wav", "text": "one two"}\n{"audio": "u2.wav"}\n', "table"),
        ("h.jsonl", '{"audio_filepath": "u1.wav", "pred_text": "one two", "text": "x"}\n'
                    '{"audio_filepath": "u2.wav", "pred_text": "", "text": "y"}\n', "table"),
    ],
)  # fmt: skip
def test_formats_are_detected_by_name_and_content(tmp_path, name, content, format):
    path = written(tmp_path, name, content)
    found = read_texts(path, "hypothesis")
    assert {text.id: text.text for text in found.texts} == BOTH
    assert found.format == format
    assert str(path) in str(found)


def test_otherwise_each_line_is_an_utterance(tmp_path):
    found = read(tmp_path, "h.txt", "one two\r\n\r\na\tb\u2028c\n")
    assert found == {"1": "one two", "2": "", "3": "a\tb\u2028c"}


def test_a_table_gives_the_columns_of_an_utterance(tmp_path):
    row = {"audio": "a.wav", "text": "one", "speaker": 7, "age": 31, "duration": 2.5}
    found = read_texts(written(tmp_path, "r.jsonl", json.dumps(row)), "reference").texts[0]
    assert found.speaker == "7"
    assert found.columns["age"] == 31
    assert found.columns["duration_s"] == 2.5
    assert found.columns["audio"] == str(tmp_path / "a.wav")
    assert "text" not in found.columns


CTM = """;; file channel start duration word confidence
f A 1.00 0.50 two 0.9
f A 0.10 0.30 one 0.8
g 1 0.00 0.20 three
f B 0.40 0.10 four 1.0
"""


@pytest.mark.parametrize("name", ["h.ctm", "h.txt"])
def test_a_ctm_is_a_text_for_each_file_and_channel_in_order_of_time(tmp_path, name):
    assert read(tmp_path, name, CTM) == {"f_A": "one two", "f_B": "four", "g": "three"}


STM = """;; file channel speaker start end <label> text
f A anna 0.00 2.00 <o,f0,female> one two
f A ben 2.50 4.00 three
f A anna 5.00 6.00 IGNORE_TIME_SEGMENT_IN_SCORING
g A anna 0.00 1.00 four
"""


@pytest.mark.parametrize("name", ["r.stm", "r.txt"])
def test_an_stm_is_a_text_for_each_segment(tmp_path, name):
    found = read_texts(written(tmp_path, name, STM), "reference")
    first = found.texts[0]
    assert [text.text for text in found.texts[:2]] == ["one two", "three"]
    assert (first.id, first.speaker) == ("f_A_0.000", "anna")
    assert first.columns["label"] == "o,f0,female"
    assert first.columns["duration_s"] == 2.0


def test_words_of_a_ctm_fall_into_the_segments_as_in_sclite(tmp_path):
    """A word belongs to the first segment that ends after its middle, or else to the last one."""
    rows = [
        "f A 0.0 0.5 one",
        "f A 1.8 0.3 two",  # middle 1.95: in the first segment, though it ends after it
        "f A 1.9 0.4 gap",  # middle 2.1: between segments, so the next one's
        "f A 2.6 0.5 three",
        "f A 5.2 0.5 noise",
        "f A 9.0 0.5 after",
        "g A 3.0 0.1 four",
    ]
    words = read_texts(written(tmp_path, "h.ctm", "\n".join(rows)), "hypothesis")
    segments = read_texts(written(tmp_path, "r.stm", STM), "reference")
    assert [text.text for text in split_by_segments(words, segments).texts] == [
        "one two",
        "gap three",
        "noise after",
        "four",
    ]
    paired = pair_files(tmp_path / "r.stm", tmp_path / "h.ctm", TextConfig())
    assert score(paired.pairs).words.errors == 1
    assert [str(f) for f in paired.issues] == [
        "1 segments are excluded from scoring by the stm: f_A_5.000"
    ]
    assert not paired.issues[0].is_error
    assert [pair.speaker for pair in paired.pairs] == ["anna", "ben", "anna"]


def test_words_of_a_recording_that_the_stm_does_not_have_are_an_error(tmp_path):
    written(tmp_path, "r.stm", STM)
    written(tmp_path, "h.ctm", "other A 0 1 word\n")
    with pytest.raises(UserError, match=r"h\.ctm: file 'other', channel 'A' has no segment in"):
        pair_files(tmp_path / "r.stm", tmp_path / "h.ctm", TextConfig())


def test_what_asr_transcribe_writes_is_read(tmp_path):
    words = tuple(Word(text, i, i + 0.5, 0.9) for i, text in enumerate(["one", "two"]))
    transcript = Transcript("talks/u1.wav", 3.0, (Segment(0.0, 2.0, words),))
    assert read(tmp_path, "h.jsonl", writers.jsonl(transcript, "u1")) == {"u1": "one two"}
    assert read(tmp_path, "h.ctm", writers.ctm(transcript)) == {"u1": "one two"}


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("h.trn", "one two (u1)\none two\n", r"h\.trn:2: a line of a \.trn must end with \(id\)"),
        ("h.ctm", "f A 0.1 one\n", r"h\.ctm:1: expected file, channel, start, duration, word"),
        ("h.ctm", "f A * * <ALT_BEGIN>\n", r"h\.ctm:1: expected"),
        (
            "h.ctm",
            "f A 0 0 <ALT_BEGIN>\n",
            r"h\.ctm:1: alternatives \(<ALT_BEGIN>\) are not supported",
        ),
        ("h.stm", "f A anna 0.1 one\n", r"h\.stm:1: expected file, channel, speaker"),
        ("h.stm", "f A anna 2 1 one\n", r"h\.stm:1: the segment ends \(1\) before it starts \(2\)"),
        ("h.stm", "f A anna 0 1 { a / b }\n", r"h\.stm:1: alternatives"),
        (
            "h.tsv",
            "id\twords\nu1\tone\n",
            r"no column for the hypothesis: it must be named hypothesis or",
        ),
        ("h.jsonl", '{"text": "one"}\n', r"h\.jsonl:1: no column 'id' or 'audio'"),
        ("h.jsonl", "one\n", r"h\.jsonl:1: not valid JSON"),
    ],
)
def test_malformed_lines_are_named(tmp_path, name, content, complaint):
    with pytest.raises(UserError, match=complaint):
        read_texts(written(tmp_path, name, content), "hypothesis")


@pytest.mark.parametrize("name", ["none.txt", "none.jsonl", "none.ctm"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(UserError, match=rf"{name}: no such file"):
        read_texts(tmp_path / name, "reference")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.txt").write_bytes("é\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt: cannot be read"):
        read_texts(tmp_path / "latin.txt", "reference")


# ---- joined --------------------------------------------------------------------------------------


def paired(folder, reference, hypothesis, config=NORMALIZATIONS["basic"]):
    """Pair two files, each given as (name, content)."""
    files = [written(folder, *file) for file in (reference, hypothesis)]
    return pair_files(*files, config)


def test_files_are_paired_by_id_whatever_their_format_and_order(tmp_path):
    manifest = '{"id": "u1", "audio": "a", "text": "One, two!"}\n{"id": "u2", "audio": "b"}\n'
    found = paired(tmp_path, ("r.jsonl", manifest), ("h.txt", "u2\t\nu1\tone TWO\n"))
    assert found.pairs == [Pair("u1", "one two", "one two"), Pair("u2", "", "")]
    assert [str(issue) for issue in found.issues] == [
        "1 references are empty: u2",
        "1 hypotheses are empty: u2",
    ]


def test_normalization_is_a_choice(tmp_path):
    files = ("r.txt", "u\tOne,  two!\n"), ("h.txt", "u\tone two\n")
    assert score(paired(tmp_path, *files, NORMALIZATIONS["none"]).pairs).wer == 1.0
    assert score(paired(tmp_path, *files, NORMALIZATIONS["basic"]).pairs).wer == 0.0


def test_lines_without_ids_are_paired_by_number(tmp_path):
    found = paired(
        tmp_path, ("r.txt", "one\n\nthree\u2028four\n"), ("h.txt", "one\r\ntwo\r\nthree four\r\n")
    )
    assert found.pairs == [
        Pair("1", "one", "one"),
        Pair("2", "", "two"),
        Pair("3", "three four", "three four"),
    ]


def test_lines_without_ids_are_paired_with_a_table_in_its_order(tmp_path):
    table = ("r.tsv", "id\ttext\tspeaker\nu2\tone\tanna\nu1\ttwo\tben\n")
    found = paired(tmp_path, table, ("h.txt", "one\ntoo\n"))
    assert found.pairs == [Pair("u2", "one", "one", "anna"), Pair("u1", "two", "too", "ben")]
    with pytest.raises(UserError, match=r"h\.txt: has no ids and 1 lines; .*r\.tsv has 2 texts"):
        paired(tmp_path, table, ("h.txt", "one\n"))


def test_a_kaldi_text_under_another_name_is_told_by_the_ids_of_the_other_file(tmp_path):
    table = ("r.tsv", "id\ttext\nu1\tone\nu2\ttwo\n")
    found = paired(tmp_path, table, ("best_wer.txt", "u2 two three\nu1\n"))
    assert found.pairs == [Pair("u1", "one", ""), Pair("u2", "two", "two three")]
    assert "Kaldi text" in found.sources[1]


def test_one_table_can_hold_both(tmp_path):
    made = [Pair("u1", "one", "two", "anna"), Pair("u2", "a", "a", None)]
    write_results(tmp_path, made, score(made))
    file = tmp_path / "hypotheses.jsonl"
    assert pair_files(file, file, NORMALIZATIONS["none"]).pairs == made


def test_a_file_is_not_compared_with_itself(tmp_path):
    file = written(tmp_path, "r.tsv", "id\ttext\nu1\tone\n")
    with pytest.raises(UserError, match=r"r\.tsv: has only one text for each utterance"):
        pair_files(file, file, TextConfig())


def test_references_without_a_hypothesis_are_deletions_and_named(tmp_path):
    full = "".join(f"u{i}\tx\n" for i in range(9))
    found = paired(tmp_path, ("r.txt", full), ("h.txt", "u0\tx\nu1\tx\n"))
    assert score(found.pairs).words.deletions == 7
    missing = found.issues[0]
    assert str(missing) == (
        "7 references have no hypothesis, scored as empty: u2, u3, u4, u5, u6, ..."
    )
    assert missing.is_error
    assert missing.ids == tuple(f"u{i}" for i in range(2, 9))


def test_hypotheses_without_a_reference_are_named(tmp_path):
    found = paired(tmp_path, ("r.txt", "u0\tx\n"), ("h.txt", "u0\tx\nu1\ty\n"))
    assert found.pairs == [Pair("u0", "x", "x")]
    assert [str(f) for f in found.issues] == ["1 hypotheses have no reference, not scored: u1"]
    assert found.issues[0].is_error


def test_the_first_of_duplicate_ids_is_scored(tmp_path):
    found = paired(
        tmp_path,
        ("r.txt", "u1\tone\nu2\ttwo\nu1\tthree\n"),
        ("h.txt", "u1\tone\nu2\ttwo\nu2\ttwo\nu2\tx\n"),
    )
    assert found.pairs == [Pair("u1", "one", "one"), Pair("u2", "two", "two")]
    assert [str(f) for f in found.issues] == [
        "1 references repeat an id, the first is scored: u1",
        "1 hypotheses repeat an id, the first is scored: u2",
    ]
    assert all(issue.is_error for issue in found.issues)


def test_files_with_nothing_in_common_are_an_error(tmp_path):
    with pytest.raises(
        UserError, match=r"h\.txt: none of its ids is in .*r\.txt: it has v1, v2, the other u1"
    ):
        paired(tmp_path, ("r.txt", "u1\tone\n"), ("h.txt", "v1\tone\nv2\ttwo\nv3\t\n"))


def test_texts_that_are_empty_after_normalization_are_reported():
    made = [Pair("a", "", "x"), Pair("b", "x", ""), Pair("c", "x", "x")]
    assert [(f.description, f.ids, f.is_error) for f in empty_texts(made)] == [
        ("references are empty", ("a",), False),
        ("hypotheses are empty", ("b",), False),
    ]
