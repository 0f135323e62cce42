"""One's own commands: recordings of prompts, the threshold of refusals, `asr run GRAMMAR`."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr.audio.take import checked_take, record_take
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.lm.grammar import Grammar
from asr.model.model_file import load_model
from asr.pipeline.command_corpus import scramble
from asr.pipeline.run import load_recipe
from asr.recognition.recognizer import Recognizer
from asr.scoring.commands import Share, choose_min_fit, hear, score_commands

RATE_HZ = 16000


def spoken(speech_s: float = 1.0, level: float = 0.2, noise: float = 0.001) -> np.ndarray:
    """(N,) float32: half a second of background, a sound like a vowel, 1.5 s of background."""
    draw = np.random.default_rng(0)
    times = np.arange(round(speech_s * RATE_HZ)) / RATE_HZ
    vowel = sum(np.sin(2 * np.pi * 120 * k * times) / k for k in range(1, 12))
    vowel *= level * (1 + np.sin(2 * np.pi * 4 * times)) / 4
    quiet = np.zeros(RATE_HZ // 2), vowel, np.zeros(3 * RATE_HZ // 2)
    samples = np.concatenate(quiet)
    return (samples + noise * draw.standard_normal(len(samples))).clip(-1, 1).astype(np.float32)


def packets(samples: np.ndarray, size: int = 1600):
    return iter([samples[at : at + size] for at in range(0, len(samples), size)])


def test_a_take_ends_after_a_second_of_silence_and_is_cut_to_its_speech():
    stream = packets(np.concatenate([spoken(), spoken()]))
    take = record_take(stream, RATE_HZ)
    assert take.problem == ""
    assert take.duration_s == pytest.approx(1.4, abs=0.1)
    rest = sum(len(packet) for packet in stream) / RATE_HZ
    assert rest == pytest.approx(6 - 2.5, abs=0.2)
    assert record_take(iter(()), RATE_HZ) is None


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({"level": 0.004, "noise": 1e-5}, "too quiet"),
        ({"level": 8.0}, "too loud"),
        ({"level": 0.2, "noise": 0.02}, "too noisy"),
        ({"level": 0.0}, "nothing was heard"),
    ],
)
def test_a_problem_of_a_take_is_named(settings, problem):
    assert checked_take(spoken(**settings), RATE_HZ).problem.startswith(problem)


def test_record_repeats_a_bad_take_and_continues(run, tmp_path):
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    soundfile.write(good, spoken(), RATE_HZ)
    soundfile.write(bad, spoken(level=0.0), RATE_HZ)
    (tmp_path / "prompts.txt").write_text("lights on\nlights off\n\nstop\n")
    command = ["record", tmp_path / "prompts.txt", "-o", tmp_path / "me", "--speaker", "ann"]
    status, out, err = run(*command, "--from", bad, "--from", good, "--from", good)
    assert status == 1 and "2 recordings" in out
    assert any("nothing was heard" in line for line in err)
    status, out, _ = run(*command, "--from", good)
    rows = manifest.read(tmp_path / "me/manifest.jsonl")
    assert status == 0 and [row.text for row in rows] == ["lights on", "lights off", "stop"]
    assert {row.speaker for row in rows} == {"ann"}
    samples, rate_hz = soundfile.read(rows[0].audio)
    assert len(samples) / rate_hz == pytest.approx(rows[0].duration_s)
    status, out, _ = run(*command)
    assert status == 0 and "complete" in out


def test_record_takes_its_prompts_from_a_grammar(run, tmp_path):
    (tmp_path / "home.yaml").write_text("sentences: ['lights (on|off)']")
    soundfile.write(tmp_path / "good.wav", spoken(), RATE_HZ)
    files = ["--from", tmp_path / "good.wav"] * 2
    status, _, _ = run("record", tmp_path / "home.yaml", "-o", tmp_path / "me", *files)
    rows = manifest.read(tmp_path / "me/manifest.jsonl")
    assert status == 0 and {row.text for row in rows} == {"lights on", "lights off"}


@given(
    st.lists(st.floats(-9, 0), min_size=1, max_size=30),
    st.lists(st.floats(-20, 0), min_size=1, max_size=30),
    st.sampled_from((0.0, 0.01, 0.1, 0.5)),
)
def test_the_threshold_keeps_to_the_false_accepts(inside, outside, false_accepts):
    min_fit = choose_min_fit(inside, outside, false_accepts)
    accepted = sum(fit >= min_fit for fit in outside)
    assert accepted <= false_accepts * len(outside) or min_fit == 0.0
    if max(outside) < min(inside) - 1e-3:  # both can be had
        assert all(fit >= min_fit for fit in inside) and not accepted


def test_the_threshold_needs_both_sides():
    for inside, outside, share in (([], [-1.0], 0.1), ([-1.0], [], 0.1), ([-1.0], [-1.0], 1.0)):
        with pytest.raises(UserError):
            choose_min_fit(inside, outside, share)


def test_the_interval_of_a_share_is_wilsons():
    low, high = Share(8, 10).interval
    assert (low, high) == (pytest.approx(0.4902, abs=1e-3), pytest.approx(0.9433, abs=1e-3))
    assert str(Share(0, 20)) == "0.0% (0.0% to 16.1%; 0 of 20)"


GRAMMAR = {"intents": {"Say": ["(a|bad|cage) [{letter}]"]}, "lists": {"letter": ["d", "e"]}}


def test_tune_of_a_grammar(run, tiny_model, model_file, recordings, tmp_path):
    """The model is untrained: what it hears is taken for right, to see that it is counted."""
    heard = Recognizer(tiny_model, "cpu").with_decoder(grammar=GRAMMAR, min_fit=-np.inf)
    paths = sorted(recordings.glob("*.wav"))[2:6]
    rows = [Utterance(p.stem, str(p), text=heard.transcribe(p).command.text) for p in paths]
    rows.append(Utterance("other", str(recordings / "r6.wav"), text="jig"))
    manifest.write(tmp_path / "dev.jsonl", rows)
    found = hear(heard, rows, [Utterance("r7", str(recordings / "r7.wav"))])
    assert len(found.inside) == 4 and len(found.outside) == 2
    score = score_commands(found, -1e9)
    assert score.commands.share == score.sentences.share == 1 and score.accepted.count == 2
    assert score_commands(found, 0.0).refused.count == 4
    (tmp_path / "grammar.yaml").write_text(Grammar(GRAMMAR).text)
    status, out, err = run(
        "tune", model_file, tmp_path / "dev.jsonl", "-o", tmp_path / "tuned.asr",
        "--grammar", tmp_path / "grammar.yaml", "--outside", recordings / "r7.wav",
        "--false-accepts", "0",
    )  # fmt: skip
    assert status == 0, err
    tuned = load_model(tmp_path / "tuned.asr")
    assert tuned.grammar.intents == ("Say",)
    chosen = score_commands(found, tuned.config.decoder.min_fit)
    assert chosen.accepted.count == 0 and str(chosen) in out


def test_grammar_command(run, model_file, tmp_path):
    file = tmp_path / "grammar.yaml"
    file.write_text(Grammar(GRAMMAR).text)
    status, out, _ = run("grammar", file, "--sample", 20)
    assert status == 0 and "1 templates, 9 sentences, 1 intents" in out
    assert len(out.splitlines()) == 10
    run("grammar", file, "--sample", 20, "--texts", tmp_path / "texts.txt")
    assert len((tmp_path / "texts.txt").read_text().splitlines()) == 9
    status, out, _ = run("grammar", file, "--model", model_file, "-o", tmp_path / "with.asr")
    assert status == 0 and "states" in out
    assert load_model(tmp_path / "with.asr").grammar.sentence_count == 9
    status, _, err = run("grammar", file, "-o", tmp_path / "with.asr")
    assert status == 2 and "--model" in err[-1]


def test_scrambled_sentences_are_outside_the_grammar():
    grammar = Grammar(["turn (on|off) the (hall|red) light"])
    found = scramble(grammar, 10, seed=0)
    assert found and not set(found) & set(grammar.sentences())
    assert all(grammar.accepts(sentence) for sentence in grammar.sentences())


def test_a_grammar_is_a_recipe(tmp_path, model_file):
    path = tmp_path / "my home.yaml"
    path.write_text("sentences: ['lights (on|off)']")
    recipe = load_recipe(path, ["train.epochs=3"])
    assert recipe.config.name == "my-home" and recipe.grammar == path
    assert recipe.config.train.epochs == 3
    tuned = load_recipe(path, [f"train.init_from={model_file}"])
    model = load_model(model_file).config
    assert tuned.config.model == model.model and tuned.config.features == model.features


@pytest.mark.slow
def test_from_a_grammar_to_a_model_of_commands(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-home.yaml").write_text(
        "intents: {Light: ['lights {state}'], Stop: [stop]}\nlists: {state: ['on', 'off']}\n"
    )
    status, _, err = run(
        "run", "my-home.yaml", "commands.sentences=10", "commands.voices=6",
        "commands.engines=[espeak]", "train.epochs=1", "train.batch_s=20", "train.device=cpu",
        "model.hidden=16", "model.layers=1", "train.workers=0",
    )  # fmt: skip
    assert status == 0, err
    model = load_model(tmp_path / "runs/my-home/commands.asr")
    assert model.grammar.intents == ("Light", "Stop")
    figures = json.loads((tmp_path / "runs/my-home/commands.json").read_text())
    assert figures["commands"]["of"] == 3
    outside = manifest.read(tmp_path / "data/my-home/outside-test.jsonl")
    assert any(row.text for row in outside) and any(not row.text for row in outside)
