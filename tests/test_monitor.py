"""The outputs of a run: rows that do not depend on a kill, TensorBoard logs, pictures, W&B."""

import json
import math
import struct
import sys

import numpy as np
import pytest
import soundfile
import torch
from conftest import RATE_HZ, noise
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from asr.config import parse
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.plotting import figures
from asr.recognition.recognizer import Recognizer
from asr.scoring.evaluate import Evaluation, evaluate
from asr.scoring.wer import Pair, score
from asr.training.metrics import StepMetrics
from asr.training.monitor import Monitor
from asr.training.tensorboard import feature_image, text_table
from asr.training.writers import read_metrics

TIMES = {"train/audio_s_per_s", "train/data_wait_share"}  # the columns a clock decides


def configured(**train):
    return parse({"name": "seen", "train": {"log_every": 4} | train}, "seen")


def start(folder, config=None, total_steps=20, **more):
    console = Console(file=(folder / "console").open("a"), width=200)
    return Monitor(folder, config or configured(), total_steps, console, **more)


def logged(step):
    """Random metrics of a step; every seventh step has a gradient that is not finite."""
    return StepMetrics(
        loss=10 / step,
        gradient_norm=math.inf if step % 7 == 0 else 0.1 * step,
        learning_rate=1e-3 * step,
        audio_s=10.0 + step,
        padding_s=1.0,
        wait_s=0.1,
        step_s=0.5,
    )


def decided(rows):
    """Rows without the columns that depend on the clock."""
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def scalars(folder):
    """All scalars of the logs of a run, as TensorBoard reads them: {name: [(step, value)]}."""
    logs = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in logs.Scalars(tag)]
        for tag in logs.Tags()["scalars"]
        if tag not in TIMES
    }


@pytest.fixture(scope="module")
def dev_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dev")
    utterances = []
    for i in range(8):
        path = folder / f"{i}.wav"
        soundfile.write(path, noise(0.5 + 0.3 * i, seed=i), RATE_HZ)
        utterances.append(Utterance(f"u{i}", str(path), text="bad | cab " * (i + 1)))
    gone = Utterance("gone", str(folder / "gone.wav"), text="ace " * 50)  # the worst of all
    return [*utterances, gone]


@pytest.fixture(scope="module")
def recognizer(tiny_model):
    return Recognizer(tiny_model, "cpu")


@pytest.fixture(scope="module")
def evaluation(recognizer, dev_set):
    return evaluate(recognizer, dev_set)


def test_rows_are_means_over_the_steps_since_the_row_before(tmp_path):
    with start(tmp_path, total_steps=10) as seen:
        for step in range(1, 11):
            seen.step(step, 1 + step // 6, logged(step))
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 4, 8, 10]  # the first, each fourth, the last
    assert [row["epoch"] for row in rows] == [1, 1, 2, 2]
    for row, steps in zip(rows, [[1], [2, 3, 4], [5, 6, 7, 8], [9, 10]], strict=True):
        finite = [logged(s) for s in steps if s % 7]
        audio_s = sum(logged(s).audio_s for s in steps)
        assert row == {
            "step": steps[-1],
            "epoch": row["epoch"],
            "train/loss": pytest.approx(np.mean([s.loss for s in finite])),
            "train/gradient_norm": pytest.approx(np.mean([s.gradient_norm for s in finite])),
            "train/learning_rate": logged(steps[-1]).learning_rate,
            "train/skipped_steps": len(steps) - len(finite),
            "train/padding_share": pytest.approx(len(steps) / (audio_s + len(steps))),
            "train/audio_s_per_s": pytest.approx(audio_s / (0.5 * len(steps))),
            "train/data_wait_share": pytest.approx(0.2),
        }
    said = (tmp_path / "console").read_text()
    assert "31 s of audio per second, 6.1% padding, 20.0% of the time spent waiting" in said


def test_steps_without_a_finite_loss_leave_a_row_that_is_json(tmp_path):
    with start(tmp_path, configured(log_every=1)) as seen:
        seen.step(1, 1, StepMetrics(math.nan, math.nan, 1e-3, 1.0, 0.0, 0.1, 0.5))
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    row = json.loads(line, parse_constant=pytest.fail)
    assert row["train/loss"] is None and row["train/skipped_steps"] == 1
    assert "train/loss" not in scalars(tmp_path)


# What happens in a run of five epochs: (what, after which step)
SCRIPT = [
    event
    for epoch in range(5)
    for event in [*(("step", 4 * epoch + i) for i in (1, 2, 3, 4)), ("validation", 4 * epoch + 4)]
]


@pytest.mark.parametrize(
    ("saved", "killed"), [(0, 0), (1, 1), (3, 4), (4, 5), (4, 18), (5, 5), (14, 20), (25, 25)]
)
def test_a_run_that_is_killed_and_resumed_leaves_the_rows_of_one_that_is_not(
    tmp_path, monkeypatch, recognizer, evaluation, dev_set, saved, killed
):
    """The run is killed after N events, with the last checkpoint after M <= N events."""
    monkeypatch.setattr("asr.plotting.figures.curves", lambda *_: None)

    def follow(seen, events, other=0):
        for what, step in events:
            if what == "step":
                seen.step(step, (step + 3) // 4, logged(step + other))
            else:
                seen.validation(step, step // 4, evaluation, recognizer, dev_set, best=False)

    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    for folder in (straight, stopped):
        folder.mkdir()
    with start(straight, configured(log_every=3)) as seen:
        follow(seen, SCRIPT)

    first = start(stopped, configured(log_every=3))
    follow(first, SCRIPT[:saved])
    state = json.loads(json.dumps(first.checkpoint()))  # as a checkpoint keeps it
    follow(first, SCRIPT[saved:killed], other=1)
    first.checkpoint()  # so that there is something to forget in the logs too
    with (stopped / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "ep')  # a row that the kill has cut
    for file in stopped.glob("tensorboard/events.*"):  # it was long ago: logs go by their seconds
        file.rename(file.with_name(file.name.replace("tfevents.1", "tfevents.0")))

    resumed_at = sum(what == "step" for what, _ in SCRIPT[:saved])
    with start(stopped, configured(log_every=3), resumed_at=resumed_at, resumed=state) as seen:
        follow(seen, SCRIPT[saved:])
    rows = [read_metrics(folder / "metrics.jsonl") for folder in (straight, stopped)]
    assert decided(rows[0]) == decided(rows[1])
    assert [row["step"] for row in rows[0]] == [1, 3, 4, 6, 8, 9, 12, 12, 15, 16, 18, 20, 20]
    # A validation that was done twice is logged twice in TensorBoard, at the same step.
    logs = [{k: sorted(set(v)) for k, v in scalars(f).items()} for f in (straight, stopped)]
    assert logs[0] == logs[1]


def test_rows_before_a_checkpoint_are_on_the_disk(tmp_path):
    seen = start(tmp_path)
    for step in range(1, 9):
        seen.step(step, 1, logged(step))
    seen.checkpoint()
    assert [step for step, _ in scalars(tmp_path)["train/loss"]] == [1, 4, 8]
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 4, 8]


def test_a_fresh_run_deletes_earlier_rows(tmp_path):
    for loss in (3.0, 2.0):
        with start(tmp_path) as seen:
            seen.step(1, 1, StepMetrics(loss, 1.0, 1e-3, 1.0, 0.0, 0.1, 0.5))
    assert [row["train/loss"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [2.0]
    assert scalars(tmp_path)["train/loss"] == [(1, 2.0)]


def test_validations_show_texts_and_the_best_one_its_worst_utterances(
    tmp_path, recognizer, evaluation, dev_set
):
    with start(tmp_path) as seen:
        seen.validation(4, 1, evaluation, recognizer, dev_set, best=True)
        seen.validation(8, 2, evaluation, recognizer, dev_set, best=True)
        seen.validation(12, 3, evaluation, recognizer, dev_set, best=False)
    first, *_ = read_metrics(tmp_path / "metrics.jsonl")
    found = evaluation.score
    assert first == {
        "step": 4, "epoch": 1, "dev/wer": found.wer, "dev/cer": found.cer,
        "dev/wer_low": found.interval[0], "dev/wer_high": found.interval[1],
    }  # fmt: skip

    logs = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    examples, worst = (logs.Tensors(f"dev/{name}/text_summary") for name in ("examples", "worst"))
    assert [event.step for event in examples] == [event.step for event in worst] == [4, 8, 12]
    shown = examples[0].tensor_proto.string_val[0].decode()
    assert [line.split(" | ")[0] for line in shown.splitlines()[2:]] == [
        "| u0", "| u2", "| u4", "| u6", "| gone",
    ]  # fmt: skip
    shown = worst[0].tensor_proto.string_val[0].decode().splitlines()[2:]
    errors = [int(line.split(" | ")[1]) for line in shown]
    assert shown[0].startswith("| gone | 50 |") and errors == sorted(errors, reverse=True)

    folder = tmp_path / "tensorboard/worst"
    assert len(list(folder.iterdir())) == 1  # the second took the place of the first
    heard = EventAccumulator(str(folder)).Reload()
    # By their place in the table; the first cannot be read, and has no sound.
    assert heard.Tags()["audio"] == [f"worst_audio/{place}" for place in (2, 3, 4)]
    assert heard.Tags()["images"] == [f"worst_features/{place}" for place in (2, 3, 4)]
    (sound,) = heard.Audio("worst_audio/2")
    assert shown[1].startswith("| u7 | 16 |")
    longest = soundfile.info(dev_set[7].audio)
    assert sound.step == 8 and sound.sample_rate == RATE_HZ
    assert sound.length_frames == longest.frames
    (image,) = heard.Images("worst_features/2")
    assert image.width == 2 * recognizer.emitter.features.frames(longest.frames)
    assert image.height == 4 * recognizer.emitter.features.size


def test_features_are_shown_low_frequencies_below_and_without_dither(recognizer):
    t = torch.arange(RATE_HZ) / RATE_HZ
    waveform = torch.sin(2 * torch.pi * 300 * t)[None]
    recognizer.emitter.features.train()
    shades = feature_image(recognizer, waveform)
    assert recognizer.emitter.features.training and shades.dtype == np.uint8
    assert shades.shape == (4 * 20, 2 * recognizer.emitter.features.frames(RATE_HZ))
    assert (shades == feature_image(recognizer, waveform)).all()
    assert shades[:, 20:-20].mean(1).argmax() >= 4 * 16  # 300 Hz: among the lowest of 20 mels
    assert shades.max() == 255


def test_utterances_without_an_error_are_not_the_worst(tmp_path, recognizer, dev_set):
    pairs = [Pair(u.id, u.text, u.text) for u in dev_set[:2]] + [Pair("u2", "ace", "bad")]
    with start(tmp_path) as seen:
        found = Evaluation(score(pairs), pairs, [])
        seen.validation(1, 1, found, recognizer, dev_set[:3], best=True)
    logs = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (event,) = logs.Tensors("dev/worst/text_summary")
    assert event.tensor_proto.string_val[0].decode().splitlines()[2:] == ["| u2 | 1 | ace | bad |"]
    heard = EventAccumulator(str(tmp_path / "tensorboard/worst")).Reload()
    assert heard.Tags()["audio"] == ["worst_audio/1"]


def test_texts_do_not_break_the_table():
    table = text_table([Pair("a", "one | two", "")], [2]).splitlines()
    assert table[2] == r"| a | 2 | one \| two |  |"


def test_only_one_process_writes(tmp_path, recognizer, evaluation, dev_set):
    folder = tmp_path / "run"
    with Monitor(folder, configured(), 20, Console(), writes=False) as seen:
        seen.step(1, 1, logged(1))
        seen.validation(1, 1, evaluation, recognizer, dev_set, best=True)
        seen.checkpoint()
    assert not folder.exists()


def test_curves_are_drawn_from_the_first_step_on(tmp_path, evaluation, recognizer, dev_set):
    with start(tmp_path) as seen:
        seen.step(1, 1, logged(1))
        seen.validation(1, 1, evaluation, recognizer, dev_set, best=True)
        with Image.open(tmp_path / "curves.png") as image:
            assert image.width > 1000
        (tmp_path / "curves.png").unlink()
        seen.validation(2, 1, evaluation, recognizer, dev_set, best=True)
        assert not (tmp_path / "curves.png").exists()  # so soon again is too dear
    assert (tmp_path / "curves.png").exists()


def test_smoothed_curves_are_means_around_each_value():
    values = np.random.default_rng(0).random(200)
    expected = [values[max(0, i - 4) : i + 5].mean() for i in range(200)]
    assert figures._smooth(values) == pytest.approx(expected)
    assert figures._smooth(values[:1]) == values[:1] and len(figures._smooth(values[:0])) == 0


def test_without_matplotlib_a_run_warns_once_and_continues(
    tmp_path, monkeypatch, caplog, evaluation, recognizer, dev_set
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with start(tmp_path) as seen:
        for step in (1, 2, 3):
            seen.validation(step, step, evaluation, recognizer, dev_set, best=False)
    (record,) = caplog.records
    assert "no curves.png" in record.message and "pip install 'asr[plots]'" in record.message
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3


def test_missing_wandb_is_an_error_before_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"train.wandb=speech: .* pip install 'asr\[wandb\]'"):
        start(tmp_path, configured(wandb="speech"))


def test_wandb_gets_the_rows_and_a_resumed_run_continues(tmp_path, monkeypatch):
    reason = "Weights & Biases is optional: pip install 'asr[wandb]'"
    wandb = pytest.importorskip("wandb", reason=reason)
    monkeypatch.setenv("WANDB_MODE", "offline")  # no account, no network: what it would send
    config = configured(wandb="speech")
    with start(tmp_path, config) as seen:
        for step in range(1, 5):
            seen.step(step, 1, logged(step))
        state = seen.checkpoint()
    with start(tmp_path, config, resumed_at=4, resumed=state) as seen:
        for step in range(5, 9):
            seen.step(step, 2, logged(step))
    wandb.teardown()  # waits for its process, which writes the files
    id = (tmp_path / "wandb.id").read_text()
    files = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert [file.stem for file in files] == [f"run-{id}"] * 2
    sent = [row for file in files for row in wandb_rows(file)]
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert sent == [{k: v for k, v in row.items() if v is not None} for row in rows]

    with start(tmp_path, config):
        pass
    assert (tmp_path / "wandb.id").read_text() != id  # a fresh run is another one there too


def wandb_rows(file):
    """The rows that Weights & Biases would send, without its own columns."""
    from wandb.proto.wandb_internal_pb2 import Record

    for data in leveldb_records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            items = record.history.item
            row = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
            columns = {k: v for k, v in row.items() if not k.startswith("_")}
            yield {"step": record.history.step.num} | columns


def leveldb_records(data):
    """The records of a log in LevelDB's format, which follows a header of 7 bytes of W&B."""
    at, record = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # the rest of a block is too short for a header
            at += 32768 - at % 32768
        _, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""
