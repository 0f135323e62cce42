"""Transcription on a Ray cluster: every recording has one result, even if workers or nodes fail."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest
import soundfile
from conftest import noise
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from asr.cli import app
from asr.cluster import archive
from asr.cluster.archive import chunks, transcribe_archive
from asr.cluster.cluster import connected, require_ray
from asr.cluster.parts import PartFiles
from asr.cluster.worker import Work, Worker
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition.recognizer import load
from asr.recognition.transcribe import WINDOW, Failure, transcribe_many
from asr.transcript.writers import jsonl

# Clusters of the tests let nobody else in. Ray reads this once, when it is first imported.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))  # a driver below has its parent's

RATE_HZ = 16000
SETTINGS = {"model": "a"}


def rows(folder: Path) -> list[dict]:
    parts = sorted(folder.glob("part-*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


# ---- the parts, without Ray ----------------------------------------------------------------------


def fill(folder, ids, **options) -> None:
    with PartFiles(folder, SETTINGS, **options) as parts:
        for id in ids:
            parts.add(
                id, f"/{id}.wav", json.dumps({"id": id, "audio": f"/{id}.wav"}).encode() + b"\n"
            )


def test_parts_are_written_when_full_and_at_the_end(tmp_path):
    fill(tmp_path, "abcde", part_rows=2)
    assert sorted(path.name for path in tmp_path.glob("part*")) == [
        "part-00000.jsonl",
        "part-00001.jsonl",
        "part-00002.jsonl",
    ]
    assert [row["id"] for row in rows(tmp_path)] == list("abcde")


def test_a_part_that_is_old_enough_is_written(tmp_path):
    with PartFiles(tmp_path, SETTINGS, part_s=0.0) as parts:
        parts.add("a", "/a.wav", b'{"id": "a", "audio": "/a.wav"}\n')
        assert len(rows(tmp_path)) == 1


def test_a_second_run_continues_the_part_numbers(tmp_path):
    fill(tmp_path, "ab")
    (tmp_path / ".part-00001.jsonl.77.part").write_text("half a li")  # of a run that was killed
    with PartFiles(tmp_path, SETTINGS) as parts:
        assert parts.done == {"a": "/a.wav", "b": "/b.wav"}
        with pytest.raises(ValueError, match="already"):
            parts.add("a", "/a.wav", b"{}\n")
    fill(tmp_path, "c")
    assert [row["id"] for row in rows(tmp_path)] == list("abc")


def test_an_interrupted_run_keeps_finished_results(tmp_path):
    with pytest.raises(KeyboardInterrupt), PartFiles(tmp_path, SETTINGS) as parts:
        parts.add("a", "/a.wav", b'{"id": "a", "audio": "/a.wav"}\n')
        raise KeyboardInterrupt
    assert len(rows(tmp_path)) == 1


def test_two_runs_do_not_share_a_folder(tmp_path):
    with (
        PartFiles(tmp_path, SETTINGS),
        pytest.raises(UserError, match="another run is writing here"),
    ):
        PartFiles(tmp_path, SETTINGS)
    PartFiles(tmp_path, SETTINGS).__exit__()


def test_results_of_two_models_do_not_mix(tmp_path):
    fill(tmp_path, "a")
    with pytest.raises(UserError, match="has results with another model: a, not b"):
        PartFiles(tmp_path, {"model": "b"})
    fill(tmp_path, "b")  # the refusal left no lock
    with PartFiles(tmp_path, {"model": "b"}, overwrite=True) as parts:
        assert parts.done == {}
    assert rows(tmp_path) == []


@pytest.mark.parametrize(
    "line", ['{"id": "b"', '{"id": "b"}', '{"id": "a", "audio": "/a.wav"}', "[]"]
)
def test_a_damaged_part_is_named_with_its_line(tmp_path, line):
    fill(tmp_path, "a")
    with (tmp_path / "part-00000.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(UserError, match=r"part-00000.jsonl:2: "):
        PartFiles(tmp_path, SETTINGS)


def test_parts_without_their_settings_are_refused(tmp_path):
    fill(tmp_path, "a")
    (tmp_path / "job.json").unlink()
    with pytest.raises(UserError, match=r"job\.json: cannot be read, so the settings"):
        PartFiles(tmp_path, SETTINGS)


def test_failures_are_a_manifest_until_a_run_has_none(tmp_path):
    with PartFiles(tmp_path / "out", SETTINGS) as parts:
        parts.add_failure(Failure(Utterance("x", str(tmp_path / "x.wav"), 2.0), "no such file"))
    (found,) = manifest.read(tmp_path / "out/failed.jsonl")
    assert (found.id, found.audio, found.start_s) == ("x", str(tmp_path / "x.wav"), 2.0)
    assert found.extra == {"reason": "no such file"}
    fill(tmp_path / "out", "x")
    assert not (tmp_path / "out/failed.jsonl").exists()


@given(st.lists(st.none() | st.floats(0.1, 9000), max_size=300), st.integers(1, 40))
def test_chunks_have_every_utterance_once_by_duration(durations_s, workers):
    utterances = [Utterance(str(i), f"{i}.wav", 0.0, d) for i, d in enumerate(durations_s)]
    found = chunks(utterances, workers)
    assert sorted(i for chunk in found for i, _ in chunk) == list(range(len(utterances)))
    seconds = [
        [archive.DEFAULT_DURATION_S if u.duration_s is None else u.duration_s for _, u in c]
        for c in found
    ]
    every = list(chain(*seconds))
    assert every == sorted(every, reverse=True)
    limit_s = min(archive.CHUNK_S, sum(every) / (archive.CHUNKS_PER_WORKER * workers))
    for chunk in seconds:
        assert 1 <= len(chunk) <= WINDOW
        assert len(chunk) == 1 or sum(chunk) <= limit_s + 1e-6


# ---- what is asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["x.wav", "--engine", "ray"], "give a folder for the results, -o FOLDER"),
        (["x.wav", "--engine", "ray", "-o", "t", "--format", "srt"], "leave --format out"),
        (["-", "--engine", "ray", "-o", "t"], "not --watch or a pipe"),
        (["--watch", "x", "--engine", "ray", "-o", "t"], "not --watch or a pipe"),
        (
            ["x.wav", "--address", "h:1"],
            "h:1: the address of a Ray cluster needs --engine ray",
        ),
    ],
)
def test_contradicting_options_are_errors(arguments, complaint):
    done = CliRunner().invoke(app, ["transcribe", "model.asr", *arguments])
    assert isinstance(done.exception, UserError)
    assert complaint in str(done.exception)


def test_without_ray_the_error_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray is not installed .*pip install 'asr\[ray\]'"):
        require_ray()


@pytest.mark.parametrize(
    "address, complaint",
    [
        ("127.0.0.1:1", "no Ray cluster answers: .*refused"),
        ("ray://127.0.0.1:1", "must be HOST:PORT or auto"),
        ("here", "must be HOST:PORT or auto"),
        ("127.0.0.1:99999", "no Ray cluster answers"),
    ],
)
def test_an_unreachable_cluster_is_an_error_at_once(tmp_path, address, complaint):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'asr[ray]'")
    began = time.monotonic()
    with (
        pytest.raises(UserError, match=f"address {address}: {complaint}"),
        connected(address, tmp_path / "ray.log"),
    ):
        pass
    assert time.monotonic() - began < 15


def test_an_id_belongs_to_one_recording(model_file, recordings, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'asr[ray]'")
    two = [Utterance("x", str(recordings / "r0.wav")), Utterance("x", str(recordings / "r1.wav"))]
    work = Work(model_file, vad="energy")
    with pytest.raises(UserError, match="id 'x': two recordings have this id"):
        list(transcribe_archive(work, two, tmp_path))
    with PartFiles(tmp_path, work.settings()) as parts:
        parts.add("x", "/other.wav", b'{"id": "x", "audio": "/other.wav"}\n')
    with pytest.raises(UserError, match=r"id 'x' is that of /other.wav, not of .*r0.wav"):
        list(transcribe_archive(work, two[:1], tmp_path))


# ---- on two nodes --------------------------------------------------------------------------------


class Marked(Worker):
    """A slow recognizer that records its process in a file; `deadly` audio kills the process."""

    def _results(self, utterances):
        import ray

        node = ray.get_runtime_context().get_node_id()
        for utterance in utterances:
            (Path(utterance.audio).parent / f"{utterance.id} began on {node}").touch()
            if utterance.id == "deadly":
                os._exit(1)
            time.sleep(0.3)
        return super()._results(utterances)


@pytest.fixture(scope="module")
def cluster():
    """Two nodes with one CPU each, on this machine; the loss of a node is detected in seconds."""
    pytest.importorskip("ray.data", reason="Ray is not installed: pip install 'asr[ray]'")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    settings = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 3,
    }
    cluster = Cluster()
    memory = 100 << 20
    cluster.add_node(
        num_cpus=1,
        object_store_memory=memory,
        include_dashboard=False,
        _system_config=settings,
    )
    cluster.second = cluster.add_node(num_cpus=1, object_store_memory=memory)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def audio(recordings, tmp_path) -> Path:
    """A manifest.jsonl with relative paths of 24 recordings and of a file that is not audio."""
    folder = tmp_path / "archive"
    folder.mkdir()
    utterances = []
    for i in range(24):
        shutil.copy(recordings / f"r{i % 8}.wav", folder / f"n{i}.wav")
        utterances.append(
            Utterance(f"n{i}", str(folder / f"n{i}.wav"), duration_s=[None, 1.0][i % 2])
        )
    (folder / "bad.wav").write_text("not audio")
    utterances.append(Utterance("bad", str(folder / "bad.wav")))
    manifest.write(folder / "manifest.jsonl", utterances)
    return folder


def in_one_process(model_file, audio: Path) -> dict[str, str]:
    """The results of a single process: {id: JSON line}."""
    results = transcribe_many(load(model_file, "cpu"), manifest.read(audio / "manifest.jsonl"))
    return {u.id: jsonl(found, u.id) for u, found in results if not isinstance(found, Failure)}


def same(folder: Path, lines: dict[str, str]) -> None:
    """Assert that the parts have each result once, with confidences equal up to rounding."""
    found = rows(folder)
    assert sorted(row["id"] for row in found) == sorted(lines)
    for row in found:
        expected = json.loads(lines[row["id"]])
        assert (row["text"], row["duration_s"]) == (expected["text"], expected["duration_s"])
        assert row["audio"] == expected["audio"]
        for one, other in zip(row.get("segments", []), expected.get("segments", []), strict=True):
            for word, as_before in zip(one["words"], other["words"], strict=True):
                assert word.pop("confidence") == pytest.approx(
                    as_before.pop("confidence"), abs=1e-3
                )
            assert one == other


def command(*arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "asr.cli", "transcribe", *map(str, arguments), "--engine", "ray"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        **options,
    )


def test_the_command_equals_one_process_and_resumes(cluster, audio, model_file, tmp_path):
    odd = os.fsdecode(b"n\xff\xfe.wav")  # no text in any encoding
    shutil.copy(audio / "n3.wav", audio / odd)
    lines = in_one_process(model_file, audio)
    asked = (model_file, "archive/manifest.jsonl", "-o", "out", "--address", cluster.address)
    done = command(*asked, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout == "24 of 25 recordings: out/part-*.jsonl\n"
    assert done.stderr.splitlines() == [
        f"failed {audio}/bad.wav: not an audio file that soundfile or PyAV can read, or its end is "
        "missing",
        "1 of 25 could not be transcribed (listed in out/failed.jsonl)",
    ]
    same(tmp_path / "out", lines)
    first = (tmp_path / "out/part-00000.jsonl").read_bytes()
    soundfile.write(audio / "bad.wav", noise(1.0), RATE_HZ)  # mended
    done = command(model_file, "archive", *asked[2:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "26 of 26 recordings, 24 of them in an earlier run: out/part-*.jsonl\n"
    assert (tmp_path / "out/part-00000.jsonl").read_bytes() == first
    assert len({row["id"] for row in rows(tmp_path / "out")}) == len(rows(tmp_path / "out")) == 26
    assert not (tmp_path / "out/failed.jsonl").exists()


@pytest.fixture
def marked(monkeypatch):
    from ray import cloudpickle

    module = sys.modules[__name__]
    monkeypatch.setattr(archive, "Worker", Marked)
    cloudpickle.register_pickle_by_value(module)  # nodes do not know the tests
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.slow
def test_a_recording_that_kills_workers_is_given_up_alone(
    cluster, audio, model_file, tmp_path, marked, caplog
):
    utterances = manifest.read(audio / "manifest.jsonl")[:6]
    utterances.insert(3, Utterance("deadly", str(audio / "n0.wav"), duration_s=1.0))
    lines = in_one_process(model_file, audio)
    outcomes = list(
        transcribe_archive(Work(model_file), utterances, tmp_path / "out", cluster.address)
    )
    failed = {o.utterance.id: o.failure for o in outcomes if o.failure}
    assert list(failed) == ["deadly"]
    assert "every worker that transcribed it died" in failed["deadly"]
    same(tmp_path / "out", {u.id: lines[u.id] for u in utterances if u.id != "deadly"})


DRIVER = """
import sys
from functools import partial
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_archive
from ray import cloudpickle
from asr.data import manifest
from asr.cluster import archive
cloudpickle.register_pickle_by_value(test_archive)
archive.Worker = test_archive.Marked
archive.PartFiles = partial(archive.PartFiles, part_rows=3)
model, listed, to, address = sys.argv[1:]
work = archive.Work(Path(model))
for outcome in archive.transcribe_archive(work, manifest.read(listed), to, address):
    print(outcome.utterance.id, outcome.failure is None, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_driver_is_resumed(cluster, audio, model_file, tmp_path, end):
    to = tmp_path / "out"
    arguments = (model_file, audio / "manifest.jsonl", to, cluster.address)
    driver = subprocess.Popen(
        [
            sys.executable,
            "-c",
            DRIVER.format(tests=str(Path(__file__).parent)),
            *map(str, arguments),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    came = []
    for line in driver.stdout:
        id, well = line.split()
        came += [id] if well == "True" else []
        if len(came) == 8:
            driver.send_signal(end)
            break
    driver.communicate()
    assert len(came) == 8 and driver.returncode != 0
    written = rows(to)
    assert len(written) >= (6 if end == signal.SIGKILL else 8)  # parts of three; or all that came
    work, asked = Work(model_file), manifest.read(audio / "manifest.jsonl")
    outcomes = list(transcribe_archive(work, asked, to, cluster.address))
    assert [o.utterance.id for o in outcomes if o.kept] == [
        u.id for u in asked if u.id in {row["id"] for row in written}
    ]
    assert [o.utterance.id for o in outcomes if o.failure] == ["bad"]
    same(to, in_one_process(model_file, audio))


@pytest.mark.slow
def test_a_lost_node_loses_no_result(cluster, audio, model_file, tmp_path, marked):
    utterances = [u for u in manifest.read(audio / "manifest.jsonl") if u.id != "bad"]
    outcomes = transcribe_archive(Work(model_file), utterances, tmp_path / "out", cluster.address)
    seen = []
    for outcome in outcomes:
        assert outcome.failure is None
        seen.append(outcome.utterance.id)
        if len(seen) == 8:
            begun = {path.name.split()[-1] for path in audio.glob("* began on *")}
            assert cluster.second.node_id in begun  # it had work in hand
            cluster.remove_node(cluster.second, allow_graceful=False)
    assert sorted(seen) == sorted(u.id for u in utterances)
    same(tmp_path / "out", in_one_process(model_file, audio))
