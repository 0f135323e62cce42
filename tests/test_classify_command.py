"""`asr classify`, `asr score` and `asr tune` with a classifier; windows, detection, thresholds."""

import itertools
import json

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_classifier import classes, config
from tones import RATE_HZ, TONES_HZ, speak

from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.model.model_file import Model, save_model
from asr.recognition.classification import Classification
from asr.recognition.classifier import Classifier
from asr.recognition.detector import Detection, Detector, DetectorSettings
from asr.recognition.windows import classify_windows, cut, events
from asr.scoring.class_comparison import compare_classes
from asr.scoring.classes import ClassRow, calibration, score_classes
from asr.scoring.detection import equal_error_rate, threshold_for
from asr.scoring.keywords import RATES, StreamWord, _match, score_keywords
from asr.scoring.rejection import calibrate_reject
from asr.scoring.verification import verification_trials
from asr.text.labels import Labels
from asr.training.task import task_of


def tone_model(c) -> Model:
    """A model that is trained on one batch of tones and noise, in memory."""
    torch.manual_seed(0)
    model = Model.build(c, Labels(sorted([*TONES_HZ, "other"])))
    draw = np.random.default_rng(5)
    samples, ids = [], []
    for number in range(80):
        word = sorted([*TONES_HZ, "other"])[number % 4]
        if word == "other":
            one = 0.1 * draw.standard_normal(3000)
        else:
            one = speak([word], draw)
            if number % 8 < 4:  # in noise, as in a window over a street
                street = 0.02 * draw.standard_normal(6400)
                at = int(draw.integers(500, 5900 - len(one)))
                street[at : at + len(one)] += one
                start = int(draw.integers(max(0, at + len(one) - 3200), at))
                one = street[start : start + 3200]
        samples.append(torch.from_numpy(one.astype(np.float32)))
        ids.append(number % 4)
    optimizer = torch.optim.Adam(model.acoustic.parameters(), 0.01)
    padded = torch.nn.utils.rnn.pad_sequence(samples, batch_first=True)
    features, frames = model.features(padded, torch.tensor([len(one) for one in samples]))
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(
            model.acoustic.logits(features, frames), torch.tensor(ids)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.acoustic.eval()
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classify")
    classes(folder, test=18)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    save_model(folder / "tones.asr", tone_model(config(classify={"label": "tone"})))
    return folder / "tones.asr"


@pytest.fixture(scope="module")
def classifier(model):
    return Classifier.load(model, "cpu")


@pytest.fixture(scope="module")
def street(folder):
    """Ten seconds of noise with three words in it, and their (label, time)."""
    draw = np.random.default_rng(2)
    samples = 0.02 * draw.standard_normal(10 * RATE_HZ)
    words = [("low", 2.0), ("high", 5.0), ("mid", 8.0)]
    for word, at_s in words:
        spoken = speak([word], draw)
        samples[round(at_s * RATE_HZ) :][: len(spoken)] += spoken
    soundfile.write(folder / "street.wav", samples, RATE_HZ)
    return folder / "street.wav", words


def test_classify_prints_text_or_json_lines(run, model, folder):
    paths = [u.audio for u in manifest.read(folder / "test.jsonl")[:3]]
    status, out, _ = run("classify", model, *paths, "--top", "2")
    assert status == 0
    names = [line.split("\t")[1] for line in out.splitlines()]
    assert names == ["low", "mid", "high"] and len(out.splitlines()[0].split("\t")) == 4
    status, out, _ = run("classify", model, *paths, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["label"] for row in rows] == names and len(rows[0]["probabilities"]) == 1
    _, out, _ = run("classify", model, paths[0], "--reject", "1")
    assert out.split("\t")[1] == "(none)"


def test_exit_status_of_classify(run, model, folder, model_file):
    good = manifest.read(folder / "test.jsonl")[0].audio
    (folder / "bad.wav").write_bytes(b"not audio")
    status, out, err = run("classify", model, good, folder / "bad.wav")
    assert status == 1 and len(out.splitlines()) == 1 and "1 of 2 could not" in err[-1]
    assert run("classify", model, folder / "bad.wav")[0] == 2
    status, _, err = run("classify", model_file, good)
    assert status == 2 and "transcribes and has no classes" in err[-1]
    status, _, err = run("transcribe", model, good)
    assert status == 2 and "classifies recordings" in err[-1]
    assert run("classify", model, good, "--debounce", "1")[0] == 2
    assert run("classify", model, good, "--hop", "1")[0] == 2


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 400),
    window=st.integers(5, 50),
    share=st.floats(0.1, 1),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=5),
)
def test_windows_cover_the_recording_whatever_the_blocks(count, window, share, sizes):
    samples = np.arange(count, dtype=np.float32)
    hop = max(1, round(window * share))

    def windows(parts):
        return [(s, w.tolist()) for s, w in cut(parts, 1, window, hop)]

    at, blocks = 0, []
    while at < count:
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(samples[at : at + size])
        at += size
    found = windows(blocks)
    assert found == windows([samples])
    assert {value for _, w in found for value in w} == set(samples.tolist())
    assert all(samples[int(start)] == w[0] for start, w in found)


def test_windows_of_a_long_recording_become_events(run, model, classifier, street):
    path, words = street
    found = events(classify_windows(classifier, Utterance("s", str(path)), 0.4, 0.1))
    spoken = [one for one in found if one.label != "other"]
    for label, at_s in words:
        assert any(one.label == label and one.start_s < at_s + 0.2 < one.end_s for one in spoken)
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(found))
    status, out, _ = run("classify", model, path, "--window", "0.4", "--hop", "0.1")
    assert status == 0 and len(out.splitlines()) == len(found)
    with pytest.raises(UserError, match="0 < hop <= window"):
        list(classify_windows(classifier, Utterance("s", str(path)), 0.4, 0.5))


def test_successive_windows_with_the_same_labels_are_one_event():
    def window(label, start_s, p=0.6):
        return Classification({"a": p, "b": 1 - p}, (label,) if label else (), start_s, start_s + 2)

    found = events([window("a", 0), window("a", 1, 0.8), window(None, 2), window("a", 3)])
    assert [(one.start_s, one.end_s) for one in found] == [(0, 3), (3, 5)]
    assert found[0].probabilities["a"] == pytest.approx(0.7)
    found = events([window("a", 0), window("b", 1)])
    assert [(one.label, one.start_s) for one in found] == [("a", 0), ("b", 2)]


SETTINGS = DetectorSettings(window_s=0.4, hop_s=0.05, threshold=0.6)


def test_the_detector_finds_each_word_once_whatever_the_pieces(classifier, street):
    path, words = street
    samples = soundfile.read(path, dtype="float32")[0]

    def detect(size):
        detector = Detector(classifier, RATE_HZ, SETTINGS)
        pieces = [samples[at : at + size] for at in range(0, len(samples), size)]
        found = [one for piece in pieces for one in detector.feed(piece)]
        return [one for one in [*found, *detector.finish()] if one.accepted]

    found = detect(len(samples))
    assert [one.label for one in found] == [label for label, _ in words]
    for one, (_, at_s) in zip(found, words, strict=True):
        assert one.start_s < at_s + 0.3 and one.end_s > at_s
    assert [(o.label, o.start_s) for o in detect(777)] == [(o.label, o.start_s) for o in found]


def test_debounce_and_near_misses(classifier, monkeypatch):
    """The probability of "low" in each window is given here instead of the model's."""

    def detections(values, **changes):
        s = DetectorSettings(0.2, 0.1, smooth=1, threshold=0.5, **{"debounce_s": 0.5} | changes)
        detector = Detector(classifier, RATE_HZ, s)
        rows = [np.array([0.0, value, 0.0, 1 - value]) for value in values]
        monkeypatch.setattr(detector.windows, "_probabilities", lambda w: [rows.pop(0) for _ in w])
        found = detector.feed(np.full(round(0.1 * len(values) * RATE_HZ), 0.1, np.float32))
        return [(one.probability, one.accepted) for one in [*found, *detector._events.report()]]

    assert classifier.labels[1] == "low"
    assert detections([0, 0.6, 0.9, 0.7, 0, 0]) == [(0.9, True)]
    assert detections([0, 0.9, 0, 0.8, 0, 0]) == [(0.9, True)]
    assert detections([0, 0.9, 0, 0.8, 0, 0], debounce_s=0.1) == [(0.9, True), (0.8, True)]
    assert detections([0, 0.45, 0, 0.3, 0]) == [(0.45, False)]
    assert detections([0, 0.45, 0, 0.3, 0], near=0.0) == []


def test_the_rate_of_false_accepts_and_the_recall_of_a_stream(classifier, folder, tmp_path, run):
    words = manifest.read(folder / "test.jsonl")
    draw, speech = np.random.default_rng(1), []
    for number, parts in enumerate((["low", "high"], [])):  # the tones are falsely accepted
        quiet = 0.01 * draw.standard_normal(3 * RATE_HZ).astype(np.float32)
        tones = speak(parts, draw) if parts else np.zeros(0, np.float32)
        soundfile.write(tmp_path / f"{number}.wav", np.concatenate([quiet, tones]), RATE_HZ)
        speech.append(Utterance(str(number), str(tmp_path / f"{number}.wav")))
    s = DetectorSettings(window_s=0.4, hop_s=0.05)
    found = score_keywords(classifier, words, speech[1:], 0.5, s)
    assert found.words == len(words) and found.recall(found.chosen) > 0.8
    assert found.chosen.false_accepts == 0 and not found.accepted
    rates = [found.curve[rate].false_accepts for rate in RATES]
    assert rates == sorted(rates)
    loose = score_keywords(classifier, words, speech, 1e6, s)
    assert loose.chosen.found >= found.chosen.found
    assert loose.chosen.wrong + loose.chosen.found <= len(words)


def test_the_command_scores_a_detector(run, model, folder, tmp_path):
    noise = 0.01 * np.random.default_rng(1).standard_normal(2 * RATE_HZ)
    soundfile.write(tmp_path / "noise.wav", noise, RATE_HZ)
    options = ("--outside", tmp_path / "noise.wav", "--window", "0.4", "--per-hour", "1")
    status, out, err = run("score", model, folder / "test.jsonl", *options, "-o", tmp_path / "s")
    assert status == 0, err
    assert "0 false accepts in 0.00 h" in out and "of 18)" in out
    saved = json.loads((tmp_path / "s/keywords.json").read_text())
    assert saved["words"] == 18 and len(saved["curve"]) == len(RATES)
    status, _, err = run("score", model, folder / "test.jsonl", "--window", "0.4")
    assert status == 2 and "--outside" in err[-1]


def test_words_are_matched_with_detections_that_overlap_them():
    def word(label, start_s):
        return StreamWord(Utterance(label, "a.wav"), label, start_s, start_s + 0.5)

    def heard(label, start_s):
        return Detection(label, start_s, start_s + 0.8, 0.9, True)

    words = [word("a", 1.0), word("b", 2.0), word("b", 3.0)]
    assert _match(words, [heard("a", 0.9), heard("b", 2.9)]) == ([True, False, True], 0)
    assert _match(words, [heard("a", 0.5), heard("a", 1.2)]) == ([True, False, False], 1)
    assert _match(words, [heard("b", 1.0), heard("a", 5.0)]) == ([False, False, False], 2)


def test_stream_prints_detections(run, model, street):
    path, words = street
    arguments = ("--stream", "--window", "0.4", "--hop", "0.05", "--reject", "0.6", "--json")
    status, out, _ = run("classify", model, path, *arguments)
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [row["label"] for row in rows if row["accepted"]] == [label for label, _ in words]


# ---- scores


def row(name, reference, hypothesis, p=0.9, speaker=None):
    names = ["a", "b", "c"]
    rest = (1 - p) / 2
    probabilities = {one: p if one == hypothesis else rest for one in names}
    return ClassRow(name, (reference,), (hypothesis,), probabilities, speaker)


def test_the_figures_of_a_score_by_hand():
    rows = [row("1", "a", "a"), row("2", "a", "b"), row("3", "b", "b"), row("4", "c", "c")]
    score = score_classes(rows)
    assert score.accuracy == 0.75 and score.wrong == 1
    assert score.classes["a"].precision == 1 and score.classes["a"].recall == 0.5
    assert score.classes["b"].precision == 0.5 and score.classes["b"].recall == 1
    assert score.macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert score.confusion == {("a", "a"): 1, ("a", "b"): 1, ("b", "b"): 1, ("c", "c"): 1}
    assert score.calibration_error == pytest.approx(abs(0.9 - 0.75))
    assert score.cross_entropy == pytest.approx(-(3 * np.log(0.9) + np.log(0.05)) / 4)
    low, high = score.interval
    assert low <= 0.25 <= high and score.resampled == "utterances"
    assert calibration(rows)["bins"][0]["words"] == 4


def test_several_labels_and_none():
    both = ClassRow("1", ("a", "b"), ("a",), {"a": 0.9, "b": 0.4})
    none = ClassRow("2", (), (), {"a": 0.1, "b": 0.2})
    score = score_classes([both, none])
    assert score.accuracy == 0.5
    assert score.confusion == {("a", "a"): 1, ("b", ""): 1}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_the_equal_error_rate_lies_between_the_two_rates_at_its_neighbors(trials):
    scores = np.array([score for score, _ in trials])
    target = np.array([is_target for _, is_target in trials])
    if target.all() or not target.any():
        with pytest.raises(UserError, match="needs both"):
            equal_error_rate(scores, target)
        return
    thresholds = [*sorted(scores), np.inf]
    rejected = [(scores[target] < t).mean() for t in thresholds]
    accepted = [(scores[~target] >= t).mean() for t in thresholds]
    found = equal_error_rate(scores, target).rate
    best = min(max(r, a) for r, a in zip(rejected, accepted, strict=True))
    worst = max(min(r, a) for r, a in zip(rejected, accepted, strict=True))
    assert worst - 1e-9 <= found <= best + 1e-9


def test_equal_error_rate_of_separated_and_of_equal_scores():
    groups = [np.arange(20)]
    target = np.arange(20) >= 10
    found = equal_error_rate(np.arange(20.0), target, groups)
    assert found.rate == 0 and found.threshold == 10 and found.interval == (0, 0)
    assert equal_error_rate(np.tile(np.arange(10.0), 2), target).rate == pytest.approx(0.5, abs=0.1)


def test_threshold_for_a_rate_of_false_accepts():
    outside = np.arange(100) / 100
    found = threshold_for(outside, 0.05)
    assert (outside >= found).mean() == 0.05 and (outside >= found - 0.011).mean() > 0.05
    assert (outside >= threshold_for(outside, 0.0)).sum() == 0
    with pytest.raises(UserError, match="below 1"):
        threshold_for(outside, 1.0)


def test_score_prints_and_writes_the_figures(run, model, folder, tmp_path):
    arguments = ("--target", "low", "-o", tmp_path / "s")
    status, out, _ = run("score", model, folder / "test.jsonl", *arguments)
    assert status == 0 and out.startswith("accuracy 100.00% (18 of 18)")
    assert "low: EER 0.00%" in out and "precision" in out
    assert json.loads((tmp_path / "s/score.json").read_text())["accuracy"] == 1
    lines = [json.loads(line) for line in (tmp_path / "s/labels.jsonl").read_text().splitlines()]
    assert lines[0]["labels"] == ["low"] and lines[0]["audio"].endswith("test-0.wav")
    status, _, err = run("score", model, folder / "test.jsonl", "--target", "nothing")
    assert status == 2 and "not one of the classes" in err[-1]
    status, _, err = run("score", model, folder / "test.jsonl", "--decoder", "beam=2")
    assert status == 2 and "the model classifies" in err[-1]


def test_the_report_has_the_sounds_of_the_errors(classifier, folder, tmp_path):
    rows = [
        Utterance(u.id, u.audio, extra={"tone": "low" if i else "<b>high"})
        for i, u in enumerate(manifest.read(folder / "test.jsonl")[:4])
    ]
    task = task_of(classifier.config)
    evaluation = task.evaluate(classifier, rows)
    evaluation.save(tmp_path, "t <1>", classifier.config, {u.id: u for u in rows})
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:audio/ogg") == evaluation.score.wrong == 3
    assert "<b>high" not in page and "t &lt;1&gt;" in page


def test_tune_chooses_a_threshold_that_refuses_other_sounds(run, model, folder, tmp_path):
    draw = np.random.default_rng(8)
    for number in range(10):
        t = np.arange(2400) / RATE_HZ
        samples = 0.3 * np.sin(2 * np.pi * draw.uniform(500, 900) * t)
        (tmp_path / "o").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "o" / f"{number}.wav", samples, RATE_HZ)
    arguments = ("--outside", tmp_path / "o", "--false-accepts", "0.1", "-o", tmp_path / "t.asr")
    status, out, _ = run("tune", model, folder / "test.jsonl", *arguments)
    assert status == 0 and "of 10 others, 1 accepted" in out.splitlines()[1]
    assert Classifier.load(tmp_path / "t.asr").config.classify.reject > 0
    _, _, err = run("tune", model, folder / "test.jsonl", "--lm", tmp_path / "x.npz")
    assert "the model classifies" in err[-1]


def test_without_other_sounds_the_errors_of_dev_are_rejected(classifier, folder):
    rows = [Utterance(u.id, u.audio, extra={"tone": "mid"}) for u in
            manifest.read(folder / "test.jsonl")]  # fmt: skip
    found = calibrate_reject(classifier, rows, [], 0.0)
    assert found.before.right == 6 and found.chosen.known == 18
    assert found.chosen.rejected >= 12


def test_verification_enrols_speakers_and_scores_trials(classifier, folder, run, model):
    rows = [Utterance(u.id, u.audio, speaker=u.extra["tone"]) for u in
            manifest.read(folder / "test.jsonl")]  # fmt: skip
    trials = verification_trials(classifier, rows, enrol=2)
    assert len(trials.scores) == 3 * 4 * 3 and trials.is_target.sum() == 12
    assert trials.equal_error_rate().rate < 0.2
    voice = classifier.enrol([u.audio for u in rows if u.speaker == "low"][:2])
    assert classifier.verify(voice, rows[0].audio) > classifier.verify(voice, rows[1].audio)
    status, out, _ = run("score", model, folder / "test.jsonl", "--verify", "tone", "--enrol", "2")
    assert status == 0 and "verification by tone: EER" in out
    with pytest.raises(UserError, match="speakers have more than 9"):
        verification_trials(classifier, rows, enrol=9)


def test_two_classifiers_are_compared_on_the_same_recordings():
    first = [row(str(i), "a", "a" if i < 6 else "b", speaker=f"s{i % 5}") for i in range(20)]
    second = [row(str(i), "a", "a" if 2 <= i < 18 else "b", speaker=f"s{i % 5}") for i in range(20)]
    found = compare_classes(first, second)
    assert (found.only_first, found.only_second) == (2, 12)
    assert found.accuracy == (0.3, 0.8) and found.difference == pytest.approx(0.5)
    assert found.interval[0] <= 0.5 <= found.interval[1] and found.resampled == "speakers"
    assert found.p == pytest.approx(2 * (1 + 14 + 91) / 2**14)  # binomial, by hand
    assert "second classifier is significantly better" in found.verdict
    same = compare_classes(first, first)
    assert (same.interval, same.p) == ((0.0, 0.0), 1.0) and "No significant" in same.verdict
    with pytest.raises(UserError, match="same references"):
        compare_classes(first, [row(str(i), "b", "b") for i in range(20)])


def test_score_by_a_column_and_against_another_classifier(run, model, folder, tmp_path):
    options = ("--by", "speaker", "--against", model, "-o", tmp_path / "s")
    status, out, err = run("score", model, folder / "test.jsonl", *options)
    assert status == 0, err
    assert "only the first is right: 0, only the second: 0" in out
    saved = json.loads((tmp_path / "s/score.json").read_text())
    assert sorted(saved["by"]["speaker"]) == [f"s{n}" for n in range(7)]
    assert sum(one["recordings"] for one in saved["by"]["speaker"].values()) == 18
    assert saved["against"]["difference"] == 0
    status, _, err = run("score", model, folder / "test.jsonl", "--by", "no", "--target", "low")
    assert status == 2 and "leave out --target" in err[-1]
