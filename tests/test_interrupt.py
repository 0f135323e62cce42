"""Ctrl-C at any time: exit status 130, and the resumed run gives the weights of a straight run."""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from rich.console import Console
from tones import make_corpus, weights

import asr.cli
from asr.training import batches, loop, trainer
from asr.training.checkpoint import Checkpoints, checkpoint_files
from asr.training.interrupt import StopRequest


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupt")
    make_corpus(folder, train=12, dev=2)
    (folder / "recipe.yaml").write_text(
        f"""
name: tones
data: {{folder: {folder}, max_duration_s: 4}}
features: {{rate_hz: 8000, n_mels: 12, cmvn: global}}
model: {{preset: tiny, layers: 1, hidden: 8, channels: 2}}
train: {{epochs: 2, batch_s: 8, workers: 0, threads: 1, device: cpu}}
"""
    )
    return folder


@pytest.fixture
def train(corpus, monkeypatch):
    def call(runs):
        """`asr train` in this process; returns its exit status."""
        monkeypatch.setattr(
            sys, "argv", ["asr", "train", str(corpus / "recipe.yaml"), "-o", str(runs)]
        )
        with pytest.raises(SystemExit) as ended:
            asr.cli.main()
        return ended.value.code or 0

    return call


@pytest.fixture(scope="module")
def straight(corpus):
    from asr.pipeline.run import Run, load_recipe

    run = Run(load_recipe(corpus / "recipe.yaml"), corpus / "straight", Console(quiet=True))
    run.train()
    return weights(run.folder)


def interrupting(function, times=1):
    """Wrap `function` so that Ctrl-C is pressed when it is called."""

    def interrupted(*arguments, **options):
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
        return function(*arguments, **options)

    return interrupted


# Where Ctrl-C comes, and whether steps were taken before that a checkpoint has
PLACES = {
    "measuring CMVN": (trainer, "measure_cmvn"),
    "building the monitor": (trainer, "Monitor"),
    "reading a checkpoint": (Checkpoints, "load"),
    "reading the first audio": (batches.SpeechDataset, "waveform"),
    "the first step": (loop, "train_step"),
    "validation": (loop, "validate_epoch"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_is_interrupted_ends_with_130_and_is_resumed(
    place, tmp_path, train, straight, monkeypatch
):
    target, name = PLACES[place]
    with monkeypatch.context() as patch:
        patch.setattr(target, name, interrupting(getattr(target, name)))
        assert train(tmp_path) == 130
    assert not (tmp_path / "tones/model.asr").exists()
    assert train(tmp_path) == 0
    assert torch.equal(weights(tmp_path / "tones"), straight)


def test_a_second_ctrl_c_does_not_wait_for_the_step(tmp_path, train, straight, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupting(loop.train_step, times=2))
        assert train(tmp_path) == 130
    assert not checkpoint_files(tmp_path / "tones/checkpoints")
    assert train(tmp_path) == 0
    assert torch.equal(weights(tmp_path / "tones"), straight)


def test_ctrl_c_means_what_it_did_before_once_training_is_over():
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_than_the_main_one_can_train(corpus, straight):
    from asr.pipeline.run import Run, load_recipe

    run = Run(load_recipe(corpus / "recipe.yaml"), corpus / "thread", Console(quiet=True))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run.train).result()
    torch.testing.assert_close(weights(run.folder), straight, atol=0, rtol=0)
