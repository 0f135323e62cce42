"""Training steps: one transfer from the device; bad steps change no weight, and are saved."""

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console
from tones import RATE_HZ, make_corpus, small_model
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

from asr.cli import app
from asr.data import manifest
from asr.errors import Failed
from asr.training.interrupt import StopRequest
from asr.training.step import accumulate_gradients, train_step
from asr.training.trainer import start_or_resume

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("step")
    make_corpus(folder, train=12)
    return manifest.read(folder / "train.jsonl")


class Reads(TorchDispatchMode):
    """Counts reads of float tensors from Python, each of which would wait for a GPU."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        if name == "_local_scalar_dense" and arguments[0].is_floating_point():
            self.count += 1
        return function(*arguments, **(options or {}))


def test_no_loss_is_read_while_gradients_accumulate(rows, tmp_path):
    model, usable = small_model(rows, accumulate=4, batch_s=8)
    run = start_or_resume(model, usable, tmp_path, QUIET)
    run.batches = iter([next(run.batches) for _ in range(4)])  # the loader's augmentation reads
    with Reads() as reads:
        done = accumulate_gradients(run)
    assert reads.count == 0 and len(done.batches) == 4
    with Reads() as reads:
        assert done.loss.item() > 0
    assert reads.count == 1
    run.monitor.__exit__(None)


def test_a_bad_step_changes_no_weight_and_leaves_what_the_model_received(rows, tmp_path):
    """There are four parts of one or two utterances; a placeholder part is not saved."""
    model, usable = small_model(rows, accumulate=4, batch_s=4)
    run = start_or_resume(model, usable, tmp_path, QUIET)
    received = []
    forward = run.objective.forward

    def infinite(batch):
        received.append(batch)
        return forward(batch) * torch.inf

    run.objective.forward = infinite
    run.objective.train()
    before = {k: v.clone() for k, v in model.acoustic.named_parameters()}
    result = train_step(run, StopRequest())
    run.monitor.__exit__(None)
    assert not result.metrics.finite and run.state.step == 1
    assert all(torch.equal(v, before[k]) for k, v in model.acoustic.named_parameters())

    path = tmp_path / "bad-batches/step-0-rank-0/manifest.jsonl"
    kept = {u.id: u for u in manifest.read(path)}
    assert any(batch.weight == 0 for batch in received)  # or the test would show less than it says
    real = [batch for batch in received if batch.weight]
    assert list(kept) == [name for batch in real for name in batch.ids]
    texts = {u.id: u.text for u in rows}
    for batch in real:
        for i, name in enumerate(batch.ids):
            samples, rate_hz = soundfile.read(kept[name].audio, dtype="float32")
            assert rate_hz == RATE_HZ and kept[name].text == texts[name]
            np.testing.assert_array_equal(samples, batch.waveforms[i, : batch.lengths[i]].numpy())
    checked = CliRunner().invoke(app, ["check", str(path)])
    assert checked.exit_code == 0 and "no problem found" in checked.output


def test_bad_steps_are_named_counted_and_end_the_run(rows, tmp_path, caplog):
    model, usable = small_model(rows)
    run = start_or_resume(model, usable, tmp_path, QUIET)
    forward, bad = run.objective.forward, {0, 1, 2, 3, 5, 6, 7, 8, 9}
    run.objective.forward = lambda batch: (
        forward(batch) * (torch.inf if run.state.step in bad else 1.0)
    )
    run.objective.train()
    with pytest.raises(Failed, match=r"5 steps in a row .* train\.learning_rate"):
        for _ in range(len(bad) + 2):  # four bad ones and a good one do not end it
            train_step(run, StopRequest())
    run.monitor.__exit__(None)
    messages = [record.getMessage() for record in caplog.records]
    warnings = [line for line in messages if "steps are few" not in line]  # of the short plan
    assert len(warnings) == len(bad) and run.state.step == 9
    for step, line in zip(sorted(bad), warnings, strict=True):
        folder = tmp_path / f"bad-batches/step-{step}-rank-0"
        ids = [u.id for u in manifest.read(folder / "manifest.jsonl")]
        assert line.startswith(f"step {step}: loss ") and str(folder) in line
        assert f"Its {len(ids)} utterances: {', '.join(ids[:8])}" in line
