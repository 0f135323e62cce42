"""Fixtures of several test files: a model file, recordings, and real corpora if available."""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, settings
from tones import make_recipe

from asr import cli
from asr.config import Config, parse
from asr.model.model_file import Model, save_model
from asr.recognition.recognizer import Recognizer
from asr.text.tokenizer import CharacterTokenizer

# The same examples each time; a busy machine is no reason to fail.
slow = [HealthCheck.too_slow]
settings.register_profile("asr", derandomize=True, deadline=None, suppress_health_check=slow)
settings.load_profile("asr")

RATE_HZ = 16000


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    return parse(
        {
            "name": "tiny",
            "features": {"n_mels": 20},
            "model": {"preset": "tiny", "layers": 1, "hidden": 16, "channels": 4},
        },
        "tiny",
    )


def noise(duration_s: float, seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """(N,) float32: noise whose color and level change five times a second."""
    draw = np.random.default_rng(seed)
    count = round(duration_s * rate_hz)
    samples = draw.standard_normal(count)
    for at in range(0, count, rate_hz // 5):
        stretch = samples[at : at + rate_hz // 5]
        width = int(draw.integers(1, 12))
        stretch[:] = np.convolve(stretch, np.ones(width) / width, "same")[: len(stretch)]
        stretch *= draw.uniform(0.01, 0.3)
    return samples.clip(-1, 1).astype(np.float32)


@pytest.fixture(scope="session")
def tiny_model(tiny_config) -> Model:
    """An untrained model with a scaled and centered head, so that its texts depend on the audio."""
    with torch.random.fork_rng():
        torch.manual_seed(37)
        model = Model.build(tiny_config, CharacterTokenizer("abcdefghij"))
    with torch.no_grad():
        model.acoustic.head.weight.mul_(20)
        emissions = Recognizer(model, "cpu").emissions([noise(3.2, seed=4)])
        model.acoustic.head.bias.sub_(torch.from_numpy(emissions.log_probs[0].mean(0)))
    return model


@pytest.fixture(scope="session")
def model_file(tiny_model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.asr"
    save_model(path, tiny_model)
    return path


@pytest.fixture(scope="session")
def recordings(tmp_path_factory) -> Path:
    """A read-only folder of r0.wav to r7.wav, 0.4 to 3.2 seconds long."""
    folder = tmp_path_factory.mktemp("recordings")
    for i, duration_s in enumerate((1.0, 0.4, 2.3, 1.7, 3.2, 0.9, 1.1, 2.0)):
        soundfile.write(folder / f"r{i}.wav", noise(duration_s, i), RATE_HZ)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """The recipe of tones, in a folder that the tests of a file share."""
    folder = tmp_path_factory.mktemp("tones")
    make_recipe(folder)
    return folder


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of real corpora (NAME/manifest.tsv and NAME/audio): ASR_CORPORA, or shared/corpora
    beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "corpora"
    folder = Path(os.environ.get("ASR_CORPORA", beside))
    if not folder.is_dir():
        pytest.skip(f"real corpora: no folder {folder} (ASR_CORPORA names another)")
    return folder


@pytest.fixture
def run(capfd, monkeypatch):
    """run(arguments...) -> exit status, stdout, lines of stderr, as the console script would."""

    def call(*arguments):
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["asr", *map(str, arguments)])
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        out, err = capfd.readouterr()
        return exit.value.code or 0, out, err.splitlines()

    return call


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    """A small streaming model, for the tests of live connections."""
    from serving import streaming_recognizer

    return streaming_recognizer(tmp_path_factory)


@pytest.fixture(scope="module")
def service(recognizer, model_file):
    """A server's service of that model."""
    from serving import service_of

    with service_of(recognizer, model_file) as service:
        yield service
