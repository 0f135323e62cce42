"""Texts and segmentations beside recordings, compared with libraries that write such files."""

import datetime

import pytest
import srt
import textgrid
import webvtt
from layouts import record, write
from test_importers import counts, imported

from asr.data.importers.elan import read_elan
from asr.data.importers.subtitles import read_subtitles
from asr.data.importers.textgrid import read_textgrid
from asr.errors import UserError


def stretches(found):
    """[(start, end, speaker, text)]"""
    rows = found.values() if isinstance(found, dict) else found
    return [
        (round(u.start_s, 3), round(u.start_s + u.duration_s, 3), u.speaker, u.text) for u in rows
    ]


# ---- a text each ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "text", "expected"),
    [
        (".txt", "hello\n  there \n", "hello there"),
        (".TXT", "hello\r\n", "hello"),
        (".lab", "hello there", "hello there"),
        (".trn", "hello there (spk-001)\n", "hello there"),
        (".trn", "绿 是 阳春\nlv4 shi4 yang2 chun1\nl v4 sh ix4\n", "绿 是 阳春"),
    ],
)
def test_texts(tmp_path, suffix, text, expected):
    record(tmp_path / "a.wav")
    write(tmp_path / f"a{suffix}", text)
    name, found, log = imported(tmp_path)
    assert name == suffix[1:].lower() and found["a"].text == expected and not log.total


def test_names_with_both_suffixes(tmp_path):
    """THCHS-30 has A11_0.wav.trn beside A11_0.wav."""
    record(tmp_path / "a.wav")
    write(tmp_path / "a.wav.trn", "hello")
    assert imported(tmp_path)[1]["a"].text == "hello"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_texts_of_other_programs(tmp_path, encoding):
    record(tmp_path / "a.wav")
    write(tmp_path / "a.txt", "größer", encoding)
    assert imported(tmp_path)[1]["a"].text == "größer"


def test_what_is_left_out(tmp_path):
    for name in "abcde":
        record(tmp_path / f"{name}.wav")
    write(tmp_path / "a.txt", "fine")
    write(tmp_path / "b.txt", " \n")
    write(tmp_path / "c.txt", "größer", "latin-1")
    write(tmp_path / "z.txt", "nobody says this")
    _, found, log = imported(tmp_path)
    assert list(found) == ["a"]
    assert counts(log) == {
        "no text": 1,
        "the text cannot be read": 1,
        "no .txt beside the recording": 2,
        "no recording beside the text": 1,
    }


def test_htk_labels_are_no_transcript(tmp_path):
    record(tmp_path / "a.wav")
    record(tmp_path / "b.wav")
    write(tmp_path / "a.lab", "0 1000000 sil\n1000000 5000000 ah\n")
    write(tmp_path / "b.lab", "words")
    assert counts(imported(tmp_path)[2]) == {"the text cannot be read": 1}


def test_folders_are_sets_speakers_or_nothing(tmp_path):
    for name in ("train/ann/1", "train/ann/wavs/2", "test/bob/1", "audio/3"):
        record(tmp_path / f"{name}.wav")
        write(tmp_path / f"{name}.txt", "x")
    _, found, _ = imported(tmp_path)
    assert {id: (u.speaker, u.extra.get("split")) for id, u in found.items()} == {
        "train/ann/1": ("ann", "train"),
        "train/ann/wavs/2": ("ann", "train"),
        "test/bob/1": ("bob", "test"),
        "audio/3": (None, None),
    }


# ---- segmentations -------------------------------------------------------------------------------


def textgrid_of(tiers, longest=10.0):
    grid = textgrid.TextGrid(maxTime=longest)
    for name, intervals in tiers.items():
        tier = textgrid.IntervalTier(name, maxTime=longest)
        for interval in intervals:
            tier.add(*interval)
        grid.append(tier)
    return grid


SENTENCES = [(0.5, 2.0, 'He said "no"'), (2.5, 4.0, "größer")]


def test_a_textgrid_as_its_library_writes_it(tmp_path):
    record(tmp_path / "a.wav", 10)
    textgrid_of({"sentences": SENTENCES}).write(str(tmp_path / "a.TextGrid"))
    name, found, log = imported(tmp_path)
    assert name == "textgrid" and not log.total
    assert stretches(found) == [(0.5, 2.0, None, 'He said "no"'), (2.5, 4.0, None, "größer")]


SHORT = '''File type = "ooTextFile"
Object class = "TextGrid"

0
10
<exists>
2
"IntervalTier"
"text 1"
0
10
3
0
0.5
""
0.5
2.0
"He said ""no"""
2.0
4
"item [1]: 5 xmin = 3"
"TextTier"
"points"
0
10
1
3.5
"here"
'''


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_short_form(tmp_path, encoding):
    path = write(tmp_path / "a.TextGrid", SHORT, encoding)
    assert [(s.start_s, s.end_s, s.text) for s in read_textgrid(path)] == [
        (0.5, 2.0, 'He said "no"'),
        (2.0, 4.0, "item [1]: 5 xmin = 3"),
    ]


def test_words_and_phones_of_a_forced_aligner(tmp_path):
    words = [(0.1, 0.4, "one"), (0.4, 0.9, "two"), (0.9, 2.0, "sil"), (2.0, 2.5, "three")]
    tiers = {"ann - words": words, "ann - phones": [(0.1, 0.2, "w")], "bob - words": [(3, 4, "x")]}
    textgrid_of(tiers).write(str(tmp_path / "a.TextGrid"))
    found = list(read_textgrid(tmp_path / "a.TextGrid"))
    assert [(s.start_s, s.end_s, s.speaker, s.text) for s in found] == [
        (0.1, 0.9, "ann", "one two"),
        (2.0, 2.5, "ann", "three"),
        (3, 4, "bob", "x"),
    ]


def test_ambiguous_tiers_are_an_error(tmp_path):
    path = tmp_path / "a.TextGrid"
    textgrid_of({"ann": SENTENCES, "translation": SENTENCES[:1]}).write(str(path))
    with pytest.raises(UserError, match="the tiers ann, translation could all be the transcript"):
        list(read_textgrid(path))
    assert len(list(read_textgrid(path, "ann"))) == 2
    with pytest.raises(UserError, match="no interval tier 'x'; the tiers are ann, translation"):
        list(read_textgrid(path, "x"))


@pytest.mark.parametrize("cut", [30, 200, 400])
def test_a_damaged_textgrid_is_left_out(tmp_path, cut):
    record(tmp_path / "a.wav", 10)
    textgrid_of({"sentences": SENTENCES}).write(str(tmp_path / "a.TextGrid"))
    path = tmp_path / "a.TextGrid"
    path.write_bytes(path.read_bytes()[:cut])
    assert counts(imported(tmp_path)[2]) == {"the segments cannot be read": 1}


def test_srt_as_its_library_writes_it(tmp_path):
    def at(seconds):
        return datetime.timedelta(seconds=seconds)

    cues = [
        srt.Subtitle(1, at(0.5), at(2.25), "<i>Hello</i>\nthere"),
        srt.Subtitle(2, at(3), at(4), "[applause]"),
        srt.Subtitle(3, at(3661.5), at(3662), "Late {\\an8}words"),
        srt.Subtitle(4, at(3663), at(3664), "42"),
    ]
    record(tmp_path / "a.mp3", 1)
    write(tmp_path / "a.srt", srt.compose(cues), "utf-8-sig")
    name, found, log = imported(tmp_path)
    assert name == "srt"
    assert stretches(found) == [
        (0.5, 2.25, None, "Hello there"),
        (3661.5, 3662, None, "Late words"),
        (3663, 3664, None, "42"),
    ]
    assert counts(log) == {"no text in the segment": 1} and log.faults == 0


def test_srt_without_blank_lines(tmp_path):
    path = write(
        tmp_path / "a.srt",
        "1\n00:00:01,000 --> 00:00:02,000\none\n2\n00:00:02,000 --> 00:00:03,000\ntwo\n",
    )
    assert [(s.start_s, s.text) for s in read_subtitles(path)] == [(1, "one"), (2, "two")]


def test_webvtt_as_its_library_reads_it(tmp_path):
    path = write(
        tmp_path / "a.vtt",
        "WEBVTT - title\n\nSTYLE\n::cue { color: red }\n\nNOTE a comment\n\n"
        "intro\n00:01.000 --> 00:02.500 align:start\n<v Ann Lee>Hello &amp; good</v> day\n\n"
        "01:00:03.000 --> 01:00:04.000\n<c.loud>bye</c>\n",
    )
    found = list(read_subtitles(path))
    assert [(s.start_s, s.end_s, s.speaker, s.text) for s in found] == [
        (1.0, 2.5, "Ann Lee", "Hello & good day"),
        (3603.0, 3604.0, None, "bye"),
    ]
    theirs = webvtt.read(path)
    assert [c.start_in_seconds for c in theirs] == [1, 3603]


def test_rolling_captions(tmp_path):
    """Captions like YouTube's: each line is repeated in the next cue, and words have times."""
    path = write(
        tmp_path / "a.vtt",
        "WEBVTT\n\n00:00:01.000 --> 00:00:03.000\n \nso<00:00:01.500><c> today</c>\n\n"
        "00:00:03.000 --> 00:00:03.010\nso today\n \n\n"
        "00:00:03.010 --> 00:00:05.000\nso today\nwe<00:00:03.500><c> begin</c>\n\n",
    )
    found = [(s.start_s, s.text) for s in read_subtitles(path)]
    assert found == [(1, "so today"), (3.01, "we begin")]


def test_audacity_labels(tmp_path):
    record(tmp_path / "a.wav", 10)
    lines = ["0.5\t2.0\thello", "\\\t100\t200", "3.0\t3.0\tpoint", "4,5\t5,0\tcomma", "6\t7\t"]
    write(tmp_path / "a.txt", "\n".join(lines) + "\n")
    name, found, log = imported(tmp_path)
    assert name == "audacity"
    assert stretches(found) == [(0.5, 2.0, None, "hello"), (4.5, 5.0, None, "comma")]
    assert counts(log) == {"the segment ends before it starts": 1, "no text in the segment": 1}


EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" FORMAT="3.0">
 <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
  <MEDIA_DESCRIPTOR MEDIA_URL="file:///home/x/talk.wav" RELATIVE_MEDIA_URL="./sounds/talk.wav"/>
 </HEADER>
 <TIME_ORDER>
  <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="500"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2000"/>
  <TIME_SLOT TIME_SLOT_ID="ts3"/><TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="4000"/>
 </TIME_ORDER>
 <TIER TIER_ID="A" PARTICIPANT="Ann">
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
   <ANNOTATION_VALUE>größer</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
 </TIER>
 <TIER TIER_ID="Bob">
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts4">
   <ANNOTATION_VALUE>yes</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
   <ANNOTATION_VALUE>no time</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
 </TIER>
 <TIER TIER_ID="gloss" PARENT_REF="A">
  <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1">
   <ANNOTATION_VALUE>bigger</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
 </TIER>
</ANNOTATION_DOCUMENT>
"""


def test_elan(tmp_path):
    record(tmp_path / "sounds/talk.wav", 10)
    path = write(tmp_path / "interview.eaf", EAF)
    name, found, log = imported(path)  # the recording is the one that the file names
    assert name == "elan"
    assert stretches(found) == [(0.5, 2.0, "Ann", "größer"), (2.0, 4.0, "Bob", "yes")]
    assert counts(log) == {"the segment ends before it starts": 1}
    record(tmp_path / "interview.wav", 10)
    assert {u.audio for u in imported(path)[1].values()} == {str(tmp_path / "interview.wav")}
    with pytest.raises(UserError, match="no tier 'x' on the time line; there are A, Bob"):
        list(read_elan(path, "x"))


@pytest.mark.parametrize(
    "text",
    [
        "not xml",
        EAF[:700],
        '<!DOCTYPE a [<!ENTITY x "y">]><ANNOTATION_DOCUMENT>&x;</ANNOTATION_DOCUMENT>',
    ],
)
def test_a_damaged_or_unsafe_eaf(tmp_path, text):
    path = write(tmp_path / "a.eaf", text)
    with pytest.raises(UserError, match=r"a\.eaf: (not an ELAN file|declares a document type)"):
        list(read_elan(path))


def test_stm(tmp_path):
    record(tmp_path / "calls/a.sph", 10, channels=2)
    write(
        tmp_path / "calls.stm",
        ";; comment\n"
        "a A ann 0.5 2.0 <o,f0,female> hello there\n"
        "a B bob 2.0 3.0 yes\n"
        "a 1 inter_segment_gap 3.0 4.0 <o,,>\n"
        "a 1 ann 4.0 5.0 { a / b }\n"
        "a 1 ann 6.0 5.0 back\n"
        "b 1 ann 4.0 5.0 gone\n",
    )
    record(tmp_path / "a.wav", 10, channels=2)
    name, found, log = imported(tmp_path)
    assert name == "stm"
    assert stretches(found) == [(0.5, 2.0, "ann", "hello there"), (2.0, 3.0, "bob", "yes")]
    assert [u.extra["channel"] for u in found.values()] == [0, 1]
    assert counts(log) == {
        "the stm says not to score it": 1,
        "the line cannot be read": 2,
        "the audio file does not exist": 1,
    }


def test_ctm_words_are_joined_at_pauses(tmp_path):
    record(tmp_path / "a.wav", 10)
    write(
        tmp_path / "a.ctm",
        "a 1 0.5 0.3 there 0.9\na 1 0.1 0.4 hello\na 1 2.0 0.5 again\na 1 x 0.5 bad\n",
    )
    name, found, log = imported(tmp_path / "a.ctm")
    assert name == "ctm"
    assert stretches(found) == [(0.1, 0.8, None, "hello there"), (2.0, 2.5, None, "again")]
    assert counts(log) == {"the line cannot be read": 1}
