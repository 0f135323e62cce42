"""A full disk, on a small tmpfs: nothing wrong is kept, nothing right is lost, one line says it."""

import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from functools import partial

import layouts
import numpy as np
import pytest

from asr.data import download as downloads
from asr.data import manifest
from asr.data.download import DiskFull, download, download_from, extract

BODY = np.random.default_rng(0).bytes(3_000_000)


@pytest.fixture
def disk(tmp_path):
    """A file system of 1 MB; disk(megabytes) changes its size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")

    def resize(megabytes):
        options = f"remount,size={megabytes}m"
        subprocess.run(["mount", "-o", options, folder], check=True)

    resize.folder = folder
    yield resize
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def serve(tmp_path):
    """Serves a file of 3 MB at two addresses, with no support of ranges."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served/corpus.tar").write_bytes(BODY)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/corpus.tar"
        server.shutdown()


def test_a_download(disk, serve, monkeypatch):
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: pytest.fail("tried again"))
    path, checksum = disk.folder / "corpus.tar", hashlib.sha256(BODY).hexdigest()
    with pytest.raises(DiskFull, match=r"corpus\.tar: the disk is full; .* run again to resume"):
        download_from([serve, serve + "?mirror"], path, checksum)
    part = path.with_name("corpus.tar.part")
    assert not path.exists() and BODY.startswith(part.read_bytes()) and part.stat().st_size > 0
    disk(8)
    assert download(serve, path, checksum).read_bytes() == BODY
    assert [each.name for each in disk.folder.iterdir()] == ["corpus.tar"]


def test_an_archive(disk, tmp_path):
    archive = tmp_path / "corpus.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        layouts.add(tar, "small.txt", b"1")
        layouts.add(tar, "large.wav", BODY)
    before = archive.read_bytes()
    with pytest.raises(DiskFull, match="cannot be unpacked, because the disk is full"):
        extract(archive, disk.folder / "corpus")
    assert not list(disk.folder.iterdir()) and archive.read_bytes() == before
    disk(8)
    assert (extract(archive, disk.folder / "corpus") / "large.wav").read_bytes() == BODY


def test_a_preparation_keeps_the_manifests_of_an_earlier_one(disk, tmp_path):
    source, out = tmp_path / "rows.jsonl", disk.folder / "out"
    layouts.record(tmp_path / "a.wav", 0.1)

    def prepared(rows):
        lines = (
            f'{{"id": "{i}", "audio": "a.wav", "text": "sentence {i}", "speaker": "s{i % 9}"}}\n'
            for i in range(rows)
        )
        source.write_text("".join(lines))
        command = [sys.executable, "-m", "asr.cli", "prepare", source, "-o", out]
        done = subprocess.run(
            [*command, "--trust-durations"], capture_output=True, text=True, timeout=300
        )
        return done.returncode, done.stderr

    assert prepared(100)[0] == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    status, said = prepared(20_000)
    assert status == 1 and "No space left on device; free some space" in said
    assert "Traceback" not in said
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    disk(16)
    assert prepared(20_000)[0] == 0
    sets = [manifest.read(out / f"{name}.jsonl") for name in ("train", "dev", "test")]
    assert sum(map(len, sets)) == 20_000
