"""Each format is read back by an independent parser."""

import csv
import html
import io
import itertools
import json
import tempfile
from pathlib import Path

import pytest
import srt
import textgrid
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.transcript import Segment, Transcript, Word
from asr.transcript.writers import CHARACTERS_PER_S, FORMATS, PAUSE_S
from asr.transcript.writers import srt as write_srt


def transcript_of(*segments, audio="talk.wav", duration_s=None):
    """Segments as lists of (text, start_s, end_s)."""
    made = tuple(
        Segment(words[0][1], words[-1][2], tuple(Word(*word, 0.5) for word in words))
        for words in segments
    )
    if duration_s is None:
        duration_s = max((segment.end_s for segment in made), default=0.0)
    return Transcript(audio, duration_s, made)


TALK = transcript_of(
    [("one", 0.5, 0.9), ("two", 1.0, 1.25)], [("three", 3661.0, 3661.5)], duration_s=3700.0
)
NASTY = transcript_of(
    [
        ('say "hi"', 0.0, 0.5),
        ("line\nbreak", 0.6, 1.0),
        ("R&D", 1.0, 1.5),
        ("<i>", 1.5, 2.0),
        ("-->", 2.0, 2.5),
        ("tab\there", 2.5, 3.0),
    ],
    audio="my talks/first talk.wav",
)
NASTY_TEXT = 'say "hi" line break R&D <i> --> tab here'
EMPTY = Transcript("silence.wav", 2.0, ())
# A word without a length, one inside another, one that begins before its neighbor's end.
ODD_TIMES = transcript_of(
    [("a", 0.0, 0.0), ("b", 0.0, 1.0), ("c", 0.5, 0.5), ("d", 0.2, 0.8), ("e", 0.9, 2.0)]
)


@st.composite
def transcripts(draw):
    """Random transcripts of words in order of time."""
    text = st.text("abc&<>-\"'\né ", min_size=1, max_size=60).filter(str.strip)
    words, at = [], 0
    for _ in range(draw(st.integers(0, 25))):
        at += draw(st.sampled_from([0, 0, 40, 300, 2000]))
        after = at + draw(st.sampled_from([0, 40, 300, 3000]))
        words.append((draw(text), at / 1000, after / 1000))
        at = after
    cuts = sorted(draw(st.sets(st.integers(1, 24), max_size=4)) | {0})
    segments = [words[a:b] for a, b in itertools.pairwise([*cuts, len(words)]) if words[a:b]]
    return transcript_of(*segments)


def tier(written, name, folder):
    """[(start_s, end_s, text)] of all intervals, as the package `textgrid` reads them."""
    path = folder / "a.TextGrid"
    path.write_text(written, encoding="utf-8")
    found = textgrid.TextGrid.fromFile(str(path), name="a").getFirst(name)
    return [(interval.minTime, interval.maxTime, interval.mark) for interval in found]


def one_line(text):
    return " ".join(text.split())


# -- plain text, JSON, tables


def test_text():
    assert FORMATS["txt"](TALK) == "one two\nthree\n"
    assert FORMATS["txt"](NASTY) == NASTY_TEXT + "\n"


def test_json_has_everything():
    for name in ("json", "jsonl"):
        for transcript in (TALK, NASTY, EMPTY, ODD_TIMES):
            assert json.loads(FORMATS[name](transcript)) == json.loads(
                json.dumps(transcript.to_dict())
            )


def test_json_lines_are_lines():
    lines = (FORMATS["jsonl"](NASTY) + FORMATS["jsonl"](EMPTY)).splitlines()
    assert [json.loads(line)["audio"] for line in lines] == [NASTY.audio, EMPTY.audio]


def test_tsv():
    rows = list(csv.DictReader(io.StringIO(FORMATS["tsv"](TALK)), delimiter="\t"))
    assert [row["text"] for row in rows] == ["one two", "three"]
    assert [float(row["end_s"]) for row in rows] == [1.25, 3661.5]
    (row,) = csv.DictReader(
        io.StringIO(FORMATS["tsv"](NASTY)), delimiter="\t", quoting=csv.QUOTE_NONE
    )
    assert row["text"] == NASTY_TEXT


def test_ctm_has_six_fields_whatever_the_names():
    fields = [line.split() for line in FORMATS["ctm"](NASTY).splitlines()]
    assert all(len(row) == 6 and row[:2] == ["first_talk", "1"] for row in fields)
    assert [row[4] for row in fields][:2] == ['say_"hi"', "line_break"]
    assert FORMATS["ctm"](TALK).splitlines()[2] == "talk 1 3661.000 0.500 three 0.5000"
    assert [row.split()[3] for row in FORMATS["ctm"](ODD_TIMES).splitlines()][:2] == [
        "0.000",
        "1.000",
    ]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("txt", ""),
        ("tsv", "start_s\tend_s\ttext\n"),
        ("ctm", ""),
        ("srt", ""),
        ("vtt", "WEBVTT\n"),
    ],
)
def test_empty_transcripts(name, written):
    assert FORMATS[name](EMPTY) == written


# -- subtitles


def read_srt(written):
    """[(start_s, end_s, text)], as the package `srt` reads them strictly."""
    return [
        (cue.start.total_seconds(), cue.end.total_seconds(), cue.content)
        for cue in srt.parse(written, ignore_errors=False)
    ]


def seconds(clock):
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def read_vtt(written):
    """[(start_s, end_s, text)], as the package `webvtt` reads them."""
    return [
        (seconds(cue.start), seconds(cue.end), html.unescape(cue.raw_text))
        for cue in webvtt.WebVTT.from_string(written)
    ]


READERS = {"srt": read_srt, "vtt": read_vtt}


@pytest.mark.parametrize("name", READERS)
def test_subtitles_past_an_hour(name):
    first, second = READERS[name](FORMATS[name](TALK))
    assert first == (0.5, 1.25, "one two")
    assert second == (3661.0, 3661.5, "three")


def test_clock():
    assert "01:01:01,000 --> 01:01:01,500" in FORMATS["srt"](TALK)
    assert "01:01:01.000 --> 01:01:01.500" in FORMATS["vtt"](TALK)


def test_markup_in_subtitles_is_text():
    assert one_line(read_vtt(FORMATS["vtt"](NASTY))[0][2]) == NASTY_TEXT
    assert one_line(read_srt(FORMATS["srt"](NASTY))[0][2]) == NASTY_TEXT.replace("-->", "→")


@settings(derandomize=True, deadline=None, max_examples=100)
@given(transcripts())
def test_subtitles_keep_every_word_in_order_and_do_not_overlap(transcript):
    for name, read in READERS.items():
        cues = read(FORMATS[name](transcript))
        text = one_line(transcript.text)
        if name == "srt":
            text = text.replace("-->", "→")
        assert one_line(" ".join(text for _, _, text in cues)) == text
        times = [time for start, end, _ in cues for time in (start, end)]
        assert times == sorted(times) and all(start < end for start, end, _ in cues)
        for _, _, shown in cues:
            lines = shown.split("\n")
            assert len(lines) <= 2
            assert all(len(line) <= 42 or line in text for line in lines)


def test_a_full_subtitle_is_balanced_and_followed_by_another():
    words = [(f"word{i:02}", i / 2, i / 2 + 0.4) for i in range(14)]
    cues = read_srt(FORMATS["srt"](transcript_of(words)))
    assert [text.split("\n") for _, _, text in cues] == [
        [" ".join(w for w, _, _ in words[a:b]) for a, b in lines]
        for lines in ([(0, 6), (6, 12)], [(12, 14)])
    ]
    (cue,) = read_srt(write_srt(transcript_of(words[:7])))
    assert cue[2] == "word00 word01 word02 word03\nword04 word05 word06"
    assert len(read_srt(write_srt(transcript_of(words), line_characters=13, lines=1))) == 7


def test_a_pause_begins_a_subtitle():
    near = [("a", 0.0, 0.5), ("b", 0.4 + PAUSE_S, 2.0)]
    far = [("a", 0.0, 0.5), ("b", 0.5 + PAUSE_S, 2.0)]
    assert len(read_srt(FORMATS["srt"](transcript_of(near)))) == 1
    assert len(read_srt(FORMATS["srt"](transcript_of(far)))) == 2


def test_a_subtitle_stays_long_enough_to_be_read():
    word = "x" * 34
    (cue,) = read_srt(FORMATS["srt"](transcript_of([(word, 1.0, 1.1)], duration_s=60.0)))
    assert cue[1] - cue[0] == pytest.approx(34 / CHARACTERS_PER_S)
    first, _ = read_srt(FORMATS["srt"](transcript_of([(word, 1.0, 1.1)], [("y", 1.5, 2.0)])))
    assert first[1] == 1.5


# -- TextGrid


def test_textgrid_tiers(tmp_path):
    written = FORMATS["TextGrid"](TALK)
    assert tier(written, "words", tmp_path) == [
        (0, 0.5, ""),
        (0.5, 0.9, "one"),
        (0.9, 1.0, ""),
        (1.0, 1.25, "two"),
        (1.25, 3661.0, ""),
        (3661.0, 3661.5, "three"),
        (3661.5, 3700.0, ""),
    ]
    assert [text for _, _, text in tier(written, "segments", tmp_path)] == [
        "", "one two", "", "three", "",
    ]  # fmt: skip


def test_textgrid_quotes(tmp_path):
    words = [text for _, _, text in tier(FORMATS["TextGrid"](NASTY), "words", tmp_path) if text]
    assert words == ['say "hi"', "line break", "R&D", "<i>", "-->", "tab here"]


@pytest.mark.parametrize("transcript", [EMPTY, Transcript("", 0.0, ())])
def test_textgrid_of_nothing(transcript, tmp_path):
    ((start, end, text),) = tier(FORMATS["TextGrid"](transcript), "words", tmp_path)
    assert (start, text) == (0, "") and end == max(transcript.duration_s, 0.001)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(transcripts())
def test_textgrid_intervals_fill_the_tier_and_keep_every_word(transcript):
    with tempfile.TemporaryDirectory() as folder:
        intervals = tier(FORMATS["TextGrid"](transcript), "words", Path(folder))
    assert intervals[0][0] == 0
    assert all(a[1] == b[0] for a, b in itertools.pairwise(intervals))
    assert all(start < end for start, end, _ in intervals)
    assert one_line(" ".join(text for _, _, text in intervals)) == one_line(transcript.text)


def test_textgrid_corrects_times_that_praat_refuses(tmp_path):
    assert tier(FORMATS["TextGrid"](ODD_TIMES), "words", tmp_path) == [
        (0, 1.0, "a b c d"),
        (1.0, 2.0, "e"),
    ]
