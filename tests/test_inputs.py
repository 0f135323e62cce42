"""`asr transcribe`: inputs, existing results, watched folders and interruption."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from asr.data.sources import sources
from asr.data.watch import watch
from asr.errors import UserError


def start(*arguments):
    """Start a command in the background with Ctrl-C enabled, which some shells disable."""
    return subprocess.Popen(
        [sys.executable, "-m", "asr.cli", *map(str, arguments)],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def asr(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "asr.cli", *map(str, arguments)], capture_output=True, **options
    )


@pytest.fixture
def inbox(recordings, tmp_path):
    """A folder with r0 to r3 at two depths."""
    (tmp_path / "in/deep").mkdir(parents=True)
    for i, folder in enumerate(["in", "in", "in/deep", "in/deep"]):
        shutil.copy(recordings / f"r{i}.wav", tmp_path / folder / f"r{i}.wav")
    (tmp_path / "in/notes.txt").write_text("no recording")
    return tmp_path / "in"


def test_results_go_to_the_file_and_the_bar_to_the_terminal(model_file, recordings, tmp_path):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "asr.cli", "transcribe", model_file, recordings]
    expected = subprocess.run(command, capture_output=True, text=True).stdout
    with (tmp_path / "texts.txt").open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # at its end
        while part := os.read(ours, 65536):
            shown += part
    assert process.wait() == 0
    assert (tmp_path / "texts.txt").read_text() == expected and len(expected.splitlines()) == 8
    assert b"transcribing" in shown and b"r3" not in shown


# --- patterns


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [("*.wav", "r0 r1"), ("**/*.wav", "r0 r1 r2 r3"), ("*", "r0 r1"), ("**/r[12].*", "r1 r2")],
)
def test_patterns(inbox, pattern, ids):
    assert sorted(u.id for u in sources([inbox / pattern])) == ids.split()


def test_a_pattern_without_audio_is_named(inbox):
    with pytest.raises(UserError, match=r"in/\*\.mp3: matches no audio file$"):
        sources([inbox / "*.mp3"])
    with pytest.raises(UserError, match=r"matches no audio file, only .*notes\.txt$"):
        sources([inbox / "*.txt"])


def test_a_file_whose_name_is_a_pattern_is_that_file(inbox):
    shutil.copy(inbox / "r0.wav", inbox / "r[01].wav")
    assert [u.id for u in sources([inbox / "r[01].wav"])] == ["r[01]"]
    (missing,) = sources([inbox / "talk [7].wav"])  # said when its turn comes
    assert missing.audio.endswith("talk [7].wav")


# --- standard input


def test_a_pipe(model_file, recordings):
    piped = asr("transcribe", model_file, "-", input=(recordings / "r2.wav").read_bytes())
    named = asr("transcribe", model_file, recordings / "r2.wav")
    assert piped.returncode == 0 and piped.stdout == named.stdout != b"\n"
    bad = asr("transcribe", model_file, "-", input=b"not a sound\n" * 99)
    assert bad.returncode == 2 and b"stdin: not an audio file" in bad.stderr
    empty = asr("transcribe", model_file, "-", input=b"")
    assert empty.returncode == 2 and b"stdin: the file is empty" in empty.stderr


# --- what is finished


def test_finished_transcripts_are_not_written_again(model_file, inbox, tmp_path):
    command = ["transcribe", model_file, inbox, "-o", tmp_path / "out", "--format"]
    assert asr(*command, "txt").returncode == 0
    texts = {path: path.read_text() for path in (tmp_path / "out").rglob("*.txt")}
    assert len(texts) == 4 and (tmp_path / "out/deep/r2.txt") in texts
    for path in texts:
        path.write_text("mine")
    again = asr(*command, "txt")
    assert (again.returncode, again.stdout) == (0, b"")
    assert b"4 of 4 have transcripts already" in again.stderr
    assert {path.read_text() for path in texts} == {"mine"}

    # another format is missing; a recording is newer; a text was lost
    os.utime(inbox / "r1.wav", (time.time() + 9, time.time() + 9))
    (tmp_path / "out/r0.txt").unlink()
    assert b"2 of 4 have transcripts already" in asr(*command, "txt").stderr
    assert (tmp_path / "out/r1.txt").read_text() == texts[tmp_path / "out/r1.txt"]
    assert (tmp_path / "out/deep/r3.txt").read_text() == "mine"
    both = asr(*command, "txt", "--format", "srt")
    assert b"have transcripts already" not in both.stderr
    assert {path: path.read_text() for path in texts} == texts

    (tmp_path / "out/r0.txt").write_text("mine")
    assert asr(*command, "txt", "--overwrite").returncode == 0
    assert (tmp_path / "out/r0.txt").read_text() == texts[tmp_path / "out/r0.txt"]


def test_a_failure_is_tried_again(model_file, inbox, tmp_path):
    shutil.copy(inbox / "notes.txt", inbox / "bad.wav")
    command = ["transcribe", model_file, inbox, "-o", tmp_path / "out"]
    first, second = asr(*command), asr(*command)
    assert (first.returncode, second.returncode) == (1, 1)
    assert b"4 of 5 have transcripts already" in second.stderr
    assert b"bad.wav: not an audio file" in second.stderr
    assert second.stderr.endswith(b"1 of 5 could not be transcribed (see above)\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], b"give recordings to transcribe, or a folder with --watch FOLDER"),
        (["in", "--watch", "in"], b"not both"),
        (["in", "--overwrite"], b"--overwrite: give a folder for the files"),
        (["--watch", "in", "--format", "srt"], b"any number of recordings need separate files"),
        (["--watch", "none"], b"none: no such folder"),
    ],
)
def test_contradicting_arguments_are_errors(model_file, inbox, arguments, said):
    done = asr("transcribe", model_file, *arguments, cwd=inbox.parent)
    assert done.returncode == 2 and said in done.stderr
    assert done.stderr.splitlines()[-1].startswith(b"asr: ")


# --- watching


def test_a_file_is_transcribed_when_it_is_complete(inbox):
    def names(polls=4):
        return [path.name for _ in range(polls) for path in next(found)]

    found = watch(inbox, poll_s=0)
    assert sorted(names()) == ["r0.wav", "r1.wav", "r2.wav", "r3.wav"]
    whole = (inbox / "r0.wav").read_bytes()
    growing = inbox / "new.wav"
    for size in range(1000, len(whole), len(whole) // 5):
        growing.write_bytes(whole[:size])
        assert names(2) == []
    growing.write_bytes(whole)
    assert names() == ["new.wav"]
    assert names() == []
    (inbox / "empty.wav").touch()
    (inbox / ".hidden.wav").write_bytes(whole)
    assert names() == []
    (inbox / "r1.wav").write_bytes(whole)
    assert names() == ["r1.wav"]
    shutil.rmtree(inbox)
    with pytest.raises(UserError, match="no such folder"):
        next(found)


def test_watching_a_folder_until_ctrl_c(model_file, inbox, recordings, tmp_path):
    command = ["transcribe", model_file, "--watch", inbox, "-o", tmp_path / "out"]
    command += ["--format", "json"]
    process = start(*command)
    try:

        def wait(name):
            until = time.monotonic() + 120
            while not (tmp_path / "out" / name).exists():
                assert time.monotonic() < until and process.poll() is None, name
                time.sleep(0.1)
            return json.loads((tmp_path / "out" / name).read_text())

        wait("deep/r3.json")
        shutil.copy(recordings / "r4.wav", inbox / "late.wav")
        alone = asr("transcribe", model_file, recordings / "r4.wav", "--format", "json").stdout
        assert wait("late.json")["text"] == json.loads(alone)["text"]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0
    assert said.splitlines()[-1] == b"5 transcribed, 0 failed, 0 finished before"


def test_ctrl_c_keeps_what_is_finished(model_file, recordings, tmp_path):
    rows = [{"id": f"u{i}", "audio": str(recordings / f"r{i % 8}.wav")} for i in range(6000)]
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["transcribe", model_file, tmp_path / "many.jsonl", "-o", tmp_path / "out"]
    process = start(*command)
    try:
        while not (tmp_path / "out/u100.txt").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert b"the same command resumes from here" in said and b"Traceback" not in said
    written = sorted((tmp_path / "out").iterdir())
    assert 100 < len(written) < 6000
    assert all(path.suffix == ".txt" and path.stat().st_size for path in written)
