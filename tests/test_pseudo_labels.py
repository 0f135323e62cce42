"""Pseudo-labels: what is kept is sure, and everything else is listed with its reason."""

from itertools import pairwise

import numpy as np
import pytest
import soundfile
from conftest import noise

from asr.data import manifest
from asr.data.manifest import Utterance
from asr.decoder.greedy import GreedyDecoder
from asr.errors import UserError
from asr.recognition.pseudo_labels import agreement_of, confidence_of, pseudo_label
from asr.recognition.recognizer import load
from asr.transcript import Hypothesis, Word


def hypothesis(*words: tuple[str, float]) -> Hypothesis:
    found = tuple(Word(text, 0.0, 0.1, confidence) for text, confidence in words)
    return Hypothesis((), " ".join(word.text for word in found), 0.0, found)


def test_confidence_is_the_mean_of_the_words_and_agreement_counts_edits():
    sure = hypothesis(("turn", 0.9), ("the", 0.5), ("light", 1.0), ("on", 0.8))
    assert confidence_of(sure) == pytest.approx(0.8)
    assert agreement_of(sure, sure) == 1
    assert agreement_of(sure, hypothesis(("turn", 1), ("light", 1), ("off", 1))) == 0.5
    assert agreement_of(hypothesis(("a", 1)), hypothesis(*[("b", 1)] * 5)) == 0
    assert confidence_of(hypothesis()) == agreement_of(hypothesis(), sure) == 0


@pytest.fixture(scope="module")
def recognizer(model_file):
    return load(model_file, "cpu")


def utterances(recordings):
    return [Utterance(p.stem, str(p)) for p in sorted(recordings.glob("*.wav"))]


def test_each_utterance_is_kept_or_left_out_by_its_confidence(recognizer, recordings):
    given = utterances(recordings)
    everything = pseudo_label(recognizer, given, min_confidence=0, min_agreement=0)
    by_id = {u.id: u for u in everything.kept}
    assert len(by_id) == len(given) > 4
    confidences = sorted(u.extra["confidence"] for u in by_id.values())
    middle = (confidences[3] + confidences[4]) / 2
    half = pseudo_label(recognizer, given, min_confidence=middle, min_agreement=0)
    assert {u.id for u in half.kept} == {
        u.id for u in by_id.values() if u.extra["confidence"] >= middle
    }
    assert len(half.kept) == 4
    assert {one.utterance.id for one in half.left_out} == by_id.keys() - {u.id for u in half.kept}
    assert all("confidence" in one.reason for one in half.left_out)
    for u in half.kept:
        assert u.text == recognizer.transcribe(u.audio).text
        assert u.duration_s == pytest.approx(soundfile.info(u.audio).duration)


def test_decodings_that_disagree_are_left_out(recognizer, recordings, monkeypatch):
    given = utterances(recordings)[:3]
    decode = GreedyDecoder.decode
    silent = iter([False, True, False])

    def sometimes_nothing(self, log_probs, frame_s):
        if next(silent):
            return [Hypothesis((), "", 0.0)]
        return decode(self, log_probs, frame_s)

    class Beam:
        def decode(self, log_probs, frame_s):
            return decode(GreedyDecoder(recognizer.tokenizer.pieces), log_probs, frame_s)

    monkeypatch.setattr(GreedyDecoder, "decode", sometimes_nothing)
    monkeypatch.setattr(recognizer, "decoder", Beam())
    found = pseudo_label(recognizer, given, min_confidence=0)
    assert len(found.kept) == 2
    assert [one.reason for one in found.left_out] == ["agreement 0.00 is below 0.85"]


def test_long_recordings_are_cut_at_their_pauses(recognizer, tmp_path):
    rng = np.random.default_rng(0)
    speech = np.concatenate([noise(5.0, 1), 1e-4 * rng.standard_normal(16000)])
    path = tmp_path / "long.wav"
    soundfile.write(path, np.tile(speech, 13), 16000)
    found = pseudo_label(
        recognizer, [Utterance("long", str(path))], min_confidence=0, min_agreement=0, vad="energy"
    )
    ends = [(u.start_s, u.start_s + u.duration_s) for u in found.kept]
    assert len(ends) > 2 and ends == sorted(ends)
    assert all(end <= begin + 1e-6 for (_, end), (begin, _) in pairwise(ends))
    assert ends[-1][1] <= 78 and [u.id for u in found.kept][:2] == ["long-1", "long-2"]


def test_the_command_writes_both_manifests(run, model_file, recordings, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    out = tmp_path / "out"
    status, printed, _ = run(
        "pseudo-label", model_file, recordings, broken, "-o", out, "--device", "cpu",
        "--min-confidence", "0", "--min-agreement", "0",
    )  # fmt: skip
    assert status == 0 and "8 of 9 utterances" in printed
    assert len(manifest.read(out / "manifest.jsonl")) == 8
    (left,) = manifest.read(out / "left-out.jsonl")
    assert left.id == "broken" and "broken.wav" in left.extra["reason"]


def test_nothing_sure_is_an_error_that_says_what_to_lower(run, model_file, recordings, tmp_path):
    status, _, err = run(
        "pseudo-label", model_file, recordings, "-o", tmp_path, "--min-confidence", "1"
    )
    assert status == 2 and "lower --min-confidence" in err[-1]


def test_thresholds_outside_0_to_1_are_refused(recognizer):
    with pytest.raises(UserError, match=r"min_confidence: 1\.5 is outside 0 to 1"):
        pseudo_label(recognizer, [], min_confidence=1.5)
