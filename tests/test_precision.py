"""Mixed precision: bf16 and fp16 are used; the scaler of fp16 is saved and restored."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from rich.console import Console
from tones import make_corpus, small_model

from asr.data import manifest
from asr.errors import Failed, UserError
from asr.recognition.recognizer import Recognizer
from asr.training import device, trainer
from asr.training.checkpoint import checkpoint_files, load_checkpoint
from asr.training.device import prepare_device
from asr.training.interrupt import StopRequest
from asr.training.loop import train
from asr.training.step import train_step
from asr.training.trainer import start_or_resume

QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def other_precisions_in_one_process():
    """Reset accelerate, which keeps the precision of the first training of a process."""
    yield
    AcceleratorState._reset_state()
    PartialState._reset_state()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precision")
    make_corpus(folder, train=12, dev=2)
    return manifest.read(folder / "train.jsonl"), manifest.read(folder / "dev.jsonl")


class ScaledAccelerator(Accelerator):
    """A loss scaler on the CPU, used as that of fp16 on a GPU.

    dtype: what the model computes in; accelerate itself has fp16 on accelerators only.
    """

    mixed_precision = "fp16"

    def __init__(self, scale, dtype):
        super().__init__(cpu=True)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=3)
        self.native_amp, self.dtype = True, dtype

    def prepare_model(self, model, *arguments, **options):
        if self.dtype != torch.float32:
            model.forward = torch.autocast("cpu", dtype=self.dtype)(model.forward)
        return model


@pytest.fixture
def scaled(monkeypatch):
    def use(scale, dtype=torch.float32):
        monkeypatch.setattr(trainer, "prepare_device", lambda c: ScaledAccelerator(scale, dtype))

    return use


def weights(model):
    return torch.cat([value.flatten() for value in model.acoustic.state_dict().values()])


def test_bf16_computes_in_bf16_and_stays_close_to_float32(rows, tmp_path):
    """The dtype of the head's output is bf16; weights and emissions are float32."""
    losses, seen = {}, []
    for precision in ("no", "bf16"):
        model, usable = small_model(rows[0], precision=precision)
        model.acoustic.head.register_forward_hook(lambda *call: seen.append(call[2].dtype))
        run = start_or_resume(model, usable, tmp_path / precision, QUIET)
        with run.monitor:
            run.objective.train()
            result = [train_step(run, StopRequest()) for _ in range(3)]
        losses[precision] = [one.metrics.loss for one in result]
        assert all(p.dtype == torch.float32 for p in model.acoustic.parameters())
        assert set(seen) == {torch.bfloat16 if precision == "bf16" else torch.float32}
        seen.clear()
        AcceleratorState._reset_state()
        PartialState._reset_state()
    assert losses["bf16"] != losses["no"]
    assert losses["bf16"] == pytest.approx(losses["no"], rel=0.02)


@pytest.mark.parametrize(("has", "precision"), [(True, "bf16"), (False, "no")])
def test_auto_takes_bf16_where_the_device_has_it(rows, monkeypatch, has, precision):
    monkeypatch.setattr(device, "has_bf16", lambda device: has)
    model, _ = small_model(rows[0], precision="auto")
    assert prepare_device(model.config.train).mixed_precision == precision


def test_recognition_is_in_float32_whatever_training_was_in(rows, tmp_path):
    """Emissions during and after training in bf16 are those of the weights in float32."""
    model, usable = small_model(rows[0], precision="bf16")
    run = start_or_resume(model, usable, tmp_path, QUIET)
    with run.monitor:
        run.objective.train()
        train_step(run, StopRequest())
    audio = [torch.randn(8000, generator=torch.Generator().manual_seed(0))]
    found = run.recognizer.emissions(audio).log_probs
    fresh, _ = small_model(rows[0], precision="no")
    for name, module in fresh.modules.items():
        module.load_state_dict(model.modules[name].state_dict())
    assert found.dtype == np.float32
    assert np.array_equal(found, Recognizer(fresh, "cpu").emissions(audio).log_probs)


def test_fp16_on_a_cpu_is_refused_in_one_line(rows):
    model, _ = small_model(rows[0], precision="fp16")
    with pytest.raises(UserError, match=r"train\.precision=fp16: needs a GPU"):
        prepare_device(model.config.train)


def test_fp16_computes_in_fp16_with_a_scaler_and_stays_close_to_float32(rows, tmp_path, scaled):
    """On the CPU, which computes in fp16, but slowly."""
    losses, computed = [], []
    for dtype in (torch.float32, torch.float16):
        scaled(2.0**8, dtype)
        model, usable = small_model(rows[0])
        model.acoustic.head.register_forward_hook(lambda *call: computed.append(call[2].dtype))
        run = start_or_resume(model, usable, tmp_path / str(dtype), QUIET)
        with run.monitor:
            run.objective.train()
            result = [train_step(run, StopRequest()) for _ in range(3)]
        losses.append([one.metrics.loss for one in result])
    assert computed == [torch.float32] * 3 + [torch.float16] * 3
    assert losses[1] != losses[0] and losses[1] == pytest.approx(losses[0], rel=0.01)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="fp16 needs a GPU: none here")
def test_fp16_trains_on_a_gpu(rows, tmp_path):
    model, usable = small_model(rows[0], precision="fp16", device="cuda")
    state = train(model, usable, rows[1], tmp_path, QUIET)
    assert torch.isfinite(weights(model)).all() and state.epoch == 2
    (newest, *_) = checkpoint_files(tmp_path / "checkpoints")
    assert load_checkpoint(newest, {})["scaler"]["scale"] > 0


def test_a_scaled_loss_gives_the_weights_of_an_unscaled_one(rows, tmp_path, scaled):
    """Scaling by a power of two is exact, so missing unscaling would change the weights."""
    plain, usable = small_model(rows[0])
    train(plain, usable, rows[1], tmp_path / "plain", QUIET)
    scaled(2.0**8)
    model, _ = small_model(rows[0])
    train(model, usable, rows[1], tmp_path / "scaled", QUIET)
    torch.testing.assert_close(weights(model), weights(plain), atol=1e-6, rtol=1e-5)


def test_the_scaler_is_saved_and_restored(rows, tmp_path, scaled):
    """A run that is killed after the first epoch and resumed continues with the same scaler."""
    scaled(2.0**8)
    found = []
    for folder, epochs in (("straight", (4,)), ("resumed", (1, 4))):
        for last in epochs:
            model, usable = small_model(rows[0], epochs=last, schedule="plateau", warmup=0)
            train(model, usable, rows[1], tmp_path / folder, QUIET)
        (newest, *_) = checkpoint_files(tmp_path / folder / "checkpoints")
        found.append((load_checkpoint(newest, {})["scaler"], weights(model)))
    (straight, expected), (resumed, got) = found
    assert straight["scale"] > 2.0**8  # it has grown, so that a new scaler would differ
    assert resumed == straight and torch.equal(got, expected)


def overflow(objective, steps, loss_too):
    """Make the gradient of the first `steps` passes infinite, and optionally the loss."""
    calls, forward = [], objective.forward

    def overflowing(batch):
        calls.append(batch)
        loss = forward(batch)
        if len(calls) > steps:
            return loss
        if loss_too:
            return loss * torch.inf
        loss.register_hook(lambda gradient: gradient * torch.inf)
        return loss

    objective.forward = overflowing


@pytest.mark.parametrize("loss_too", [False, True])
def test_an_overflow_lowers_the_scale_changes_nothing_and_the_next_step_trains(
    rows, tmp_path, scaled, loss_too
):
    scaled(2.0**8)
    model, usable = small_model(rows[0])
    run = start_or_resume(model, usable, tmp_path, QUIET)
    overflow(run.objective, 2, loss_too)
    with run.monitor:
        run.objective.train()
        before = weights(model).clone()
        for expected in (2.0**7, 2.0**6):
            result = train_step(run, StopRequest())
            assert not result.metrics.finite and torch.equal(weights(model), before)
            assert run.accelerator.scaler.get_scale() == expected
        assert train_step(run, StopRequest()).metrics.finite
    assert not torch.equal(weights(model), before)
    # An overflow of the gradient alone is the scaler's search; one of the loss is a bad step.
    assert (tmp_path / "bad-batches").exists() == loss_too


def test_a_loss_that_stays_infinite_ends_the_run_with_a_scaler_too(rows, tmp_path, scaled):
    scaled(2.0**8)
    model, usable = small_model(rows[0])
    run = start_or_resume(model, usable, tmp_path, QUIET)
    overflow(run.objective, 9, loss_too=True)
    run.objective.train()
    with run.monitor, pytest.raises(Failed, match="5 steps in a row"):
        for _ in range(5):
            train_step(run, StopRequest())
