"""Training: it learns, resumes bit for bit, prints the WER of `asr score`, and reports problems."""

import json

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console
from tones import RATE_HZ, asr, small_model, speak, weights

from asr.data import manifest
from asr.data.manifest import Utterance
from asr.model.model_file import load_model
from asr.pipeline.run import Run, load_recipe
from asr.recognition.recognizer import Recognizer
from asr.scoring.evaluate import evaluate
from asr.training.checkpoint import load_checkpoint
from asr.training.loop import train
from asr.training.schedule import TrainingState


@pytest.fixture(scope="module")
def finished(corpus):
    """The run that was never interrupted."""
    runs = corpus / "straight"
    output = asr("run", corpus, "-o", runs)
    return runs / "tones", output


def test_it_learns(finished):
    run, output = finished
    assert json.loads((run / "score/test/score.json").read_text())["wer"] <= 0.1, output
    report = json.loads((run / "score/test/report.json").read_text())
    assert report["calibration"] is not None and (run / "score/test/report.html").exists()


def test_validation_prints_what_score_prints(finished, corpus):
    """Contract 2: the best dev WER of the run equals that of `asr score` to the last digit."""
    run, output = finished
    (best,) = (run / "checkpoints").glob("best-*.safetensors")
    state = TrainingState(**load_checkpoint(best, {}))
    scored = asr("score", run / "model.asr", corpus / "dev.jsonl", "-o", corpus / "scored")
    result = json.loads((corpus / "scored/score.json").read_text())
    assert [result["wer"], result["cer"]] == list(state.best)
    assert f"dev WER {state.best[0]:.2%}" in output
    assert f"WER {state.best[0]:.2%}" in scored


def test_transcripts_do_not_depend_on_their_batch(finished, corpus):
    recognizer = Recognizer(load_model(finished[0] / "model.asr"), "cpu")
    utterances = manifest.read(corpus / "test.jsonl")
    together = [pair.hypothesis for pair in evaluate(recognizer, utterances).pairs]
    alone = [recognizer.transcribe(u.audio).text for u in utterances]
    assert together == alone and any(alone)


def test_a_finished_run_is_skipped_with_a_message(finished, corpus):
    output = asr("run", corpus, "-o", finished[0].parent)
    for stage in ("tokenizer", "train", "score test"):
        assert f"{stage}: skipped: done, nothing has changed" in output


def test_a_language_model_is_a_stage_of_its_own(finished, corpus):
    command = ("run", corpus, "-o", finished[0].parent, "lm.texts=[train.jsonl]")
    output = asr(*command)
    assert "train: skipped" in output and "language model: 3-gram on words" in output
    assert "score test: skipped" in output and "score test-tuned: WER" in output
    tuned = load_model(finished[0] / "tuned.asr")
    assert (tuned.ngram is None) == ("greedy decoding, no beam search was better" in output)
    assert (finished[0] / "score/test-tuned/report.html").exists()
    again = asr(*command)
    assert "language model: skipped" in again and "score test-tuned: skipped" in again
    assert "order changed" in asr(*command, "lm.order=2")
    output = asr(*command, "lm.texts=[nothing.txt]", "--fresh", status=2)
    assert "lm.texts: nothing.txt: no such file" in output
    assert (finished[0] / "model.asr").exists()


def test_other_settings_do_not_overwrite_a_run(finished, corpus):
    output = asr("train", corpus, "train.epochs=9", "-o", finished[0].parent, status=2)
    assert "config.train.epochs" in output and "start again" in output


def test_utterances_that_cannot_be_used_are_named_before_training(corpus, tmp_path):
    utterances = manifest.read(corpus / "train.jsonl")[:40]
    broken = [
        Utterance("gone", str(tmp_path / "gone.wav"), text="low"),
        Utterance("silent", utterances[0].audio, text=" "),
        Utterance("rushed", utterances[0].audio, text="low high " * 40),
    ]
    manifest.write(tmp_path / "train.jsonl", utterances + broken)
    manifest.write(tmp_path / "dev.jsonl", manifest.read(corpus / "dev.jsonl"))
    changes = (f"data.folder={tmp_path}", "train.epochs=1")
    output = asr("train", corpus / "recipe.yaml", *changes, "-o", tmp_path)
    assert "3 problems" in output
    assert "gone.wav: no such file" in output and "after normalization" in output
    assert "rushed" in output and "frames" in output
    listed = (tmp_path / "tones/manifests/train.problems.tsv").read_text()
    assert [line.split("\t")[0] for line in listed.splitlines()] == [
        "id",
        "gone",
        "silent",
        "rushed",
    ]


def test_damage_found_in_training_is_one_line_and_status_2(corpus, tmp_path):
    """Only headers are checked before training, so that it starts quickly."""
    utterances = manifest.read(corpus / "train.jsonl")[:20]
    samples = speak(["low"] * 4, np.random.default_rng(0))
    samples[5000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE_HZ, subtype="FLOAT")
    manifest.write(
        tmp_path / "train.jsonl",
        [*utterances, Utterance("bad", str(tmp_path / "nan.wav"), text="low")],
    )
    manifest.write(tmp_path / "dev.jsonl", manifest.read(corpus / "dev.jsonl"))
    changes = (f"data.folder={tmp_path}", "train.epochs=1", "train.workers=1")
    output = asr("train", corpus / "recipe.yaml", *changes, "-o", tmp_path, status=2)
    (line,) = [line for line in output.splitlines() if "not finite numbers" in line]
    assert line.startswith(f"asr: utterance bad: {tmp_path / 'nan.wav'}: ")
    assert "Traceback" not in output
    assert "nan.wav" in asr("check", tmp_path / "train.jsonl", status=1)


def test_a_loss_that_stays_infinite_ends_the_run(corpus, tmp_path):
    output = asr(
        "train", corpus, "train.learning_rate=1e30", "train.warmup=0", "train.clip_norm=1e30",
        "-o", tmp_path, status=1,
    )  # fmt: skip
    assert "5 steps in a row without a finite loss" in output and "train-" in output
    assert "Traceback" not in output


def test_max_minutes_ends_the_run_with_a_validated_model(corpus, tmp_path):
    settings = ("train.max_minutes=0.0001", "train.validate_every=5", "-o", tmp_path)
    output = asr("train", corpus, *settings)
    assert "training ends at step 1: train.max_minutes is over" in output
    assert "epoch 1: loss" in output and (tmp_path / "tones/model.asr").exists()
    assert "train: skipped: done, nothing has changed" in asr("run", corpus, *settings)


def test_the_deepspeech2_design_trains_with_sgd_and_resumes(corpus, tmp_path):
    """A run that is stopped after the first epoch and resumed equals a straight run."""
    changes = (
        "features.kind=spectrogram", "features.window_ms=20", "model.preset=deepspeech2",
        "model.layers=2", "model.channels=2", "train.batch_s=20", "train.epochs=2",
        "train.optimizer=sgd", "train.schedule=exponential",
    )  # fmt: skip
    arguments = ("train", corpus, *changes, "-o", tmp_path)
    assert "deepspeech2 model" in asr(*arguments)
    straight = weights(tmp_path / "tones")
    max((tmp_path / "tones/checkpoints").glob("step-*")).unlink()
    (tmp_path / "tones/model.asr").unlink()
    assert "resuming at step" in asr(*arguments)
    assert torch.equal(weights(tmp_path / "tones"), straight)


def test_a_causal_gru_on_characters_and_global_cmvn_learns(corpus, tmp_path):
    """After five epochs, most words are right; a model that does not learn stays above 90%."""
    changes = (
        "features.cmvn=global", "model.rnn=gru", "model.bidirectional=false",
        "tokenizer.kind=characters", "train.epochs=5", "train.schedule=plateau",
        "train.learning_rate=0.01",
    )  # fmt: skip
    run = Run(load_recipe(corpus, changes), tmp_path, Console(quiet=True))
    run.train()
    model = load_model(run.model_file)
    assert model.features.std.min() > 0 and not torch.equal(model.features.mean, torch.zeros(24))
    found = evaluate(Recognizer(model, "cpu"), manifest.read(corpus / "test.jsonl"))
    assert found.score.wer < 0.6 and not found.failures


def test_a_model_that_outputs_only_blanks_is_explained_at_every_third_validation(
    corpus, tmp_path, caplog
):
    rows = manifest.read(corpus / "train.jsonl")[:4]
    model, usable = small_model(rows, epochs=7, learning_rate=1e-9)
    with torch.no_grad():
        model.acoustic.head.bias[0] = 50.0  # the blank's
    train(model, usable, rows[:1], tmp_path, Console(quiet=True))
    warnings = [r.getMessage() for r in caplog.records if "only blanks" in r.getMessage()]
    assert [line.split()[2] for line in warnings] == ["3", "6"]  # epochs
    model, usable = small_model(rows, epochs=3, learning_rate=1e-9)
    with torch.no_grad():
        model.acoustic.head.bias[3] = 50.0  # a letter's: wrong, but not silent
    caplog.clear()
    train(model, usable, rows[:1], tmp_path / "letters", Console(quiet=True))
    assert not any("only blanks" in r.getMessage() for r in caplog.records)
