"""int8 weights: similar emissions, which do not depend on the batch."""

import numpy as np
import pytest
import torch

from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.model.model_file import load_model
from asr.model.quantize import quantize
from asr.recognition.recognizer import load
from asr.recognition.transcribe import transcribe_many


@pytest.fixture(scope="module")
def quantized(model_file):
    return load(model_file, "cpu", quantized=True)


def waveforms(recordings):
    from asr import audio

    return [audio.read(path, 16000) for path in sorted(recordings.glob("*.wav"))]


def test_emissions_are_near_those_of_float32(quantized, model_file, recordings):
    exact = load(model_file, "cpu").emissions(waveforms(recordings)).rows()
    near = quantized.emissions(waveforms(recordings)).rows()
    # Of probabilities; the weights are random and larger than trained ones.
    apart = [np.abs(np.exp(a) - np.exp(b)).mean() for a, b in zip(exact, near, strict=True)]
    assert max(apart) < 0.02
    assert not torch.allclose(torch.tensor(exact[0]), torch.tensor(near[0]))  # it is another model


def test_batches_change_nothing(quantized, recordings):
    every = waveforms(recordings)
    together = quantized.emissions(every).rows()
    for waveform, row in zip(every, together, strict=True):
        (alone,) = quantized.emissions([waveform]).rows()
        assert np.array_equal(alone, row)
    asked = [Utterance(p.stem, str(p)) for p in sorted(recordings.glob("*.wav"))]
    texts = [[t.text for _, t in transcribe_many(quantized, asked, s)] for s in (1.0, 1e9)]
    assert texts[0] == texts[1] and len(set(texts[0])) > 3


def test_the_threads_of_others_stay_as_they_are(quantized, recordings):
    before = torch.get_num_threads()
    quantized.emissions(waveforms(recordings)[:2])
    assert torch.get_num_threads() == before


def test_unsupported_uses_are_errors(model_file):
    model = load_model(model_file)
    with pytest.raises(
        UserError, match="int8 weights run on a CPU, not on cuda: choose the device cpu"
    ):
        quantize(model.acoustic, torch.device("cuda"))
    with pytest.raises(UserError, match="gru stays float32"):
        quantize(torch.nn.GRU(2, 2), torch.device("cpu"))
