"""The command line: one line for each mistake, the exit status, and what is printed where."""

import ast
import functools
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import yaml
from tones import make_recipe

import asr
from asr import cli, config
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.diagnostics import doctor
from asr.recognition.recognizer import load
from asr.transcript.writers import FORMATS

RATE_HZ = 16000
PACKAGE = Path(asr.__file__).parent


def tone(duration_s: float = 1.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(duration_s * RATE_HZ)) / RATE_HZ)


def process(*arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "asr.cli", *map(str, arguments)],
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {}),
        **options,
    )


# ---- the worst files -----------------------------------------------------------------------------


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    return written(path, path.read_bytes()[: int(path.stat().st_size * share)])


def sound(path: Path, samples=None, **options) -> Path:
    soundfile.write(path, tone() if samples is None else samples, RATE_HZ, **options)
    return path


def m4a(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone()[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate = RATE_HZ
        fifo = av.AudioFifo()
        fifo.write(frame)
        for part in fifo.read_many(1024):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def silent_film(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for i in range(10):
            picture = np.full((64, 64, 3), 20 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    return path


def picture(path: Path) -> Path:
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width = stream.height = 8
        stream.pix_fmt = "rgb24"
        pixels = av.VideoFrame.from_ndarray(np.zeros((8, 8, 3), np.uint8))
        container.mux(stream.encode(pixels))
        container.mux(stream.encode(None))
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def unreadable(path: Path) -> Path:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    sound(path).chmod(0)
    return path


def header_only(path: Path) -> Path:
    return written(sound(path), path.read_bytes()[:44])


NOT_A_NUMBER = b'{"audio": "a.wav", "start_s": "soon"}\n'

WORST_FILES = {  # file: how it is made, what its line says
    "missing.wav": (lambda path: path, "no such file"),
    "empty.wav": (lambda path: written(path, b""), "empty (0 bytes)"),
    "header only.wav": (header_only, "holds no samples"),
    "no samples.wav": (lambda path: sound(path, np.zeros(0)), "holds no samples"),
    "all nan.wav": (
        lambda path: sound(path, np.full(999, np.nan), subtype="FLOAT"),
        "not finite numbers",
    ),
    "truncated.wav": (lambda path: cut(sound(path)), "truncated: 0.60 s of the 1.00 s"),
    "truncated.flac": (lambda path: cut(sound(path)), "damaged"),
    "truncated.mp3": (lambda path: cut(sound(path)), "truncated"),
    "truncated.m4a": (lambda path: cut(m4a(path)), "its end is missing"),
    "text.wav": (lambda path: written(path, b"not a sound\n" * 99), "not an audio file"),
    "random bytes.mp3": (
        lambda path: written(path, np.random.default_rng(0).bytes(20000)),
        "not an audio file",
    ),
    "random bytes.raw": (
        lambda path: written(path, np.random.default_rng(0).bytes(20000)),
        "holds no audio stream",
    ),
    "picture.flac": (
        lambda path: picture(path.with_suffix(".png")).rename(path),
        "holds no audio stream",
    ),
    "folder.wav": (folder, "no audio file in this folder"),
    "forbidden.wav": (unreadable, "Permission denied"),
    "silent film.mp4": (silent_film, "holds no audio stream"),
    "bad number.jsonl": (lambda path: written(path, NOT_A_NUMBER), "start_s must be seconds"),
    "name [/red] with marks.wav": (lambda path: path, "no such file"),
    "bytes.jsonl": (lambda path: written(path, b"\xff\xfe\x00"), "cannot be read"),
}


@pytest.mark.parametrize("name", WORST_FILES)
def test_one_bad_file_is_one_line_and_status_2(run, tmp_path, model_file, name):
    make, needle = WORST_FILES[name]
    path = make(tmp_path / name)
    status, out, err = run("transcribe", model_file, path, "--device", "cpu")
    assert (status, out) == (2, "")
    (line,) = err
    assert line.startswith(f"asr: {path}:")
    assert needle in line


def test_bad_files_among_good_ones_are_status_1_and_the_rest_is_transcribed(
    run, tmp_path, model_file, recordings
):
    unfit = ("folder.wav", "forbidden.wav", "bad number.jsonl", "bytes.jsonl")
    bad = [make(tmp_path / name) for name, (make, _) in WORST_FILES.items() if name not in unfit]
    good = [recordings / "r1.wav", recordings / "r2.wav"]
    status, out, err = run("transcribe", model_file, good[0], *bad, good[1], "--device", "cpu")
    assert status == 1
    alone = [run("transcribe", model_file, path, "--device", "cpu")[1] for path in good]
    assert out == f"r1\t{alone[0]}r2\t{alone[1]}"
    lines = [line for line in err if line.startswith("failed ")]
    assert len(lines) == len(bad)
    for path, line in zip(bad, lines, strict=True):
        assert line.startswith(f"failed {path}: ")
    assert err[-1] == f"{len(bad)} of {len(bad) + 2} could not be transcribed (see above)"
    assert len(err) == len(bad) + 1


def test_if_no_file_can_be_read_the_status_is_2(run, tmp_path, model_file):
    asked = [tmp_path / "a.wav", tmp_path / "b.wav"]
    status, out, err = run("transcribe", model_file, *asked, "--device", "cpu")
    assert (status, out, len(err)) == (2, "", 3)


def test_a_real_process_gives_the_same_errors(tmp_path, model_file, recordings):
    bad = written(tmp_path / "text.mp3", b"\xff\xfbnot a sound\n" * 99)
    alone = process("transcribe", model_file, bad)
    assert (alone.returncode, alone.stdout) == (2, b"")
    assert len(alone.stderr.splitlines()) == 1
    both = process("transcribe", model_file, bad, recordings / "r0.wav")
    assert both.returncode == 1
    assert both.stdout.startswith(b"r0\t")
    assert len(both.stderr.splitlines()) == 2
    assert b"Traceback" not in alone.stderr + both.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_file_names_that_are_not_unicode_work(run, tmp_path, model_file, recordings):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (b"caf\xe9.wav", b"\xe9.mp3", "שלום.wav".encode()):
        made = sound(tmp_path / f"made{os.fsdecode(name[-4:])}")
        made.rename(folder / os.fsdecode(name))
    (folder / os.fsdecode(b"empty\xe9.wav")).touch()
    done = process("transcribe", model_file, folder, env={"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 3
    assert len(done.stderr.splitlines()) == 2
    run("transcribe", model_file, folder, "--format", "jsonl", "-o", tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert json.loads(path.read_text(encoding="utf-8"))["duration_s"] == 1.0
    assert len(os.listdir(tmp_path / "out")) == 3


# ---- other mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        (["transcribe", "none.asr", "a.wav"], "none.asr: no such model file"),
        (["transcribe", "empty.asr", "a.wav"], "empty.asr: not a model file, or damaged"),
        (["transcribe", "MODEL", "a.wav", "--device", "gpu"], "device 'gpu'"),
        (["transcribe", "MODEL", "none.tsv"], "none.tsv: no such manifest"),
        (["transcribe", "MODEL", "GOOD", "-o", "empty.asr"], "cannot be written"),
        (["transcribe", "MODEL", "escape.jsonl", "-o", "out"], "leads out of the folder out"),
        (
            ["transcribe", "MODEL", "GOOD", "GOOD", "--format", "srt"],
            "--format srt: 2 recordings need separate files; give a folder",
        ),
        (
            ["transcribe", "MODEL", "GOOD", "--format", "srt", "--format", "txt"],
            "--format srt, txt: give a folder for the files, -o FOLDER",
        ),
        (["score", "MODEL", "none.jsonl"], "none.jsonl: no such manifest"),
        (["score", "none.txt", "none.txt"], "none.txt: no such file"),
        (["score", "MODEL"], "tiny.asr: give a manifest for the model"),
        (["score", "none.txt", "h.txt", "--normalize", "recipe"], "only a model file has a recipe"),
        (["score", "none.txt", "h.txt", "--decoder", "beam=2"], "--quantize are for a model file"),
        (["score", ".", "--against", "MODEL"], "hypotheses.jsonl: no such file"),
        (["check", "none.jsonl"], "none.jsonl: no such manifest"),
        (["check", "escape.jsonl", "--recipe", "none.yaml"], "none.yaml: no such configuration"),
        (["run", "none.yaml"], "none.yaml: no such configuration"),
        (["run", "."], "no recipe.yaml in this folder"),
        (["train", "recipe.yaml", "train.epohcs=3"], "did you mean 'train.epochs'?"),
        (["train", "recipe.yaml"], "train.jsonl: no such"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(
    run, tmp_path, monkeypatch, model_file, recordings, arguments, needle
):
    monkeypatch.chdir(tmp_path)
    Path("empty.asr").touch()
    Path("recipe.yaml" if "recipe.yaml" in arguments else "other.yaml").write_text("name: a\n")
    Path("escape.jsonl").write_text(json.dumps({"id": "../x", "audio": "a.wav"}))
    stand_ins = {"MODEL": model_file, "GOOD": recordings / "r0.wav"}
    status, out, err = run(*(stand_ins.get(argument, argument) for argument in arguments))
    assert (status, out) == (2, "")
    (line,) = err
    assert line.startswith("asr: ")
    assert needle in line


@pytest.mark.parametrize(
    ("arguments", "status", "needle"),
    [
        (["run", "none"], 2, "none: no such configuration file"),
        (["run", "sound.wav"], 2, "sound.wav: "),
        (["train", "folder"], 2, "folder: no recipe.yaml in this folder"),
        (["train", "mine.yaml", "train.epochs=many"], 2, "override 'train.epochs=many'"),
        (["prepare", "none", "-o", "data"], 2, "none: "),
        (["prepare", "folder", "-o", "data"], 2, "folder: "),
        (["prepare", "sound.wav", "-o", "data"], 2, "sound.wav: "),
        (["check", "folder"], 2, "folder: "),
        (["check", "sound.wav"], 2, "sound.wav: "),
        (["shard", "none.jsonl", "-o", "shards"], 2, "none.jsonl: no such manifest"),
        (["shard", "folder", "-o", "shards"], 2, "folder: "),
        (["lm", "none.txt", "-o", "lm.npz"], 2, "none.txt: cannot be read: No such file"),
        (["lm", "folder", "-o", "lm.npz"], 2, "folder: cannot be read: Is a directory"),
        (["lm", "none.npz", "-o", "lm.arpa"], 2, "none.npz: "),
        (["tune", "none.asr", "d.jsonl"], 2, "none.asr: no such model file"),
        (["tune", "MODEL", "none.jsonl", "-o", "t.asr"], 2, "none.jsonl: no such manifest"),
        (["tune", "MODEL", "folder", "-o", "t.asr"], 2, "folder: "),
        (["transcribe", "none.asr", "sound.wav"], 2, "none.asr: no such model file"),
        (["info", "text.txt"], 2, "text.txt: not a model file, or damaged"),
        (["transcribe", "MODEL", "sound.wav", "--decoder", "beam"], 2, "--decoder 'beam': write"),
        (["transcribe", "MODEL", "sound.wav", "--hotword", "a=b"], 2, "'b' is not a number"),
        (["transcribe", "MODEL", "sound.wav", "--lm", "none.npz"], 2, "none.npz: "),
        (["align", "MODEL", "none.wav", "text.txt"], 2, "none.wav: no such file"),
        (["align", "MODEL", "sound.wav", "folder"], 2, "folder: cannot be read"),
        (["align", "MODEL", "sound.wav", "none.txt"], 2, "none.txt: no such text file"),
        (["score", "MODEL", "folder"], 2, "folder: a model needs a manifest with audio"),
        (["score", "folder"], 2, "hypotheses.jsonl: no such file"),
        (["score", "sound.wav", "sound.wav"], 2, "sound.wav: "),
        (["show", "none.wav"], 2, "none.wav: no such file"),
        (["show", "folder"], 2, "folder: "),
        (["show", "text.txt"], 2, "text.txt: not an audio file"),
        (["bench", "none.asr"], 2, "none.asr: no such model file"),
        (["bench", "MODEL", "text.txt"], 2, "text.txt: not an audio file"),
        (["config", "--recipe", "none.yaml"], 2, "none.yaml: no such configuration file"),
        (["config", "--recipe", "sound.wav"], 2, "sound.wav: "),
    ],
)
def test_wrong_input_of_each_command_is_one_line(
    run, tmp_path, monkeypatch, model_file, arguments, status, needle
):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    sound(Path("sound.wav"))
    Path("text.txt").write_text("bad cab\n")
    Path("mine.yaml").write_text("name: a\n")
    found, out, err = run(*(model_file if one == "MODEL" else one for one in arguments))
    assert (found, out) == (status, "")
    (line,) = err
    assert line.startswith("asr: ") and needle in line
    assert {path.name for path in tmp_path.iterdir()} <= {
        *("folder", "sound.wav", "text.txt", "mine.yaml", "runs", "shards", "data")
    }


COMMANDS = [command.callback.__name__.replace("_", "-") for command in cli.app.registered_commands]
RESULTS = {
    "corpus",
    "run",
    "train",
    "prepare",
    "shard",
    "synth",
    "record",
    "grammar",
    "pseudo-label",
    "export",
    "lm",
    "tune",
    "transcribe",
    "align",
    "score",
    "show",
}


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["scor"], "Did you mean 'score'"),
        (["align"], "Missing argument"),
        (["lm", "text"], "Missing option '--output' / '-o'"),
        (["prepare", "recordings", "data"], "Missing option '--output' / '-o'"),
        (["transcribe", "m.asr", "--formt", "txt"], "--format"),
        (["transcribe", "m.asr", "a.wav", "--format", "doc"], "'doc' is not one of"),
        (["transcribe", "m.asr", "a.wav", "--to", "texts"], "No such option: --to"),
        (["score", "m.asr", "--confusions", "many"], "Invalid value for '--confusions'"),
        (["shard", "m.jsonl", "-o", "s", "--shard-mb", "0"], "0"),
        (["bench", "m.asr", "-q", "--verbos"], "--verbose"),
    ],
)
def test_wrong_usage_is_status_2_and_suggests_a_fix(run, arguments, needle):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    shown = " ".join(" ".join(err).replace("│", " ").split())
    assert needle in shown
    assert f"asr {arguments[0]} -h" in shown or "asr -h" in shown


# lines: all commands, one that scores two kinds of models, and one with a panel for each protocol
SCREEN = {"": 58, "score": 54, "serve": 50}


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_each_command_has_help_of_one_screen_with_an_example(run, monkeypatch, command, flag):
    monkeypatch.setenv("COLUMNS", "100")
    status, out, err = run(*command.split(), flag)
    assert (status, err) == (0, [])
    assert "Usage: asr" in out
    assert len(out.rstrip().splitlines()) <= SCREEN.get(command, 42)
    if command:
        assert re.search(rf"^ *\$ asr {command}\b", out, re.M)
    assert all(word in out for word in ("--verbose", "-v", "--quiet", "-q", "--help", "-h"))
    assert ("--output" in out and "-o" in out) == (command in RESULTS)


def test_help_sorts_the_commands_into_panels(run):
    _, out, _ = run("-h")
    places = [out.index(f" {panel} ─") for panel in cli.PANELS]
    assert list(cli.PANELS) == ["Data", "Train", "Recognize", "Deploy", "Measure", "System"]
    assert places == sorted(places)
    assert all(re.search(rf"│ {command} +", out) for command in COMMANDS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_options_and_choices(shell):
    def completed(line):
        words = line.split(" ")
        environment = {
            "_ASR_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        code = "import sys; sys.argv = ['asr']; from asr.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=os.environ | environment,
        )
        assert done.stderr == ""
        return done.stdout

    assert "transcribe" in completed("asr tr")
    assert "--output" in completed("asr score --ou")
    assert "TextGrid" in completed("asr transcribe m.asr a.wav --format Te")
    assert "--runs" not in completed("asr run --r")


def test_version(run):
    assert run("--version") == (0, f"asr {asr.__version__}\n", [])


# ---- how much is said ----------------------------------------------------------------------------


def test_a_quiet_run_prints_the_scores_and_the_model(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_recipe(tmp_path)
    status, out, err = run("run", tmp_path, "train.epochs=1", "-q", "-o", "out")
    assert (status, err) == (0, [])
    assert out.startswith("test.jsonl: WER ")
    model = out.splitlines()[-1]
    assert re.fullmatch(r"model: out/\S+/model\.asr", model)
    assert (tmp_path / model.removeprefix("model: ")).exists()


@pytest.mark.parametrize("place", ["before", "after"])
def test_quiet_keeps_results_and_errors(run, tmp_path, model_file, place):
    soundfile.write(tmp_path / "a.wav", tone()[::2], 8000)
    asked = ["transcribe", model_file, tmp_path / "a.wav", tmp_path / "none.wav"]

    def said(*flags):
        asr.audio.io._logged_rates.clear()  # another rate is said once in a process
        return run(*(*flags, *asked) if place == "before" else (*asked, *flags))

    status, texts, usual = said()
    assert status == 1
    assert any("resampled" in line for line in usual)
    status, out, quiet = said("-q")
    assert (status, out) == (1, texts)
    assert quiet == [line for line in usual if "resampled" not in line] != []
    status, out, verbose = said("-v")
    assert (status, out) == (1, texts)
    assert any(f"{model_file}: loaded in " in line for line in verbose)
    assert set(usual) < set(verbose)


def test_verbose_prints_the_traceback(run):
    usual = run("transcribe", "none.asr", "a.wav")
    status, out, err = run("-v", "transcribe", "none.asr", "a.wav")
    assert (status, out, err[-1]) == (2, "", usual[2][0])
    assert "Traceback" in err[0]
    assert any("model_file.py" in line for line in err)
    assert run("-q", "transcribe", "none.asr", "a.wav") == usual
    status, _, err = run("-v", "transcribe", "none.asr", "a.wav", "-q")
    assert status == 2
    assert "--quiet and --verbose contradict each other" in err[-1]


# ---- config --------------------------------------------------------------------------------------


def test_config_prints_every_setting_as_a_recipe_of_the_defaults(run, tmp_path):
    status, text, err = run("config")
    assert (status, err) == (0, [])
    (tmp_path / "all.yaml").write_text(text)
    assert config.load(tmp_path / "all.yaml") == config.Config(name="NAME")
    printed = yaml.safe_load(text)
    for section, field in config.Config.model_fields.items():
        assert section in printed
        for name in getattr(field.annotation, "model_fields", {}):
            assert name in printed[section], name
    assert "[integer, at least 1]\n" in text and "[adamw or sgd]" in text
    assert "needs optimizer=sgd]" in text


def test_config_of_a_section_a_setting_and_a_recipe(run, tmp_path, model_file):
    status, text, _ = run("config", "train.ema")
    assert (status, yaml.safe_load(text)) == (0, {"train": {"ema": 0.0}})
    _, text, _ = run("config", "spec_augment")
    assert yaml.safe_load(text) == {
        "spec_augment": config.SpecAugmentConfig().model_dump(mode="json")
    }
    (tmp_path / "recipe.yaml").write_text("name: mine\ntrain: {ema: 0.9}\n")
    for recipe in (tmp_path, tmp_path / "recipe.yaml"):
        _, text, _ = run("config", "train.ema", "--recipe", recipe)
        assert yaml.safe_load(text) == {"train": {"ema": 0.9}}
        assert "default 0.0" in text
    _, text, _ = run("config", "--recipe", model_file)
    (tmp_path / "model.yaml").write_text(text)
    assert config.load(tmp_path / "model.yaml") == load(model_file, "cpu").config


@pytest.mark.parametrize(
    ("key", "near"),
    [("train.epoch", "train.epochs"), ("epochs", "train.epochs"), ("modle", "model")],
)
def test_config_names_the_setting_that_was_meant(run, key, near):
    line = f"asr: {key}: no such setting; did you mean {near}?"
    assert run("config", key) == (2, "", [line])
    assert run("config", "qqqq") == (2, "", ["asr: qqqq: no such setting"])


# ---- align ---------------------------------------------------------------------------------------


def test_align_without_a_text_is_an_error_with_a_fix(run, tmp_path, model_file, recordings):
    for asked in (recordings / "r0.wav", recordings):
        status, out, err = run("align", model_file, asked, "-o", tmp_path / "out")
        assert (status, out) == (2, "")
        (line,) = err
        assert line == (
            f"asr: {asked}: no text to align it with; give a text file after the recording, or a "
            "manifest whose rows have texts"
        )
    assert not (tmp_path / "out").exists()


# ---- transcribe ----------------------------------------------------------------------------------


def test_one_file_is_its_text_alone(run, model_file, recordings):
    status, out, err = run("transcribe", model_file, recordings / "r0.wav")
    assert (status, err, len(out.splitlines())) == (0, [], 1)
    assert "\t" not in out


def test_json_lines_have_words_in_seconds(run, model_file, recordings):
    status, out, _ = run("transcribe", model_file, recordings, "--format", "jsonl")
    assert status == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["id"] for row in rows] == [f"r{i}" for i in range(8)]
    for row in rows:
        words = [word for segment in row["segments"] for word in segment["words"]]
        assert " ".join(word["text"] for word in words) == row["text"]
        assert all(0 <= w["start_s"] <= w["end_s"] <= row["duration_s"] for w in words)


def test_every_format_is_written_at_once(run, tmp_path, model_file, recordings):
    chosen = [part for name in FORMATS for part in ("--format", name)]
    status, out, err = run(
        "transcribe", model_file, recordings, *chosen, "-o", tmp_path, "--format", "txt"
    )
    assert (status, out, err) == (0, "", [])
    assert len(os.listdir(tmp_path)) == 8 * len(FORMATS)
    recognizer = load(model_file, "cpu")
    for i in range(8):
        transcript = recognizer.transcribe(recordings / f"r{i}.wav")
        for name in set(FORMATS) - {"json", "jsonl", "ctm"}:  # these hold confidences
            assert (tmp_path / f"r{i}.{name}").read_text() == FORMATS[name](transcript)
        (line,) = (tmp_path / f"r{i}.jsonl").read_text().splitlines()
        row = json.loads(line)
        assert row.pop("id") == f"r{i}"
        assert row == json.loads((tmp_path / f"r{i}.json").read_text())
        assert row["text"] == transcript.text


@pytest.mark.parametrize("name", FORMATS)
def test_one_recording_in_any_format_to_stdout(run, tmp_path, model_file, recordings, name):
    recording = recordings / "r4.wav"
    status, out, _ = run("transcribe", model_file, recording, "--format", name)
    run("transcribe", model_file, recording, "--format", name, "-o", tmp_path)
    assert (status, out) == (0, (tmp_path / f"r4.{name}").read_text())


def test_the_lines_of_many_recordings_follow_each_other(run, model_file, recordings):
    ctm = run("transcribe", model_file, recordings, "--format", "ctm")[1]
    assert {line.split()[0] for line in ctm.splitlines()} == {f"r{i}" for i in range(8)}


def test_files_of_one_name_do_not_overwrite_each_other(run, tmp_path, model_file, recordings):
    for i in (0, 1):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "x.wav").write_bytes((recordings / f"r{i}.wav").read_bytes())
    paths = [tmp_path / "0/x.wav", tmp_path / "1/x.wav"]
    status, out, _ = run("transcribe", model_file, *paths, "-o", tmp_path / "out")
    assert (status, out) == (0, "")
    texts = [path.read_text() for path in sorted((tmp_path / "out").rglob("*.txt"))]
    assert texts == [run("transcribe", model_file, path)[1] for path in paths]


def test_resampling_is_reported_once_on_one_line(run, tmp_path, monkeypatch, model_file):
    monkeypatch.setattr("asr.audio.io._logged_rates", set())
    long = tmp_path / ("deep" * 20) / ("down" * 20)
    long.mkdir(parents=True)
    for name in ("a.wav", "b.wav"):
        soundfile.write(long / name, tone()[::2], 8000)
    status, _, err = run("transcribe", model_file, long)
    assert status == 0
    (line,) = err
    assert "resampled from 8000 Hz to 16000 Hz, like all audio at this rate" in line


# ---- score and check -----------------------------------------------------------------------------


@pytest.fixture
def test_set(run, tmp_path, model_file, recordings) -> Path:
    """A manifest with the texts that the model outputs, except for a word added to the first."""
    _, out, _ = run("transcribe", model_file, recordings, "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    rows[0]["text"] += " xyz"
    made = [Utterance(row["id"], row["audio"], text=row["text"]) for row in rows]
    manifest.write(tmp_path / "test.jsonl", made)
    return tmp_path / "test.jsonl"


def test_score_of_a_model_is_score_of_its_transcripts(run, tmp_path, model_file, test_set):
    status, out, err = run("score", model_file, test_set, "-o", tmp_path / "score")
    assert (status, err) == (0, [])
    words = sum(len(u.text.split()) for u in manifest.read(test_set))
    assert f"1 errors in {words} words: 0 substituted, 1 deleted, 0 inserted" in out
    assert json.loads((tmp_path / "score/score.json").read_text())["wer"] == 1 / words
    recordings = Path(manifest.read(test_set)[0].audio).parent
    transcripts = run("transcribe", model_file, recordings)[1]
    (tmp_path / "heard.txt").write_text(transcripts)
    status, again, err = run("score", test_set, tmp_path / "heard.txt")
    assert (status, err) == (0, [])
    assert again == out.replace("normalization: recipe", "normalization: basic")


def test_unreadable_audio_is_scored_as_empty_and_reported(run, tmp_path, model_file, test_set):
    lost = Utterance("lost", str(tmp_path / "lost.wav"), text="one two")
    manifest.write(test_set, [*manifest.read(test_set), lost])
    status, out, err = run("score", model_file, test_set)
    assert status == 1
    assert "3 deleted" in out
    (line,) = err
    assert line == f"failed, scored as empty {tmp_path / 'lost.wav'}: no such file"


def test_check_lists_problems_and_statistics(run, tmp_path, model_file, test_set):
    status, out, err = run("check", test_set)
    assert (status, err) == (0, [])
    assert "no problem found" in out
    assert "16000 Hz: 8" in out
    status, out, err = run("check", test_set, "--recipe", model_file)
    assert (status, err) == (1, [])
    assert "r0: characters outside the alphabet: 'x' (U+0078)" in out
    assert "1 problems, 7 utterances can be used" in out
    worst = out.split("These texts fit their audio worst")[1].splitlines()[1:8]
    scores = [float(line.split()[0]) for line in worst]
    assert len(scores) == 7 and scores == sorted(scores) and scores[-1] <= 0


def test_check_counts_in_the_units_of_the_recipe(run, tmp_path):
    """Twelve letters do not fit in the frames of 0.3 s, but the tokens of their two words do."""
    rows = [
        Utterance(str(i), str(sound(tmp_path / f"{i}.wav", tone(0.3))), text="seven eight")
        for i in range(3)
    ]
    manifest.write(tmp_path / "rows.jsonl", rows)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: r\nmodel: {subsampling: 4}\n")
    status, out, _ = run("check", tmp_path / "rows.jsonl", "--recipe", recipe)
    assert status == 1 and "3 problems" in out and "tokenizer.kind=bpe" in out
    recipe.write_text("name: r\ntokenizer: {kind: bpe, vocab_size: 20}\n")
    status, out, _ = run("check", tmp_path / "rows.jsonl", "--recipe", recipe)
    assert status == 0 and "no problem found" in out


# ---- doctor --------------------------------------------------------------------------------------


def test_doctor_finds_no_problem_here(run):
    status, out, err = run("doctor")
    assert (status, err) == (0, [])
    assert "no problem found" in out
    assert "torch with torchaudio" in out


def test_doctor_names_problems_and_fixes(run, monkeypatch):
    version = importlib.metadata.version

    def other(name):
        if name == "jiwer":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0" if name == "numpy" else version(name)

    monkeypatch.setattr(importlib.metadata, "version", other)
    status, out, _ = run("doctor")
    assert status == 1
    assert "1.0, needs <3,>=2.0" in out
    assert "jiwer: pip install 'jiwer<5,>=4.0'" in out
    assert "no problem found" not in out


def test_doctor_says_why_torch_and_torchaudio_do_not_load(monkeypatch):
    def refuse(name):
        raise OSError("/lib/libtorch_cuda.so: cannot open shared object file\nmore\nlines")

    monkeypatch.setattr(doctor.importlib, "import_module", refuse)
    found = {check.name: check for check in doctor.check_installation()}
    pair = found["torch with torchaudio"]
    assert not pair.ok
    assert pair.found == (
        "cannot be loaded together: /lib/libtorch_cuda.so: cannot open shared object file"
    )
    assert "pip install" in pair.fix
    assert not found["device"].ok


# ---- the shape of the package --------------------------------------------------------------------


@functools.cache
def imports_of(path: Path) -> tuple[set[str], set[str]]:
    """The modules that a file imports at its top level, and all that it imports; not for types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    first, ever = set(), set()
    for node in ast.walk(tree):
        names = []
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        ever.update(names)
        if id(node) not in late:
            first.update(names)
    return first, ever


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def test_imports_run_one_way():
    # Public names are handed through by the package itself, which everything below may name.
    graph = {}
    for name, path in modules().items():
        first, ever = imports_of(path)
        # A method may use a file of its own folder that is built on the class.
        late = {module for module in ever - first if module.startswith(f"{name}.")}
        graph[name] = (ever & set(modules())) - {"asr", name} - late
    del graph["asr"]
    while graph:
        ready = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert ready, f"a circle among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in ready}


def test_the_library_does_not_import_the_command_line():
    for name, path in modules().items():
        if f"{name}.".startswith("asr.cli."):
            continue
        needed = imports_of(path)[1]
        outer = {module.partition(".")[0] for module in needed}
        assert not [module for module in needed if f"{module}.".startswith("asr.cli.")], name
        assert not outer & {"typer", "click"}, name
        if not name.startswith(("asr.pipeline.", "asr.training.", "asr.data.download")):
            assert "rich" not in outer, name


def test_the_library_names_no_flags():
    for name, path in modules().items():
        if f"{name}.".startswith("asr.cli."):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                ours = re.sub(r"torchrun --[\w-]+", "", node.value)
                assert not re.search(r"(?<![\w-])--[a-z]", ours), f"{name}: {node.value}"


def test_commands_are_short_and_flat():
    def depth(node, level=0):
        blocks = (ast.If, ast.For, ast.While, ast.With, ast.Try)
        inner = [depth(child, level + isinstance(child, blocks)) for child in inside(node)]
        return max([level, *inner])

    def inside(node):
        return [c for c in ast.iter_child_nodes(node) if not isinstance(c, ast.FunctionDef)]

    for name, path in modules().items():
        if not f"{name}.".startswith("asr.cli."):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                lines = node.end_lineno - node.lineno + 1
                parameters = len(node.args.args) + len(node.args.kwonlyargs)
                assert lines <= 80 and depth(node) <= 4 and parameters <= 10, f"{name}.{node.name}"


def test_nothing_reads_pickles():
    for name, path in modules().items():
        assert not imports_of(path)[1] & {"pickle", "torch.load", "joblib", "shelve"}, name
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<!safetensors\.)torch\.load\(", source), name
        assert "allow_pickle=True" not in source, name


def test_help_does_not_wait_for_torch():
    code = "import sys, asr.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_prepare_for_another_toolkit(run, tmp_path):
    rows = []
    for i in range(4):
        sound(tmp_path / f"{i}.wav")
        rows.append({"audio": f"{i}.wav", "text": f"text {i}"})
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = ["prepare", tmp_path / "m.jsonl", "-o", tmp_path / "out", "--to"]
    status, out, err = run(*arguments, "lhotse")
    assert (status, err) == (0, [])
    files = "recordings.jsonl.gz, supervisions.jsonl.gz"
    assert f"{tmp_path / 'out/dev'}: 1 utterances for lhotse: {files}" in out.splitlines()
    assert (tmp_path / "out/train/recordings.jsonl.gz").is_file()
    status, out, err = run(*arguments, "espnet")
    assert status == 2 and "espnet: no such format; choose one of nemo" in err[0]


def test_prepare_reports_format_sets_and_left_out_rows(run, tmp_path):
    for i in range(8):
        (tmp_path / f"in/s{i % 6}").mkdir(parents=True, exist_ok=True)
        sound(tmp_path / f"in/s{i % 6}/{i}.wav")
        (tmp_path / f"in/s{i % 6}/{i}.txt").write_text(f"text {i}")
    (tmp_path / "in/s0/0.wav").write_bytes(b"")
    status, out, err = run("prepare", tmp_path / "in", "-o", tmp_path / "out", "--dry-run")
    assert status == 0 and not (tmp_path / "out").exists()
    out = out.splitlines()
    assert out[0] == "Recognized: recordings with a .txt beside each"
    assert out[1].endswith("text 0")
    status, out, err = run("prepare", tmp_path / "in", "-o", tmp_path / "out")
    assert status == 1
    out = out.splitlines()
    assert out[0] == f"{tmp_path / 'in'}: recordings with a .txt beside each"
    assert [line.split(": ")[0] for line in out[1:4]] == [
        str(tmp_path / f"out/{name}.jsonl") for name in ("train", "dev", "test")
    ]
    assert out[4] == "No speaker is in two of the sets."
    assert "1 left out: the audio file is empty" in err
    assert f"All 1 are listed in {tmp_path / 'out/left_out.tsv'}" in err


def test_check_against_another_set(run, tmp_path):
    for name in ("train", "test"):
        sound(tmp_path / f"{name}.wav", tone() * (1.0 if name == "train" else 0.5))
        row = {"audio": f"{name}.wav", "text": f"a {name}", "speaker": name}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    arguments = ["check", tmp_path / "train.jsonl", "--against", tmp_path / "test.jsonl"]
    status, out, err = run(*arguments)
    assert (status, err) == (1, [])
    assert out.splitlines()[:2] == ["no speakers in common", "no sentences in common"]
    assert "train and test: the same sound (correlation 1.000)" in out
    status, out, err = run(*arguments, "--no-audio")
    assert (status, err) == (0, []) and out.splitlines()[2] == "no recordings in common"


def test_check_without_audio_believes_the_manifest(run, tmp_path):
    row = {"id": "far", "audio": "nowhere.wav", "text": "One 2", "duration_s": 2.0}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    status, out, err = run("check", tmp_path / "rows.jsonl", "--no-audio")
    assert (status, err) == (0, [])
    assert "text.lowercase changed the text of 1 utterance: 'One 2' -> 'one 2'" in out
    assert "The texts have digits (2, first in far)" in out
    status, out, err = run("check", tmp_path / "rows.jsonl")
    assert status == 1 and "nowhere.wav: no such file" in out
