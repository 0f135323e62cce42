"""The report has the figures of the score, needs no other file, and runs no foreign code."""

import base64
import io
import json
import os
import re

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from asr.cli import app
from asr.cli.scoring import Analysis
from asr.cli.scoring import score as score_command
from asr.data.manifest import Utterance, write
from asr.scoring import report
from asr.scoring.report import calibration, write_report
from asr.scoring.wer import Pair, score, write_results
from asr.transcript import Word

EVIL = '</script><img src=x onerror="document.title=1"><!--'


def data_of(page: str) -> dict:
    (inside,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(inside)


def sound_of(row: dict) -> np.ndarray:
    kind, _, sound = row["source"].partition(",")
    assert kind == "data:audio/ogg;base64"
    return soundfile.read(io.BytesIO(base64.b64decode(sound)))[0]


def rows_and_sound(folder) -> list:
    """Ogg numbers its streams at random, so the sound is compared and not its file; groups are
    those of one command's --by."""
    rows = data_of((folder / "report.html").read_text())["utterances"]
    return [row | {"source": sound_of(row).tolist(), "groups": {}} for row in rows]


@pytest.fixture
def scored(model_file, recordings, tmp_path):
    texts = ["bad cab", "ace", "a b c", "egg"] * 2
    rows = [
        Utterance(path.stem, str(path), text=text, speaker=f"s{i % 2}")
        for i, (path, text) in enumerate(zip(sorted(recordings.glob("*.wav")), texts, strict=True))
    ]
    write(tmp_path / "test.jsonl", rows)
    score_command(
        model_file,
        tmp_path / "test.jsonl",
        analysis=Analysis(by=["speaker"]),
        output=tmp_path / "out",
    )
    return tmp_path / "out"


def test_the_page_holds_what_the_json_does(scored):
    found = json.loads((scored / "report.json").read_text())
    page = (scored / "report.html").read_text()
    inside = data_of(page)
    figures = json.loads((scored / "score.json").read_text())
    assert found["figures"] == inside["figures"] == figures
    assert len(found["utterances"]) == len(inside["utterances"]) == figures["utterances"] == 8
    assert sum(row["errors"] for row in found["utterances"]) == sum(
        figures["words"][kind] for kind in ("substitutions", "deletions", "insertions")
    )
    assert "<!--" not in page.replace("<!doctype", "") and "model" in page
    # Nothing is loaded from elsewhere.
    assert not re.findall(r'(?:src|href)="(?!#)', page) and "@import" not in page


def test_utterances_tell_the_groups_of_the_tables(scored):
    found = json.loads((scored / "report.json").read_text())
    speakers = [row["groups"] for row in found["utterances"]]
    assert speakers == [{"speaker": "s0"}, {"speaker": "s1"}] * 4
    assert [*found["figures"]["by"]["speaker"]] == ["s0", "s1"]


def test_words_have_their_times_and_the_audio_is_inside(scored, recordings):
    inside = data_of((scored / "report.html").read_text())
    timed = [s for row in inside["utterances"] for s in row["steps"] if s[1] is not None]
    assert timed
    assert [s for s in timed if not (0 <= s[2] <= s[3] and 0 <= s[4] <= 1)] == []
    wrong = [row for row in inside["utterances"] if row["errors"]]
    assert wrong
    for row in wrong:
        duration_s = soundfile.info(recordings / f"{row['id']}.wav").duration
        assert len(sound_of(row)) / report.RATE_HZ == pytest.approx(duration_s, abs=0.05)


def test_files_that_are_not_inside_are_linked(tmp_path, recordings, monkeypatch):
    monkeypatch.setattr(report, "EMBEDDED", 0)
    path = recordings / "r0.wav"
    pairs = [Pair("a", "one", "two")]
    utterances = {"a": Utterance("a", str(path), start_s=0.2)}
    words = {"a": [Word("two", 0.3, 0.5, 0.9)]}
    page = write_report(tmp_path / "out", "t", pairs, score(pairs).to_dict(), utterances, words)
    (row,) = data_of(page.read_text())["utterances"]
    source, _, start = row["source"].partition("#")
    assert (tmp_path / "out" / source).resolve() == path.resolve() and start == "t=0.2"
    assert row["source_start_s"] == 0.0 and row["steps"] == [["one", "two", 0.3, 0.5, 0.9]]


def test_missing_audio_leaves_the_texts(tmp_path):
    pairs = [Pair("a", "one", "")]
    gone = {"a": Utterance("a", str(tmp_path / "gone.wav"))}
    page = write_report(tmp_path, "t", pairs, score(pairs).to_dict(), gone)
    assert data_of(page.read_text())["utterances"][0]["steps"] == [["one", None, None, None, None]]


def test_nothing_from_outside_is_html(tmp_path):
    pairs = [Pair(EVIL, f"one {EVIL}", EVIL, speaker=EVIL)]
    page = write_report(tmp_path, EVIL, pairs, score(pairs).to_dict()).read_text()
    assert "<img" not in page and page.count("</script>") == 2
    assert data_of(page)["utterances"][0]["id"] == EVIL


def test_texts_alone_have_a_report_too(tmp_path):
    (tmp_path / "ref.txt").write_text("a one two\nb three\n")
    (tmp_path / "hyp.txt").write_text("a one too\nb three\n")
    score_command(tmp_path / "ref.txt", tmp_path / "hyp.txt", output=tmp_path / "out")
    inside = data_of((tmp_path / "out/report.html").read_text())
    assert inside["calibration"] is None
    assert [row["errors"] for row in inside["utterances"]] == [1, 0]
    assert "source" not in inside["utterances"][0]


def test_a_folder_keeps_times_and_confidences(scored):
    before = data_of((scored / "report.html").read_text())
    score_command(scored, output=scored.parent / "again")
    after = data_of((scored.parent / "again/report.html").read_text())
    assert before["calibration"] == after["calibration"] is not None
    assert [row["steps"] for row in before["utterances"]] == [
        row["steps"] for row in after["utterances"]
    ]
    kept = (scored.parent / "again/hypotheses.jsonl").read_text()
    assert kept == (scored / "hypotheses.jsonl").read_text()


@pytest.mark.parametrize("to", ["out", "elsewhere/again"])
def test_a_folder_finds_the_recordings_again(scored, to):
    """This also works after the page was overwritten, and from another folder."""
    before = rows_and_sound(scored)
    score_command(scored, output=scored.parent / to)
    score_command(scored.parent / to, output=scored.parent / to)
    assert rows_and_sound(scored.parent / to) == before


def test_recordings_are_linked_from_where_the_later_report_is(scored, recordings, monkeypatch):
    monkeypatch.setattr(report, "EMBEDDED", 0)
    score_command(scored, output=scored.parent / "else/where")
    rows = data_of((scored.parent / "else/where/report.html").read_text())["utterances"]
    found = {(scored.parent / "else/where" / row["source"]).resolve() for row in rows}
    assert found == {path.resolve() for path in recordings.glob("*.wav")}


def test_missing_recordings_are_counted_and_named(scored, tmp_path):
    lines = [json.loads(line) for line in (scored / "hypotheses.jsonl").read_text().splitlines()]
    lines[1]["audio"] += ".gone"
    del lines[3]["audio"]  # as folders were before recordings were kept in them
    (scored / "hypotheses.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    done = CliRunner().invoke(app, ["score", str(scored), "-o", str(scored)])
    said = "recordings were not found and are not in the report"
    assert done.exit_code == 0 and f"2 {said}: r1, r3\n" in done.stderr
    page = data_of((scored / "report.html").read_text())
    assert [row["id"] for row in page["utterances"] if not row.get("source")] == ["r1", "r3"]
    assert page["figures"]["issues"] == [
        {"description": said, "ids": ["r1", "r3"], "is_error": False}
    ]
    quiet = CliRunner().invoke(app, ["score", str(scored)])
    assert "not found" not in quiet.stderr


def test_texts_of_a_manifest_have_its_recordings(scored, recordings):
    rows = [json.loads(line) for line in (scored / "hypotheses.jsonl").read_text().splitlines()]
    heard = "".join(f"{row['id']}\t{row['hypothesis']}\n" for row in rows)
    (scored.parent / "heard.tsv").write_text("id\ttext\n" + heard)
    texts = scored.parent / "heard.tsv", scored.parent / "texts"
    score_command(scored.parent / "test.jsonl", texts[0], output=texts[1])
    page = data_of((texts[1] / "report.html").read_text())
    assert all(row["source"] for row in page["utterances"])


def test_a_recording_whose_name_is_no_text_is_not_kept(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/r\xff.wav")
    pairs = [Pair("a", "one", "two")]
    write_results(tmp_path, pairs, score(pairs), None, None, {"a": Utterance("a", path)})
    assert "audio" not in json.loads((tmp_path / "hypotheses.jsonl").read_text())
    score_command(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        3,
        ["two"],
        [{"text": "two"}],
        [{"text": "two", "start_s": float("nan"), "end_s": 1, "confidence": 0.5}],
        [{"text": "two", "start_s": 2, "end_s": 1, "confidence": 0.5}],
        [{"text": "two", "start_s": 0, "end_s": 1, "confidence": 7}],
    ],
)
def test_a_column_of_this_name_that_is_no_words_is_left_alone(tmp_path, words):
    row = {"id": "a", "reference": "one", "hypothesis": "two", "words": words}
    (tmp_path / "in").mkdir()
    (tmp_path / "in/hypotheses.jsonl").write_text(json.dumps(row) + "\n")
    score_command(tmp_path / "in", output=tmp_path / "out")
    inside = data_of((tmp_path / "out/report.html").read_text())
    assert inside["utterances"][0]["steps"] == [["one", "two", None, None, None]]


def test_confusions_are_there_whatever_was_printed(tmp_path):
    pairs = [Pair("a", "one two", "won two too")]
    page = write_report(tmp_path, "t", pairs, score(pairs).to_dict())
    assert data_of(page.read_text())["confusions"] == {
        "substitutions": [["one", "won", 1]],
        "deletions": [],
        "insertions": [["too", 1]],
    }


def test_calibration():
    def step(right, confidence):
        return ["a", "a" if right else "b", 0.0, 1.0, confidence]

    rows = [
        {"steps": [step(True, 0.95), step(False, 0.95), step(True, 0.15), ["a", None, *[None] * 3]]}
    ]
    found = calibration(rows)
    assert found["words"] == 3
    assert found["bins"] == [
        {"words": 1, "confidence": 0.15, "right": 1.0},
        {"words": 2, "confidence": 0.95, "right": 0.5},
    ]
    assert found["expected_error"] == pytest.approx((0.85 + 2 * 0.45) / 3)
    assert calibration([{"steps": [["a", "a", None, None, None]]}]) is None
