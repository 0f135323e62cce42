"""The prepare.py scripts of the recipes, and downloads."""

import contextlib
import hashlib
import http.server
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from itertools import chain
from pathlib import Path

import layouts
import numpy as np
import pytest
import soundfile
from test_speechocean import write_original

from asr import audio
from asr.data import corpora as corpora_table
from asr.data import download as downloads
from asr.data import manifest
from asr.data.download import DownloadError, download, extract, sha256_of
from asr.data.manifest import Utterance
from asr.errors import Failed, UserError
from asr.synthesis import ENGINES
from asr.synthesis.quality import cut_to_sound

RECIPES = Path(__file__).parents[1] / "recipes"
BODY = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


def load(name: str, file: str, monkeypatch):
    monkeypatch.syspath_prepend(RECIPES / name)
    spec = importlib.util.spec_from_file_location(f"{name}_{file}", RECIPES / name / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def run(name: str, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, RECIPES / name / "prepare.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- downloads


class Server(http.server.BaseHTTPRequestHandler):
    """Serves BODY; `breaks` has the number of bytes after which each of the first requests ends."""

    breaks: tuple[int, ...] = ()
    honours_range = True
    stalls_s = 0.0  # a pause in the middle of the first response
    said_length: int | None = None  # instead of the true one
    said_range: str | None = None  # of partial responses

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if self.path != "/corpus":
            return self.send_error(404)
        if not self.honours_range:
            start = 0
        if start >= len(BODY):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(self.said_length or len(BODY) - start))
        if start and self.said_range:
            self.send_header("Content-Range", self.said_range)
        self.end_headers()
        number = len(self.server.asked) - 1
        if self.stalls_s and number == 0:
            self.wfile.write(BODY[: len(BODY) // 2])
            self.wfile.flush()
            threading.Event().wait(self.stalls_s)  # time.sleep does nothing here
            return None
        stop = start + self.breaks[number] if number < len(self.breaks) else len(BODY)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(BODY[start:stop])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
    servers = []

    def start(**attributes):
        handler = type("Handler", (Server,), attributes)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server, f"http://127.0.0.1:{server.server_port}/corpus"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_download_is_checked_and_not_repeated(serve, tmp_path):
    server, url = serve()
    path = download(url, tmp_path / "new" / "corpus.tar", SHA256)
    assert path.read_bytes() == BODY
    download(url, path, SHA256)
    assert server.asked == [None]
    assert [p.name for p in path.parent.iterdir()] == ["corpus.tar"]


def test_an_interrupted_download_resumes(serve, tmp_path):
    server, url = serve(breaks=(1_000_000, 500_000))
    assert download(url, tmp_path / "corpus.tar", SHA256).read_bytes() == BODY
    assert server.asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_an_interrupted_download_resumes_in_the_next_run(serve, tmp_path):
    path = tmp_path / "corpus.tar"
    _, url = serve(breaks=(700_000, 0, 0, 0))
    with pytest.raises(DownloadError, match="700000 bytes are kept; run again"):
        download(url, path, SHA256)
    assert not path.exists()
    server, url = serve()
    assert download(url, path, SHA256).read_bytes() == BODY
    assert server.asked == ["bytes=700000-"]


def test_without_range_support_the_whole_file_is_requested(serve, tmp_path):
    (tmp_path / "corpus.tar.part").write_bytes(b"an older beginning")
    _, url = serve(honours_range=False)
    assert download(url, tmp_path / "corpus.tar", SHA256).read_bytes() == BODY


def test_a_whole_part_is_taken_and_a_longer_one_dropped(serve, tmp_path):
    _, url = serve()
    part = tmp_path / "corpus.tar.part"
    part.write_bytes(BODY + b"x")
    with pytest.raises(DownloadError, match="nothing was kept"):
        download(url, tmp_path / "corpus.tar", SHA256)
    part.write_bytes(BODY)
    assert download(url, tmp_path / "corpus.tar", SHA256).read_bytes() == BODY


def test_a_server_that_stalls_is_left_and_asked_for_the_rest(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.2)
    server, url = serve(stalls_s=1.0)
    assert download(url, tmp_path / "corpus.tar", SHA256).read_bytes() == BODY
    asked = [int(header.removeprefix("bytes=").rstrip("-")) for header in server.asked[1:]]
    assert server.asked[0] is None and len(asked) == 1 and 0 < asked[0] <= len(BODY) // 2


def test_a_server_that_lies_about_the_length(serve, tmp_path):
    _, url = serve(said_length=len(BODY) + 1000)
    assert download(url, tmp_path / "long.tar", SHA256).read_bytes() == BODY
    _, url = serve(said_length=len(BODY) - 1000)
    with pytest.raises(DownloadError, match="nothing was kept"):
        download(url, tmp_path / "short.tar", SHA256)
    assert [path.name for path in tmp_path.iterdir()] == ["long.tar"]


def test_another_range_than_the_one_asked_for_is_dropped(serve, tmp_path):
    (tmp_path / "corpus.tar.part").write_bytes(BODY[:1000])
    server, url = serve(said_range=f"bytes 500-{len(BODY) - 1}/{len(BODY)}")
    assert download(url, tmp_path / "corpus.tar", SHA256).read_bytes() == BODY
    assert server.asked == ["bytes=1000-", None]


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_is_named_and_keeps_what_there_is(serve, tmp_path, status):
    (tmp_path / "corpus.tar.part").write_bytes(BODY[:1000])

    def refuse(self):
        self.send_error(status)

    _, url = serve(do_GET=refuse)
    with pytest.raises(DownloadError, match=f"the server responds {status}"):
        download(url, tmp_path / "corpus.tar", SHA256)
    assert (tmp_path / "corpus.tar.part").read_bytes() == BODY[:1000]


def test_a_wrong_checksum_keeps_nothing(serve, tmp_path):
    _, url = serve()
    with pytest.raises(DownloadError, match=f"sha256 is {SHA256}, expected 0000"):
        download(url, tmp_path / "corpus.tar", "0" * 64)
    assert not list(tmp_path.iterdir())


def test_without_a_published_checksum_what_comes_is_kept(serve, tmp_path):
    server, url = serve(breaks=(1_000_000,))
    for _ in range(2):
        assert download(url, tmp_path / "corpus.tar", None).read_bytes() == BODY
    assert server.asked == [None, "bytes=1000000-"]


def test_another_file_of_that_name_is_not_overwritten(serve, tmp_path):
    _, url = serve()
    (tmp_path / "corpus.tar").write_text("mine")
    with pytest.raises(UserError, match=r"corpus\.tar: sha256 is .* delete it"):
        download(url, tmp_path / "corpus.tar", SHA256)
    assert (tmp_path / "corpus.tar").read_text() == "mine"


def test_a_missing_page_is_requested_once(serve, tmp_path):
    server, url = serve()
    with pytest.raises(DownloadError, match="the server responds 404"):
        download(url + "s", tmp_path / "corpus.tar", SHA256)
    assert len(server.asked) == 1


def test_only_web_addresses_are_downloaded(tmp_path):
    with pytest.raises(UserError, match="not an http"):
        download("file:///etc/passwd", tmp_path / "x", SHA256)


# --- archives


def member(name: str, **attributes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def tar(path: Path, *members: tarfile.TarInfo, mode="w:gz") -> Path:
    with tarfile.open(path, mode) as file:
        for info in members:
            info.size = 5 if info.isfile() else 0
            file.addfile(info, io.BytesIO(b"12345") if info.isfile() else None)
    return path


def test_extract_writes_files_and_folders_only_once(tmp_path):
    archive = tar(
        tmp_path / "a.tar.gz", member("d", type=tarfile.DIRTYPE), member("d/e/f", mode=0o6777)
    )
    folder = extract(archive, tmp_path / "out")
    assert (folder / "d/e/f").read_bytes() == b"12345"
    assert (folder / "d/e/f").stat().st_mode & 0o7111 == 0
    (folder / "d/e/f").write_text("mine")
    extract(archive, folder)
    assert (folder / "d/e/f").read_text() == "mine"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (member("../out2"), "leads out"),
        (member("a/../../out2"), "leads out"),
        (member("/tmp/absolute"), "leads out"),
        (member("C:\\windows"), "leads out"),
        (member("..\\out2"), "leads out"),
        (member("link", type=tarfile.SYMTYPE, linkname="/etc"), "a link that leads out"),
        (member("link", type=tarfile.LNKTYPE, linkname="good"), "link or a device"),
        (member("device", type=tarfile.CHRTYPE), "link or a device"),
        (member("pipe", type=tarfile.FIFOTYPE), "link or a device"),
        (member("good"), "occurs twice"),
        (member("good/below"), "occurs twice"),
    ],
)
def test_a_malicious_member_leaves_nothing_behind(tmp_path, bad, said):
    archive = tar(tmp_path / "a.tar", member("good"), bad, mode="w")
    with pytest.raises(DownloadError, match=said) as raised:
        extract(archive, tmp_path / "in" / "out")
    assert repr(bad.name) in str(raised.value)
    assert not list((tmp_path / "in").iterdir())


@pytest.mark.parametrize("at", [0.5, 0.999])
def test_a_damaged_archive_leaves_nothing_behind(tmp_path, at):
    """A changed byte in an uncompressed block is detected only by gzip's checksum."""
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        info = member("noise")
        info.size = len(BODY)
        file.addfile(info, io.BytesIO(BODY))
    damaged = bytearray(archive.read_bytes())
    damaged[int(at * len(damaged))] ^= 1
    archive.write_bytes(damaged)
    with pytest.raises(DownloadError, match="delete it to download it again"):
        extract(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_truncated_archive_leaves_nothing_behind(tmp_path):
    archive = tar(tmp_path / "a.tar.gz", member("one"), member("two"))
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(DownloadError, match=r"a\.tar\.gz: cannot be unpacked"):
        extract(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


# --- recipes/yesno


@pytest.fixture
def recordings(tmp_path, monkeypatch) -> Path:
    """Sixty files with the names of the corpus; each is a beep."""
    folder = tmp_path / "copy"
    folder.mkdir()
    beep = np.sin(np.arange(4000)).astype(np.float32) / 2
    for name in load("yesno", "prepare", monkeypatch).expected_ids():
        soundfile.write(folder / f"{name}.flac", beep, 8000)
    (folder / "README").write_text("not a recording")
    return folder


def test_yesno_splits_and_texts(recordings, tmp_path):
    out = tmp_path / "out"
    assert run("yesno", out, "--audio", recordings).returncode == 0
    sets = {s: manifest.read(out / f"{s}.jsonl") for s in ("train", "dev", "test")}
    assert {s: len(utterances) for s, utterances in sets.items()} == {
        "train": 26,
        "dev": 4,
        "test": 30,
    }
    ids = {s: [utterance.id for utterance in utterances] for s, utterances in sets.items()}
    assert sorted(ids["train"] + ids["dev"]) + ids["test"] == sorted(chain(*ids.values()))
    for utterance in chain(*sets.values()):
        assert utterance.text.split() == [
            {"0": "no", "1": "yes"}[bit] for bit in utterance.id.split("_")
        ]
        assert soundfile.info(utterance.audio).duration == utterance.duration_s == 0.5
        assert out / "audio" in Path(utterance.audio).parents
    before = tree(out)
    assert run("yesno", out, "--audio", recordings).returncode == 0
    assert tree(out) == before


@pytest.fixture
def table(serve, tmp_path, monkeypatch):
    """table(name, folder) puts into the table of corpora an archive of this folder on a server."""

    def put(name: str, folder: Path) -> None:
        archive = tmp_path / f"{name}.tar.gz"
        with tarfile.open(archive, "w:gz") as file:
            file.add(folder, folder.name)
        body = archive.read_bytes()
        monkeypatch.setattr(sys.modules[__name__], "BODY", body)
        _, url = serve()
        entry = {"urls": [url], "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        corpus = corpora_table.Corpus(title="x", license="y", page="z", archives=[entry])
        monkeypatch.setattr(corpora_table, "corpora", lambda: {name: corpus})

    return put


def test_yesno_from_the_archive(recordings, tmp_path, table, monkeypatch):
    table("yesno", recordings)
    load("yesno", "prepare", monkeypatch).prepare(tmp_path / "out", None)
    assert len(manifest.read(tmp_path / "out" / "test.jsonl")) == 30


def test_fsdd_from_the_archive(tmp_path, table, monkeypatch):
    table("fsdd", layouts.fsdd(tmp_path / "made"))
    prepare = load("fsdd", "prepare", monkeypatch)
    monkeypatch.setattr(prepare, "TRAIN_STRINGS", 20)
    monkeypatch.setattr(prepare, "DEV_STRINGS", 10)
    prepare.prepare(tmp_path / "out", None, "theo,yweweler")
    test = manifest.read(tmp_path / "out" / "test.jsonl")
    assert len(test) == 60 and {u.speaker for u in test} == {"theo", "yweweler"}
    train = manifest.read(tmp_path / "out" / "train.jsonl")
    assert {u.speaker for u in train} == {"george", "jackson"}


def test_speechocean_from_the_archive(tmp_path, table, monkeypatch):
    table("speechocean762", write_original(tmp_path / "speechocean762"))
    load("speechocean", "prepare", monkeypatch).prepare(tmp_path / "out", None)
    assert len(manifest.read(tmp_path / "out" / "train.jsonl")) == 8


def test_yesno_names_what_is_wrong(recordings, tmp_path):
    out = tmp_path / "out"
    first = recordings / "0_0_0_0_1_1_1_1.flac"

    def said() -> str:
        done = run("yesno", out, "--audio", recordings)
        assert done.returncode == 2
        assert not list(out.glob("*.jsonl"))
        assert done.stderr.count("\n") == 1
        return done.stderr

    whole = first.read_bytes()
    first.write_bytes(whole[:-2000])
    assert first.name in said()
    first.unlink()
    assert "1 of the 60 recordings are missing: 0_0_0_0_1_1_1_1" in said()
    first.write_bytes(whole)
    shutil.copy(first, recordings / "sub_0_0.flac")  # not a name of the corpus: ignored
    shutil.copy(first, recordings / "0_0_0.flac")
    assert "0_0_0.flac: not a recording of yesno" in said()
    (recordings / "0_0_0.flac").unlink()
    shutil.copy(first, first.with_suffix(".wav"))
    assert "the same recording as" in said()


def test_yesno_from_the_real_recordings(tmp_path, corpora):
    assert run("yesno", tmp_path, "--audio", corpora / "yesno_he").returncode == 0
    parts = {part: manifest.read(tmp_path / f"{part}.jsonl") for part in ("train", "dev", "test")}
    whole = parts["dev"] + parts["test"]
    assert len(whole) == 34 and 200 < sum(u.duration_s for u in whole) < 220
    # Strings of the training recordings' words: any length, either word first.
    strings = parts["train"]
    assert len(strings) == 200 and not {u.id for u in strings} & {u.id for u in whole}
    assert {len(u.text.split()) for u in strings} == set(range(1, 9))
    assert {u.text.split()[0] for u in strings} == {"yes", "no"}
    for u in strings:
        assert soundfile.info(u.audio).duration == u.duration_s
        assert 0.35 < u.duration_s / len(u.text.split()) and u.duration_s < 9
    assert 0.5 < sum(u.duration_s - 1.5 for u in strings) / (200 * 4.5) < 0.75  # s a word


# --- recipes/digits

WORDS = set("zero one two three four five six seven eight nine".split())
SMALL = ("--hours", "0.01", "--voices", "3", "--engines", "hibari", "--clips", "0")


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    pytest.importorskip("hibari", reason="pip install hibari-tts")
    out = tmp_path_factory.mktemp("digits") / "made"
    done = run("digits", out, *SMALL, "--processes", "1")
    assert done.returncode == 0, done.stderr
    return out


def test_digits_are_whole_recordings_of_what_the_text_says(digits):
    for split, least in (("train", 3), ("dev", 10), ("test", 10)):
        utterances = manifest.read(digits / f"{split}.jsonl")
        assert len(utterances) >= least
        for utterance in utterances:
            samples, rate_hz = soundfile.read(utterance.audio, dtype="int16")
            assert rate_hz == 16000 and samples.ndim == 1
            assert len(samples) / rate_hz == pytest.approx(utterance.duration_s, abs=1e-4)
            words = utterance.text.split()
            assert 1 <= len(words) <= 7
            assert set(words) <= WORDS
            assert 600 < np.abs(samples.astype(int)).max() < 32000  # no silence, no clipping
            loud = np.flatnonzero(np.abs(samples.astype(int)) > 30)
            assert (loud[-1] - loud[0]) / rate_hz > 0.12 * len(words)
    assert sum(u.duration_s for u in manifest.read(digits / "train.jsonl")) >= 36


def test_digits_voices_are_split(digits):
    speakers = [
        {utterance.speaker for utterance in manifest.read(digits / f"{split}.jsonl")}
        for split in ("train", "dev", "test")
    ]
    assert [len(s) for s in speakers] == [3, 1, 1]
    assert len(set.union(*speakers)) == 5


def test_digits_by_both_engines(tmp_path):
    """Each has half of the training audio, and no variant of eSpeak NG is in two sets."""
    pytest.importorskip("hibari", reason="pip install hibari-tts")
    pytest.importorskip("espeakng_loader", reason="pip install espeakng-loader")
    options = ("--hours", "0.01", "--voices", "16", "--clips", "0")
    assert run("digits", tmp_path, *options, "--processes", "2").returncode == 0
    sets = {s: manifest.read(tmp_path / f"{s}.jsonl") for s in ("train", "dev", "test")}
    seconds = {"espeak": 0.0, "hibari": 0.0}
    variants = {}
    for name, utterances in sets.items():
        espeak = [u for u in utterances if "-espeak-" in u.speaker]
        variants[name] = {u.speaker.rpartition("+")[2] for u in espeak}
        assert 0 < len(espeak) < len(utterances)
        for u in utterances:
            samples, _ = soundfile.read(u.audio, dtype="int16")
            assert 600 < np.abs(samples.astype(int)).max() < 32000
    for u in sets["train"]:
        seconds["espeak" if "-espeak-" in u.speaker else "hibari"] += u.duration_s
    assert len({u.speaker for u in sets["train"]}) == 16
    assert all(18 <= spent < 18 + 8 * 8 for spent in seconds.values())
    assert not variants["test"] & variants["train"] | variants["dev"] & variants["train"]
    assert not variants["test"] & variants["dev"]


def test_digits_keeps_its_first_speakers_beside_other_engines(monkeypatch, tmp_path):
    prepare = load("digits", "prepare", monkeypatch)
    alone = prepare.draw_parts(tmp_path, [ENGINES["hibari"]], 1.2, 30, 0)
    both = prepare.draw_parts(tmp_path, [ENGINES["hibari"], ENGINES["espeak"]], 1.2, 30, 0)
    ours = [part.speaker for part in both if "espeak" not in part.speaker.name]
    splits = [speaker.split for speaker in ours]
    assert [splits.count(split) for split in ("train", "dev", "test")] == [15, 1, 2]
    speakers = {part.speaker.name: part.speaker for part in alone}
    assert len(speakers) == 30 + 2 + 4
    assert all(speakers[speaker.name] == speaker for speaker in ours)


def test_digits_splits_the_voices_of_an_engine(monkeypatch):
    voices = load("digits", "voices", monkeypatch)
    for name, sizes in (("espeak", (150, 10, 20)), ("flite", (3, 0, 1))):
        speakers = voices.draw_engine_speakers(ENGINES[name], 0, 150)
        assert len({speaker.voice for speaker in speakers}) == len(speakers)
        splits = [speaker.split for speaker in speakers]
        assert tuple(splits.count(split) for split in ("train", "dev", "test")) == sizes


def test_digits_come_with_recordings_of_other_engines(monkeypatch):
    """Each says digits, at its place in a file that can be read."""
    prepare = load("digits", "prepare", monkeypatch)
    utterances = prepare.recorded(2)
    assert len({u.id for u in utterances}) == len(utterances) == 2 * len(prepare.recorded(1))
    assert {u.speaker.split("-")[0] for u in utterances} == {"flite", "kokoro"}
    for utterance in utterances[:: len(utterances) // 20]:
        assert set(utterance.text.split()) <= set(
            "zero one two three four five six seven eight nine".split()
        )
        samples = audio.read(utterance.audio, 16000, utterance.start_s, utterance.duration_s)
        assert len(samples) / 16000 == pytest.approx(utterance.duration_s, abs=0.01)
        assert np.abs(samples).max() > 0.02


def test_digits_refuses_engines_that_it_cannot_use(tmp_path):
    pytest.importorskip("hibari", reason="pip install hibari-tts")
    for names, message in (("espeak", "has no hibari"), ("hibari,hal", "'hal': unknown")):
        done = run("digits", tmp_path, "--engines", names)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_digits_bytes_do_not_depend_on_the_processes(digits, tmp_path):
    assert run("digits", tmp_path / "two", *SMALL, "--processes", "2").returncode == 0
    assert tree(tmp_path / "two") == tree(digits)


def test_digits_replaces_damaged_voices_only(digits, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(digits, out)
    (out / "audio/train-0000/train-0000-000.wav").write_bytes(b"damaged")
    (out / "audio/test-0000/part.json").unlink()
    (out / "dev.jsonl").unlink()
    kept = out / "audio/train-0001/train-0001-000.wav"
    written = kept.stat().st_mtime_ns
    assert run("digits", out, *SMALL, "--processes", "1").returncode == 0
    assert tree(out) == tree(digits)
    assert kept.stat().st_mtime_ns == written


def test_digits_of_other_options_replace_the_old(digits, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(digits, out)
    options = ("--hours", "0.001", "--voices", "1", "--engines", "hibari", "--clips", "0")
    assert run("digits", out, *options, "--seed", "7", "--processes", "1").returncode == 0
    assert len({u.speaker for u in manifest.read(out / "train.jsonl")}) == 1
    assert not (out / "audio/train-0001").exists()
    assert tree(out) != tree(digits)
    assert json.loads((out / "prepared.json").read_text())["seed"] == 7


@pytest.mark.parametrize(
    "mistake",
    [("--hours", "0"), ("--hours", "inf"), ("--voices", "-1"), ("--seed", "-1")],
)
def test_digits_refuses_in_one_line(tmp_path, mistake):
    pytest.importorskip("hibari", reason="pip install hibari-tts")
    done = run("digits", tmp_path, *mistake)
    assert done.returncode == 2
    assert mistake[0] in done.stderr and done.stderr.count("\n") == 1


def test_digits_leaves_the_audio_of_others_alone(tmp_path):
    pytest.importorskip("hibari", reason="pip install hibari-tts")
    theirs = tmp_path / "audio" / "song.wav"
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    done = run("digits", tmp_path, *SMALL)
    assert done.returncode == 2 and "not made by this recipe" in done.stderr
    assert theirs.read_bytes() == b"theirs"
    assert sorted(tmp_path.rglob("*")) == [theirs.parent, theirs]


def test_held_out_voices_are_not_near_those_in_training(monkeypatch):
    speakers = load("digits", "voices", monkeypatch).draw_speakers(seed=0, count=300)
    places = {
        split: np.stack([s.voice.coordinates() for s in speakers if s.split == split])
        for split in ("train", "dev", "test")
    }
    assert [len(p) for p in places.values()] == [300, 20, 40]
    held_out = np.concatenate([places["dev"], places["test"]])
    apart = np.abs(places["train"][:, None] - held_out[None]).max(axis=2)
    assert apart.min() >= 1
    for voice in (speaker.voice for speaker in speakers):
        assert 0.5 <= voice.f0 <= 1.4 and 0.83 <= voice.formants <= 1.2
        assert voice.f0 > 0.6 or voice.formants > 0.86


def test_single_digits_are_frequent_and_digits_equally_so(monkeypatch):
    voices = load("digits", "voices", monkeypatch)
    monkeypatch.setattr(voices, "speak", lambda *_: np.ones(160, np.float32))
    rng = np.random.default_rng(0)
    (speaker, *_) = voices.draw_speakers(seed=0, count=1)
    texts = [voices.draw_utterance(speaker, rng)[1].split() for _ in range(3000)]
    assert np.mean([len(text) == 1 for text in texts]) > 1 / 3
    assert {len(text) for text in texts} == set(range(1, 8))
    counts = [sum(text.count(digit) for text in texts) for digit in voices.DIGITS]
    assert max(counts) < 1.15 * min(counts)


def test_silence_from_the_network_is_a_failure():
    for samples in (np.zeros(1600, np.float32), np.full(1600, np.nan, np.float32)):
        with pytest.raises(Failed, match="silence or samples that are not finite"):
            cut_to_sound(samples, 45, 16000)


# --- recipes/english


def english_corpora(folder: Path) -> Path:
    """Corpora with a few utterances of noise each, in the layout that the recipe reads."""
    draw = np.random.default_rng(0)
    ids = {
        "speechocean762": [f"{s:04d}{i}" for s in range(20) for i in range(2)],
        "rhasspy_kathleen": [f"arctic_a00{i:02d}_1" for i in range(1, 21)],
        "ljspeech_part": [f"LJ001-{i:04d}" for i in range(42)],
        "librispeech_part": [f"ls_{s}-1-{i:04d}" for s in (19, 30, 31, 32) for i in range(1)],
    }
    speakers = {
        "speechocean762": lambda name: name[:4],
        "librispeech_part": lambda name: name.split("-")[0][3:],
    }
    for corpus, names in ids.items():
        (folder / corpus / "audio").mkdir(parents=True)
        rows = ["id\taudio\tspeaker\ttext"]
        for name in names:
            sound = 0.1 * draw.standard_normal(1600)
            soundfile.write(folder / corpus / "audio" / f"{name}.wav", sound, 16000)
            speaker = speakers.get(corpus, lambda name: "one")(name)
            rows.append(f"{name}\taudio/{name}.wav\t{speaker}\ttext of {name}")
        (folder / corpus / "manifest.tsv").write_text("\n".join(rows) + "\n")
    table = ["id\tsplit\tage\tgender"]
    for name in ids["speechocean762"]:
        split = "test" if int(name[:4]) >= 16 else "train"
        table.append(f"{name}\t{split}\t{10 if int(name[:4]) % 2 else 30}\tf")
    (folder / "speechocean762" / "split.tsv").write_text("\n".join(table) + "\n")
    return folder


def test_english_keeps_speakers_and_prompts_apart(tmp_path, monkeypatch):
    recipe = load("english", "prepare", monkeypatch)
    corpora = english_corpora(tmp_path / "corpora")
    spelled = Utterance("an4", str(corpora / "ljspeech_part/audio/LJ001-0000.wav"), text="A B")
    manifest.write(tmp_path / "more.jsonl", [spelled])
    recipe.prepare(tmp_path / "out", corpora, None, [tmp_path / "more.jsonl"], [])
    sets = {path.stem: manifest.read(path) for path in (tmp_path / "out").glob("*.jsonl")}
    assert {"train", "dev", "test_adults", "test_children", "test_kathleen", "test_lj",
            "test_librispeech"} <= sets.keys()  # fmt: skip
    assert {u.speaker for u in sets["test_librispeech"]} == {"30"}
    assert {u.speaker for u in sets["dev_librispeech"]} == {"31"}
    assert [u.id for u in sets["test_kathleen"]] == ["arctic_a0010_1", "arctic_a0020_1"]
    assert len(sets["test_lj"]) == 40
    assert {int(u.speaker) % 2 for u in sets["test_children"]} == {1}
    texts = {name: {u.text for u in found} for name, found in sets.items()}
    held_out = [name for name in sets if name.startswith(("dev", "test"))]
    assert not any(texts["train"] & texts[name] for name in held_out)
    times = [u.text for u in sets["train"]].count("text of ls_32-1-0000")
    assert times == recipe.REPEAT["librispeech_part"]
    assert [u.text for u in sets["train"]].count("A B") == recipe.REPEAT_MORE
    assert len(list((tmp_path / "out" / "noises").glob("babble-*.wav"))) == recipe.BABBLE


def test_english_names_a_corpus_that_is_missing(tmp_path, monkeypatch):
    recipe = load("english", "prepare", monkeypatch)
    with pytest.raises(UserError, match=r"speechocean762: has no manifest\.tsv"):
        recipe.prepare(tmp_path / "out", tmp_path, None, [], [])


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (17, "seventeen"),
        (40, "forty"),
        (99, "ninety nine"),
        (110, "one hundred ten"),
        (70_512, "seventy thousand five hundred twelve"),
    ],
)
def test_english_numbers_are_spoken(monkeypatch, number, words):
    assert load("english", "texts", monkeypatch).spoken_number(number) == words


def test_english_texts_are_filled_templates_and_short_sentences(tmp_path, monkeypatch):
    recipe = load("english", "texts", monkeypatch)
    books = tmp_path / "books.txt"
    books.write_text(
        "Call me Ishmael.\nHe met Mr.\nYes.\n" + "very " * 16 + "long.\nIn 1850 it was.\n"
    )
    recipe.prepare(tmp_path, books, 10, 2000, "2,15", 0)
    assert (tmp_path / "sentences.txt").read_text() == "Call me Ishmael.\n"
    phrases = (tmp_path / "phrases.txt").read_text().splitlines()
    assert len(phrases) == 2000 and len(set(phrases)) > 1000
    assert not any(c in phrase for phrase in phrases for c in "{}0123456789")
    recipe.prepare(tmp_path, books, 10, 1, "16,20", 0)
    assert (tmp_path / "sentences.txt").read_text().startswith("very very")
    with pytest.raises(UserError, match=r"--words: '9' is not FEWEST,MOST"):
        recipe.prepare(tmp_path, books, 10, 1, "9", 0)
