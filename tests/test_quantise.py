"""int8 weights: about the same emissions, and still no neighbour in a transcript."""

import numpy as np
import pytest
import torch

from asr.checkpoint import load_model
from asr.errors import UserError
from asr.manifest import Utterance
from asr.quantise import quantise
from asr.recognizer import load
from asr.transcribe import transcribe_many


@pytest.fixture(scope="module")
def quantised(model_file):
    return load(model_file, "cpu", quantised=True)


def waveforms(recordings):
    from asr import audio

    return [audio.read(path, 16000) for path in sorted(recordings.glob("*.wav"))]


def test_emissions_are_near_those_of_float32(quantised, model_file, recordings):
    exact = load(model_file, "cpu").emissions(waveforms(recordings)).rows()
    near = quantised.emissions(waveforms(recordings)).rows()
    # Of probabilities; the weights are random and larger than trained ones.
    apart = [np.abs(np.exp(a) - np.exp(b)).mean() for a, b in zip(exact, near, strict=True)]
    assert max(apart) < 0.02
    assert not torch.allclose(torch.tensor(exact[0]), torch.tensor(near[0]))  # it is another model


def test_batches_change_nothing(quantised, recordings):
    every = waveforms(recordings)
    together = quantised.emissions(every).rows()
    for waveform, row in zip(every, together, strict=True):
        (alone,) = quantised.emissions([waveform]).rows()
        assert np.array_equal(alone, row)
    asked = [Utterance(p.stem, str(p)) for p in sorted(recordings.glob("*.wav"))]
    texts = [[t.text for _, t in transcribe_many(quantised, asked, s)] for s in (1.0, 1e9)]
    assert texts[0] == texts[1] and len(set(texts[0])) > 3


def test_the_threads_of_others_stay_as_they_are(quantised, recordings):
    before = torch.get_num_threads()
    quantised.emissions(waveforms(recordings)[:2])
    assert torch.get_num_threads() == before


def test_what_it_cannot_do_is_said(model_file):
    model = load_model(model_file)
    with pytest.raises(UserError, match="--quantise is for a CPU, not cuda: give --device cpu"):
        quantise(model.acoustic, torch.device("cuda"))
    with pytest.raises(UserError, match="gru stays float32"):
        quantise(torch.nn.GRU(2, 2), torch.device("cpu"))
