"""Segmentation: a recording and its text give utterances with times and scores."""

import json

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from asr.cli import app
from asr.config import Config, TextConfig
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.model.model_file import Model, save_model
from asr.recognition import alignment, recognizer
from asr.text.tokenizer import BLANK, CharacterTokenizer

LETTERS = CharacterTokenizer(list("abcdefghijklmnopqrstuvwxyz"))
FRAME_S = 0.04
BOOK = [
    "it was the best of times",
    "it was the worst of times",
    "it was the age of wisdom",
    "it was the age of foolishness",
    "we had everything before us",
    "we had nothing before us",
]


def emissions_of(spoken, rng):
    """Peaky emissions of sentences with pauses, and the first and last frame of each sentence.

    One frame in ten with a letter has a wrong letter.
    """
    best, places = [], []
    for sentence in spoken:
        best += [BLANK] * int(rng.integers(10, 40))
        first = len(best)
        for token in LETTERS.encode(sentence):
            heard = token if rng.random() > 0.1 else int(rng.integers(1, len(LETTERS.pieces)))
            best += [heard] * int(rng.integers(1, 3)) + [BLANK] * int(rng.integers(1, 3))
        places.append((first, len(best)))
    best += [BLANK] * 30
    log_probs = rng.normal(size=(len(best), len(LETTERS.pieces)))
    log_probs[np.arange(len(best)), best] += 9
    log_probs -= np.log(np.exp(log_probs).sum(axis=1, keepdims=True))
    return log_probs.astype(np.float32), places


def near(match, place):
    """Whether a match is within the margin and a few frames of its true place."""
    slack_s = alignment.MARGIN_S + 0.2
    return (
        abs(match.start_s - place[0] * FRAME_S) < slack_s
        and abs(match.end_s - place[1] * FRAME_S) < slack_s
    )


@pytest.mark.parametrize("seed", range(3))
def test_every_sentence_is_found(seed):
    log_probs, places = emissions_of(BOOK, np.random.default_rng(seed))
    matches = alignment.segment(log_probs, BOOK, LETTERS, FRAME_S)
    assert [match.text for match in matches] == BOOK
    assert all(near(match, place) for match, place in zip(matches, places, strict=True))
    for match in matches:
        assert " ".join(word.text for word in match.words) == match.text
        assert match.start_s <= match.words[0].start_s and match.words[-1].end_s <= match.end_s
        assert match.score <= 0
    times = [time for match in matches for time in (match.start_s, match.end_s)]
    assert times == sorted(times) and 0 <= times[0] and times[-1] <= len(log_probs) * FRAME_S


@pytest.mark.parametrize("seed", range(3))
def test_speech_without_text_does_not_shift_neighbors(seed):
    log_probs, places = emissions_of(BOOK, np.random.default_rng(seed))
    written = [1, 2, 5]
    matches = alignment.segment(log_probs, [BOOK[i] for i in written], LETTERS, FRAME_S)
    full = alignment.segment(log_probs, BOOK, LETTERS, FRAME_S)
    for match, i in zip(matches, written, strict=True):
        assert near(match, places[i]) and match.score == pytest.approx(full[i].score, abs=0.5)


@pytest.mark.parametrize("seed", range(3))
def test_text_without_speech_scores_lowest(seed):
    log_probs, places = emissions_of(BOOK, np.random.default_rng(seed))
    text = [*BOOK[:3], "call me ishmael some years ago", *BOOK[3:]]
    matches = alignment.segment(log_probs, text, LETTERS, FRAME_S)
    scores = [match.score for match in matches]
    real = [match for match in matches if match.text in BOOK]
    assert scores[3] < 1.5 * min(match.score for match in real)
    assert sum(near(match, place) for match, place in zip(real, places, strict=True)) >= 5


def test_one_wrong_word_lowers_the_score_of_a_long_sentence():
    rng = np.random.default_rng(0)
    said = " ".join(BOOK)
    log_probs, _ = emissions_of([said], rng)
    (right,) = alignment.segment(log_probs, [said], LETTERS, FRAME_S)
    wrong_text = said.replace("everything", "absolutely")
    (wrong,) = alignment.segment(log_probs, [wrong_text], LETTERS, FRAME_S)
    assert wrong.score < 1.5 * right.score


def test_a_wildcard_inside_a_sentence_does_not_count():
    log_probs, _ = emissions_of([BOOK[0]], np.random.default_rng(1))
    (plain,) = alignment.segment(log_probs, [BOOK[0]], LETTERS, FRAME_S)
    (starred,) = alignment.segment(log_probs, ["it was * of times"], LETTERS, FRAME_S)
    assert "*" in [word.text for word in starred.words]
    assert starred.score > plain.score - 1


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        (["good", "  "], r"sentence 2 \('  '\): nothing to align"),
        (["*"], "sentence 1 .* nothing to align"),
        (["good", "größe"], r"sentence 2 \('größe'\): characters outside the alphabet: 'ö'"),
        (["x" * 40], "40 tokens need at least 79 frames, the emissions have 50"),
    ],
)
def test_what_cannot_be_found_is_said(sentences, message):
    log_probs = np.full((50, len(LETTERS.pieces)), -3.3, np.float32)
    with pytest.raises(ValueError, match=message):
        alignment.segment(log_probs, sentences, LETTERS, FRAME_S)


# -- files


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    torch.manual_seed(0)
    config = Config(
        name="untrained",
        features={"rate_hz": 8000, "n_mels": 20, "cmvn": "none"},
        model={"preset": "tiny", "hidden": 16, "layers": 1, "channels": 4},
    )
    path = tmp_path_factory.mktemp("model") / "untrained.asr"
    save_model(path, Model.build(config, LETTERS))
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """25 s of noise."""
    path = tmp_path_factory.mktemp("audio") / "a talk.wav"
    noise = np.random.default_rng(0).normal(scale=0.1, size=25 * 8000)
    soundfile.write(path, noise, 8000)
    return path


def test_pieces_with_context_are_the_emissions_of_the_whole(model_file, recording, monkeypatch):
    monkeypatch.setattr(alignment, "PIECE_S", 10.0)  # three of them
    loaded = recognizer.load(model_file, "cpu")
    (whole,) = loaded.emissions([soundfile.read(recording, dtype="float32")[0]]).rows()
    pieces, duration_s = alignment.long_emissions(loaded, Utterance("talk", str(recording)))
    assert duration_s == 25 and pieces.shape == whole.shape
    # The context is longer than what this untrained network remembers.
    np.testing.assert_allclose(pieces, whole, atol=1e-3)
    stretch, duration_s = alignment.long_emissions(
        loaded, Utterance("talk", str(recording), start_s=4.0, duration_s=21.0)
    )
    assert duration_s == 21 and abs(len(stretch) - 21 / loaded.frame_s) <= 1


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_align_writes_annotations_and_a_corpus(model_file, recording, tmp_path):
    text = tmp_path / "talk.txt"
    text.write_text("It was the best of times,\n\n* * *\nit was * the worst of times.\n")
    result = run("align", model_file, recording, text, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a talk.TextGrid",
        "a talk.ctm",
        "a talk.json",
        "manifest.jsonl",
    ]
    first, second = manifest.read(tmp_path / "out" / "manifest.jsonl")
    assert first.text == "It was the best of times," and first.extra["score"] < 0
    assert (tmp_path / "out" / first.audio).resolve() == recording.resolve()
    assert first.start_s + first.duration_s <= second.start_s + 1e-3
    written = json.loads((tmp_path / "out" / "a talk.json").read_text())
    assert written["segments"][0]["words"][0]["text"] == "it"
    ctm = (tmp_path / "out" / "a talk.ctm").read_text().splitlines()
    assert all(line.startswith("a_talk 1 ") for line in ctm) and len(ctm) >= 12


def test_align_takes_a_manifest_and_continues_after_a_failure(model_file, recording, tmp_path):
    rows = [
        Utterance("good", str(recording), 1.0, 20.0, "we had nothing before us", "ann"),
        Utterance("short", str(recording), 1.0, 0.2, "we had everything before us"),
        Utterance("silent", str(recording), 2.0, 3.0),
        Utterance("gone", str(tmp_path / "gone.wav"), 0.0, None, "we had"),
    ]
    manifest.write(tmp_path / "rows.jsonl", rows)
    result = run("align", model_file, tmp_path / "rows.jsonl", "-o", tmp_path / "out")
    assert result.exit_code == 1
    (kept,) = manifest.read(tmp_path / "out" / "manifest.jsonl")
    assert (kept.id, kept.text, kept.speaker) == ("good", rows[0].text, "ann")
    assert 1.0 <= kept.start_s and kept.start_s + kept.duration_s <= 21.0
    assert (tmp_path / "out" / "good.TextGrid").is_file()
    assert "27 tokens need at least 27 frames" in result.output
    assert "silent: no text" in result.output and "gone.wav" in result.output


def test_min_score_filters_the_manifest(model_file, recording, tmp_path):
    text = tmp_path / "talk.txt"
    text.write_text("it was the best of times\n")
    result = run(
        "align", model_file, recording, text, "-o", tmp_path / "out", "--min-score", "-0.01"
    )
    assert result.exit_code == 0 and "0 of 1 sentences" in result.output
    assert (tmp_path / "out" / "manifest.jsonl").read_text() == ""
    (left_out,) = manifest.read(tmp_path / "out" / "left_out.jsonl")
    assert left_out.text == "it was the best of times" and left_out.extra["score"] < -0.01
    assert "1 are left out, the worst first" in " ".join(result.output.split())
    run("align", model_file, recording, text, "-o", tmp_path / "out")
    assert not (tmp_path / "out" / "left_out.jsonl").exists()


def test_text_files_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match="no such text file"):
        alignment.read_sentences(tmp_path / "none.txt", TextConfig())
    (tmp_path / "dots.txt").write_text("...\n\n* * *\n")
    with pytest.raises(UserError, match="no line has a letter"):
        alignment.read_sentences(tmp_path / "dots.txt", TextConfig())
    (tmp_path / "latin.txt").write_bytes("größe".encode("latin-1"))
    with pytest.raises(UserError, match="cannot be read as UTF-8"):
        alignment.read_sentences(tmp_path / "latin.txt", TextConfig())
