"""int8 weights in a model file: a smaller file, and almost the same model."""

import numpy as np
import pytest
import torch
from conftest import noise

from asr.errors import UserError
from asr.model.model_file import load_model, save_model
from asr.model.packing import SCALE, pack, unpack
from asr.recognition.recognizer import load


def test_no_weight_changes_by_more_than_half_a_step_of_its_row():
    weights = torch.randn(64, 3, 100) * torch.logspace(-3, 1, 64)[:, None, None]
    tensors = {"w": weights, "bias": torch.randn(9000), "few": torch.randn(5, 5)}
    packed = pack(tensors)
    assert packed["w"].dtype == torch.int8 and packed["w" + SCALE].shape == (64,)
    found = unpack(packed)
    assert found.keys() == tensors.keys()
    steps = weights.abs().amax((1, 2), keepdim=True) / 127
    assert ((found["w"] - weights).abs() <= 0.501 * steps).all()
    assert torch.equal(found["bias"], tensors["bias"]) and torch.equal(found["few"], tensors["few"])


def test_rows_of_zeros_stay_zeros():
    found = unpack(pack({"w": torch.zeros(100, 100)}))["w"]
    assert torch.equal(found, torch.zeros(100, 100))


def test_scales_that_do_not_fit_are_refused():
    packed = pack({"w": torch.randn(100, 100)})
    with pytest.raises(ValueError, match="w has int8 weights without a scale"):
        unpack({"w": packed["w"]})
    with pytest.raises(ValueError, match="w has int8 weights without a scale"):
        unpack(packed | {"w" + SCALE: torch.ones(99)})


def test_a_packed_file_is_smaller_and_emits_almost_the_same(model_file, tmp_path):
    path = tmp_path / "packed.asr"
    save_model(path, load_model(model_file), packed=True)
    assert path.stat().st_size < 0.5 * model_file.stat().st_size
    waveform = noise(2.0, seed=1)
    (exact,) = load(model_file, "cpu").emissions([waveform]).rows()
    (near,) = load(path, "cpu").emissions([waveform]).rows()
    assert 0 < np.abs(np.exp(exact) - np.exp(near)).mean() < 0.02


def test_damaged_scales_in_a_file_are_a_user_error(model_file, tmp_path, monkeypatch):
    def without_scales(tensors):
        return {name: t for name, t in pack(tensors).items() if not name.endswith(SCALE)}

    monkeypatch.setattr("asr.model.model_file.pack", without_scales)
    path = tmp_path / "damaged.asr"
    save_model(path, load_model(model_file), packed=True)
    with pytest.raises(UserError, match=r"not a model file, or damaged: .*without a scale"):
        load_model(path)
