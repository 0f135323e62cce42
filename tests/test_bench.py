"""asr bench: every figure is of something that ran."""

import json
import re
import runpy
from pathlib import Path

import pytest
import soundfile

from asr.cli.options import Decoding
from asr.cli.system import bench as bench_command
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.diagnostics import bench as benching
from asr.diagnostics.bench import bench
from asr.errors import UserError
from asr.model.model_file import load_model
from asr.recognition.recognizer import load

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("asr.diagnostics.bench.LENGTHS_S", (0.5, 2.0))
    monkeypatch.setattr("asr.diagnostics.bench.BATCHES", (1, 3))
    monkeypatch.setattr("asr.diagnostics.bench.MADE_S", 4.0)


STAGES = ["read", "features", "model", "decode", "format"]


@pytest.mark.parametrize("quantized", [False, True])
def test_figures_fit_together(model_file, quantized):
    found = bench(model_file, lambda: load(model_file, "cpu", quantized=quantized))
    assert found.parameters == load_model(model_file).acoustic.parameter_count()
    assert found.file_mib == pytest.approx(model_file.stat().st_size / 2**20)
    assert [stage.name for stage in found.stages] == [*STAGES, "in all"]
    assert found.stages[-1].seconds == pytest.approx(sum(s.seconds for s in found.stages[:-1]))
    for stage in found.stages:
        assert 0 < stage.seconds == pytest.approx(stage.rtf * found.audio_s)
    assert [(g.batch, g.length_s) for g in found.growth] == [
        (batch, length_s) for batch in benching.BATCHES for length_s in benching.LENGTHS_S
    ]
    for row in found.growth:
        assert row.times_real_time == pytest.approx(row.batch * row.length_s / row.seconds)
    peaks = [row.peak_mib for row in found.growth]
    assert 50 < peaks[0] <= peaks[-1]  # memory that was freed is used again
    assert 0 < found.latency_s and 0 < found.first_s and 0 < found.load_s


def test_a_recording_of_ones_own(model_file, recordings, tmp_path):
    samples, rate_hz = soundfile.read(recordings / "r0.wav")
    soundfile.write(tmp_path / "short.wav", samples[:rate_hz], rate_hz)
    with pytest.raises(UserError, match=r"short\.wav: shorter than 3 s"):
        bench(model_file, lambda: load(model_file, "cpu"), tmp_path / "short.wav")


def test_the_command(model_file, capsys):
    bench_command(model_file, decoding=Decoding(device="cpu"))
    said = capsys.readouterr().out
    assert all(word in said for word in [*STAGES, "latency of 3 s", "peak MiB"])
    bench_command(model_file, as_json=True)
    assert len(json.loads(capsys.readouterr().out)["growth"]) == 4


def test_whole_commands_side_by_side(model_file, recordings, tmp_path, monkeypatch, capsys):
    """A reference that the model itself wrote: no errors, and none in the order of the files."""
    own = load(model_file, "cpu")
    paths = [recordings / f"r{i}.wav" for i in (4, 0, 2)]
    rows = [Utterance(p.stem, str(p), text=own.transcribe(p).text) for p in paths]
    manifest.write(tmp_path / "files.jsonl", rows)
    main = runpy.run_path(str(ROOT / "tools/bench_transcribers.py"))["main"]

    def run(listed):
        options = ["--rounds", "1", "--threads", "1"]
        monkeypatch.setattr("sys.argv", ["bench", str(model_file), str(listed), *options])
        main()

    run(tmp_path / "files.jsonl")
    said = capsys.readouterr().out
    assert re.search(r"3 files, 6 s; 1 threads on \d+ cores of ", said)  # 3.2 + 1.0 + 2.3 s
    table = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines()]
    wer = {row[0]: row[4] for row in table if row}
    assert wer.keys() == {"asr", "asr --quantize"} and wer["asr"] == "0.00"

    part = Utterance("part", str(paths[0]), start_s=1.0, duration_s=1.0, text="a")
    manifest.write(tmp_path / "part.jsonl", [part])
    with pytest.raises(SystemExit, match="part is a part of it; give whole files"):
        run(tmp_path / "part.jsonl")
