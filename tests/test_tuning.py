"""Tuning: on a model that trains in seconds, and on emissions whose best settings are known."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from asr.cli import app
from asr.config import DecoderConfig
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.decoder.beam import BeamDecoder
from asr.decoder.confidence import calibration, logit
from asr.decoder.emissions import divided_by_prior
from asr.errors import UserError
from asr.lm.ngram import NGram
from asr.model.model_file import Model, load_model, save_model
from asr.plotting import figures
from asr.recognition.decoding import build_decoder
from asr.recognition.recognizer import Recognizer, load
from asr.recognition.transcribe import emissions_of_many
from asr.scoring.evaluate import evaluate
from asr.scoring.tuning import GREEDY, UNKNOWN_SCORES, DevSet, apply, tune, unknown_words
from asr.scoring.wer import wer

FRAME_S = 0.04


@pytest.fixture(scope="module")
def model(model_file) -> Model:
    return load_model(model_file)


@pytest.fixture(scope="module")
def dev(recordings, model) -> list[Utterance]:
    """Recordings whose texts are the outputs of the model without their first letters."""
    recognizer = Recognizer(model, "cpu")
    found = []
    for path in sorted(recordings.glob("*.wav")):
        said = recognizer.transcribe(path).text
        found.append(Utterance(path.stem, str(path), text=said[1:], speaker="anna"))
    return found


@pytest.fixture(scope="module")
def made(model, dev) -> DevSet:
    return DevSet(Recognizer(model, "cpu"), dev)


@pytest.fixture(scope="module")
def with_lm(model, dev) -> Model:
    return replace(model, ngram=NGram.estimate([u.text for u in dev[:6]], order=2))


@pytest.fixture(scope="module")
def tuned(with_lm, made):
    return tune(with_lm, made)


def test_emissions_are_those_of_recognition(model, dev, made):
    recognizer = Recognizer(model, "cpu")
    for row, (_, emitted) in zip(made.rows, emissions_of_many(recognizer, dev), strict=True):
        assert np.array_equal(row, emitted)
    assert sum(map(len, made.rows)) > 100


def test_greedy_is_what_score_prints(model, dev, tuned):
    expected = evaluate(Recognizer(model, "cpu"), dev).score
    assert tuned.trials[0].decoder == GREEDY
    assert tuned.scores[0] == expected


def test_the_model_file_has_the_chosen_settings(tuned, with_lm, dev, tmp_path):
    assert tuned.chosen.decoder.beam > 1
    assert tuned.chosen.words.errors < tuned.trials[0].words.errors
    save_model(tmp_path / "tuned.asr", apply(with_lm, tuned, "dev.jsonl"))
    recognizer = load(tmp_path / "tuned.asr", "cpu")
    assert recognizer.config.decoder == tuned.decoder
    assert evaluate(recognizer, dev).score == tuned.scores[1]


def test_the_best_trial_with_the_smallest_beam_is_chosen(tuned):
    best = tuned.chosen
    assert best.words.errors == min(
        t.words.errors for t in tuned.trials if t.decoder.beam >= best.decoder.beam
    )
    settings = [trial.decoder for trial in tuned.trials]
    assert len(set(settings)) == len(settings)
    assert {16, 50, 100} <= {c.beam for c in settings}
    weights, bonuses, _ = zip(*tuned.surface, strict=True)
    assert len(set(weights)) > 5 and len(set(bonuses)) > 4


def test_unknown_words_are_counted_and_their_score_is_tried(tuned, with_lm, made):
    words = [word for text in made.references for word in text.split()]
    known = set(with_lm.ngram.words)
    assert tuned.unknown == sum(word not in known for word in words) > 0
    assert {t.decoder.unknown_score for t in tuned.trials} >= set(UNKNOWN_SCORES)
    assert unknown_words(None, ["one"]) == 0


def test_confidences_are_calibrated_on_the_dev_set(tuned, with_lm, made, dev):
    scale, shift = tuned.confidence
    assert (tuned.decoder.confidence_scale, tuned.decoder.confidence_shift) == (scale, shift)
    confidences, right = made.outcomes(made.decode(with_lm, tuned.chosen.decoder))
    assert 0 < sum(right) < len(right)
    recognizer = Recognizer(apply(with_lm, tuned, "dev.jsonl"), "cpu")
    transcripts = [recognizer.transcribe(u.audio) for u in dev]
    found = [word.confidence for transcript in transcripts for word in transcript.words]
    expected = 1 / (1 + np.exp(-(scale * logit(confidences) + shift)))
    assert found == pytest.approx(expected, abs=1e-3)
    assert calibration(found, right).error < calibration(confidences, right).error
    assert np.mean(found) == pytest.approx(np.mean(right), abs=0.05)


def test_a_model_file_keeps_the_prior_and_greedy_decoding_ignores_it(with_lm, made, dev, tmp_path):
    settings = DecoderConfig(beam=16, prior_weight=0.3, log_prior=made.log_prior)
    with_prior = replace(with_lm, config=with_lm.config.model_copy(update={"decoder": settings}))
    with_prior.save(tmp_path / "prior.asr")
    read = load_model(tmp_path / "prior.asr")
    assert read.config.decoder == settings
    recognizer = Recognizer(read, "cpu")
    found = [recognizer.transcribe(u.audio).text for u in dev]
    assert found == [h.text for h in made.decode(with_lm, settings)]
    greedy = made.decode(with_lm, settings.model_copy(update={"beam": 1}))
    assert [h.text for h in greedy] == [h.text for h in made.decode(with_lm, GREEDY)]


def test_the_prior_divides_the_probabilities_of_each_frame(with_lm, made):
    weight = 0.3
    row = max(made.rows, key=len)
    divided = np.exp(row) / np.exp(made.log_prior) ** weight
    expected = np.log(divided / divided.sum(axis=1, keepdims=True))
    bias = -weight * np.asarray(made.log_prior, np.float32)
    assert np.allclose(divided_by_prior(row, bias), expected, atol=1e-4)
    pieces = with_lm.tokenizer.pieces
    plain = BeamDecoder(pieces, beam=16)
    decoder = BeamDecoder(pieces, beam=16, prior_weight=weight, log_prior=made.log_prior)
    (one,), (other,) = decoder.decode(row, 0.02), plain.decode(expected.astype(np.float32), 0.02)
    assert one.text == other.text
    assert one.score == pytest.approx(other.score, abs=1e-3)
    assert one.score != pytest.approx(plain.decode(row, 0.02)[0].score, abs=1e-2)


def test_a_prior_that_cannot_be_used_is_refused(with_lm):
    with pytest.raises(ValidationError, match="needs log_prior"):
        DecoderConfig(beam=16, prior_weight=0.3)
    with pytest.raises(UserError, match=r"log_prior: 2; give one value per token"):
        BeamDecoder(with_lm.tokenizer.pieces, prior_weight=0.3, log_prior=[-1.0, -2.0])


def test_a_prior_is_found_where_blanks_hide_the_words(model):
    """The last letter of each word is less likely than the blank, so that only a prior finds it."""
    dev = hostile(model, ["ab", "ba"] * 4)
    for row in dev.rows:
        last = row[-2]  # the frame of the last letter
        last[last.argmax()], last[0] = np.log(0.45), np.log(0.55)
    found = tune(model, dev)
    assert found.decoder.prior_weight > 0 and found.chosen.words.errors == 0
    assert found.scores[0].wer == 1.0
    assert "prior_weight" in found.summary
    assert np.argmax(found.decoder.log_prior) == 0  # the blank


def hostile(model: Model, texts: list[str]) -> DevSet:
    """A dev set on which greedy decoding is correct, because its emissions are certain."""
    dev = DevSet.__new__(DevSet)
    pieces = model.tokenizer.pieces
    dev.frame_s, dev.text, dev.failures = FRAME_S, model.config.text, []
    dev.utterances = [Utterance(str(i), "none.wav") for i in range(len(texts))]
    dev.references, dev.rows = texts, []
    for text in texts:
        path = [token for t in model.tokenizer.encode(text) for token in (t, 0)]
        row = np.full((len(path), len(pieces)), -30.0, np.float32)
        row[range(len(path)), path] = 0.0
        dev.rows.append(row)
    return dev


def test_greedy_wins_when_nothing_is_better(model, with_lm):
    dev = hostile(model, ["abc de", "fgh ij"])
    found = tune(with_lm, dev)
    assert found.chosen.decoder == GREEDY and found.weights is None
    after = apply(with_lm, found, "dev.tsv")
    assert after.ngram is None
    assert after.config.decoder == found.decoder and found.decoder.beam == 1
    assert "greedy decoding, no beam search was better: dev WER 0.00%" in after.card


def test_without_a_language_model_only_the_bonus_and_the_beam_are_searched(model, made):
    found = tune(model, made)
    assert len({trial.decoder.lm_weight for trial in found.trials}) == 1
    assert len({trial.decoder.word_bonus for trial in found.trials}) > 3
    assert found.unknown == 0


def test_several_texts_are_kept(with_lm, made):
    config = with_lm.config.model_copy(update={"decoder": DecoderConfig(beam=30, n_best=20)})
    found = tune(replace(with_lm, config=config), made)
    assert found.chosen.decoder.n_best == 20 <= found.chosen.decoder.beam


def test_ambiguous_emissions_are_settled_by_the_language_model(tiny_config, model):
    """Two letters are equally likely, so only a higher language-model weight avoids errors."""
    said = ["abc", "abd", "abe"] * 4
    dev = hostile(model, said)
    pieces = model.tokenizer.pieces
    for row in dev.rows:  # the third letter is any of three, c a little ahead
        likely = np.log([0.34, 0.33, 0.33], dtype=np.float32)
        row[4, [pieces.index(letter) for letter in "cde"]] = likely
    lm = NGram.estimate(["abd"] * 50 + ["abe"] * 3 + ["abc"], order=1)
    found = tune(replace(model, ngram=lm), dev)
    assert found.chosen.decoder.beam == 1  # a third is right whatever the weight
    dev.references = ["abd"] * 12
    found = tune(replace(model, ngram=lm), dev)
    assert found.chosen.decoder.lm_weight > 0
    assert [score.wer for score in found.scores] == [1.0, 0.0]
    decoder = build_decoder(replace(model, ngram=lm, config=model.config.model_copy(
        update={"decoder": found.chosen.decoder})))  # fmt: skip
    assert wer("abd", decoder.decode(dev.rows[0], FRAME_S)[0].text) == 0


def test_what_is_not_tuned_stays_as_it_was(model, made):
    kept = {"n_best": 2, "lexicon": ("ab", "ba"), "tokens_per_frame": 9, "beam_margin": 12.0}
    closed = model.config.model_copy(update={"decoder": DecoderConfig(beam=50, **kept)})
    found = tune(replace(model, config=closed), made)
    assert found.decoder.beam > 1  # greedy decoding would write other words
    assert {name: getattr(found.decoder, name) for name in kept} == kept


def test_the_card_has_one_line_of_the_last_tuning(tuned, with_lm):
    card = "# a\n\n- Trained on air.\n- Seed 0.\n\n    asr transcribe a.asr b.wav\n"
    once = apply(replace(with_lm, card=card), tuned, "dev.jsonl").card
    line = f"- Decoder tuned on dev.jsonl (8 utterances): {tuned.summary}."
    assert once == card.replace("- Seed 0.\n", f"- Seed 0.\n{line}\n")
    assert "beam" in line and "->" in line
    again = apply(replace(with_lm, card=once), tuned, "dev2.jsonl").card
    assert again == once.replace("dev.jsonl", "dev2.jsonl")
    assert apply(with_lm, tuned, "dev.jsonl").card.splitlines() == [line]


# ---- the command ---------------------------------------------------------------------------------


def invoke(*arguments):
    return CliRunner().invoke(app, ["tune", *map(str, arguments)])


@pytest.fixture
def files(tmp_path, model_file, dev, with_lm):
    (tmp_path / "m.asr").write_bytes(model_file.read_bytes())
    manifest.write(tmp_path / "dev.jsonl", dev)
    with_lm.ngram.save(tmp_path / "lm.npz")
    return tmp_path


def test_command(files, tuned):
    before = (files / "m.asr").read_bytes()
    done = invoke(
        files / "m.asr", files / "dev.jsonl", "--lm", files / "lm.npz", "-o", files / "new.asr"
    )
    assert done.exit_code == 0, done.output
    assert (files / "m.asr").read_bytes() == before
    assert f"greedy: {tuned.scores[0]}" in done.output
    assert f"chosen: {tuned.scores[1]}" in done.output
    assert tuned.summary in done.output
    after = load_model(files / "new.asr")
    assert after.config.decoder == tuned.decoder and after.ngram is not None
    assert (files / "new.tune.png").read_bytes().startswith(b"\x89PNG")
    # Without -o it is the model's own n-gram, and the file itself that changes.
    again = invoke(files / "new.asr", files / "dev.jsonl")
    assert again.exit_code == 0 and tuned.summary in again.output


def test_unreadable_audio_is_scored_as_empty_and_reported(files, dev):
    lost = Utterance("lost", str(files / "lost.wav"), text="one two")
    manifest.write(files / "dev.jsonl", [*dev, lost])
    done = invoke(files / "m.asr", files / "dev.jsonl")
    assert done.exit_code == 1
    assert "lost.wav: no such file" in done.output
    assert "of 9 utterances" in done.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["m.asr", "none.jsonl"], r"none\.jsonl: no such manifest"),
        (["none.asr", "dev.jsonl"], r"none\.asr: no such model file"),
        (["m.asr", "dev.jsonl", "-o", "m.zip"], r"m\.zip: give the model file the suffix \.asr"),
        (["m.asr", "mute.jsonl"], "nothing to tune on"),
        (["m.asr", "dev.jsonl", "--lm", "dev.jsonl"], r"dev\.jsonl"),
    ],
)
def test_mistakes(files, dev, monkeypatch, arguments, problem):
    monkeypatch.chdir(files)
    manifest.write(files / "mute.jsonl", [replace(dev[0], text="")])
    done = invoke(*arguments)
    assert isinstance(done.exception, UserError), done.output
    with pytest.raises(UserError, match=problem):
        raise done.exception


def test_pictures_of_one_and_two_dimensions(tmp_path):
    grid = itertools.product((0.0, 0.5, 1.0), (-1.0, 0.0, 1.0))
    surface = [(w, b, 0.1 + (w - 0.5) ** 2 + b * b / 10) for w, b in grid]
    figures.tuning(tmp_path / "a.png", surface, (0.5, 0.0), 0.2)
    line = [(0.5, b, 0.1 + b * b / 10) for b in (-1.0, 1.0, 0.0)]
    figures.tuning(tmp_path / "b.png", line, None, 0.2)
    figures.tuning(tmp_path / "c.png", [(w, b, 0.1) for w, b, _ in surface], None, 0.1)
    for name in "abc":
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
