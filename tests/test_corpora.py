"""Corpora by name: the table, mirrors that fail in every way, disks, and what is kept of it all."""

import hashlib
import http.server
import shutil
import tarfile
import threading
from collections import namedtuple
from pathlib import Path
from typing import ClassVar

import layouts
import pytest

from asr.data import corpora, download
from asr.data.corpora import disk_needed, find, get, parse
from asr.data.download import DownloadError, download_from, extract
from asr.data.manifest import read
from asr.errors import UserError


class Mirror(http.server.BaseHTTPRequestHandler):
    """/ok/NAME: the file; the other folders fail in their way."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self):
        how, name = self.path.strip("/").split("/", 1)
        self.server.asked.append(how)
        data = self.files.get(name)
        status = {"gone": 404, "forbidden": 403, "broken": 500}.get(how)
        if status or data is None:
            self.send_error(status or 404)
            return
        if how == "moved":
            self.send_response(302)
            self.send_header("Location", f"/ok/{name}")
            self.end_headers()
            return
        if how == "wrong":
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.send_response(200)
        length = len(data) + {"long": 1000, "short": -1000}.get(how, 0)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if how == "cut" else data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(monkeypatch):
    """serve({name: bytes}) -> (server, address)"""
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    servers = []

    def start(files):
        handler = type("Handler", (Mirror,), {"files": files})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server, f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def packed(folder: Path, path: Path) -> bytes:
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, folder.name)
    return path.read_bytes()


def entry(urls, data, **more):
    archive = {"urls": urls, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return corpora.Corpus(title="x", license="y", page="z", archives=[archive], **more)


@pytest.fixture
def an4(tmp_path, serve, monkeypatch):
    """A small AN4 behind a server; returns (server, address, bytes, put it into the table)."""
    data = packed(layouts.an4(tmp_path / "made"), tmp_path / "an4_sphere.tar.gz")
    server, address = serve({"an4_sphere.tar.gz": data})

    def known(*mirrors, **more):
        urls = [f"{address}/{mirror}/an4_sphere.tar.gz" for mirror in mirrors]
        monkeypatch.setattr(corpora, "corpora", lambda: {"an4": entry(urls, data, **more)})

    return server, address, data, known


# ---- the table -----------------------------------------------------------------------------------


def test_the_table():
    table = corpora.corpora()
    assert {"an4", "mini-librispeech", "librispeech-960", "tedlium3", "mls-german"} <= set(table)
    for name, corpus in table.items():
        assert all(
            url.startswith(("http://", "https://")) for a in corpus.archives for url in a.urls
        )
        assert len({archive.name for archive in corpus.archives}) == len(corpus.archives), name
        for archive in corpus.archives:
            assert len({url.rpartition("/")[2] for url in archive.urls}) == 1
            assert archive.name.endswith((".tar.gz", ".tgz", ".tar.bz2"))
    assert len(table["librispeech-960"].archives) == 7


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("archives: [{urls: [http://x/a.tar], bytes: 5, size: 6}]", "a: Extra inputs"),
        ("archives: [{urls: [http://x/a.tar]}]", "a: .*give one of bytes and about_bytes"),
        ("archives: [{urls: [], bytes: 5}]", "a: .*at least 1"),
        ("archives: [{urls: [http://x/a.tar], bytes: 5, sha256: abc}]", "a: .*pattern"),
        ("language: en", "a: .*give either archives or by_hand"),
    ],
)
def test_mistakes_in_the_table(line, message):
    with pytest.raises(ValueError, match=message):
        parse(f"a:\n  title: x\n  license: y\n  page: z\n  {line}\n")


def test_unavailable_corpora_are_errors():
    with pytest.raises(UserError, match="an5: no such corpus; choose one of an4, mini-librispeech"):
        find("an5")
    with pytest.raises(UserError, match=r"common-voice: https://\S+: download the archive"):
        find("common-voice")


# ---- getting one ---------------------------------------------------------------------------------


def test_get_downloads_unpacks_and_prepares(tmp_path, an4):
    server, _, data, known = an4
    known("ok", utterances={"train": 2, "test": 1})
    prepared, differences = get("an4", tmp_path / "out")
    assert differences == [] and prepared.utterances == 3
    assert (tmp_path / "out/archives/an4_sphere.tar.gz").read_bytes() == data
    assert [u.text for u in read(tmp_path / "out/test.jsonl")] == ["YES"]
    shutil.rmtree(tmp_path / "out/archives")  # of no more use: nothing is downloaded again
    get("an4", tmp_path / "out")
    assert server.asked == ["ok"]


def test_differing_counts_are_reported(tmp_path, an4):
    *_, known = an4
    known("ok", utterances={"train": 948, "test": 1}, total=1078)
    _, differences = get("an4", tmp_path / "out")
    assert differences == [
        "train: 2 utterances, published are 948",
        "3 utterances in all, published are 1078",
    ]


@pytest.mark.parametrize("bad", ["gone", "forbidden", "broken", "wrong", "cut", "long", "short"])
def test_the_next_mirror_helps(tmp_path, an4, bad):
    server, _, data, known = an4
    known(bad, "ok")
    prepared, _ = get("an4", tmp_path / "out")
    assert prepared.utterances == 3 and server.asked[-1] == "ok"
    assert (tmp_path / "out/archives/an4_sphere.tar.gz").read_bytes() == data
    assert [path.name for path in (tmp_path / "out/archives").iterdir()] == ["an4_sphere.tar.gz"]


def test_redirects_are_followed(tmp_path, an4):
    server, *_, known = an4
    known("moved")
    assert get("an4", tmp_path / "out")[0].utterances == 3 and server.asked == ["moved", "ok"]


def test_when_no_mirror_has_it_each_is_named(tmp_path, an4):
    *_, known = an4
    known("gone", "wrong")
    with pytest.raises(DownloadError, match=r"404.*; .*sha256 is .*, expected"):
        get("an4", tmp_path / "out")
    assert not (tmp_path / "out/corpus").exists()
    assert not list((tmp_path / "out/archives").iterdir())


def test_a_size_that_is_wrong(tmp_path, serve):
    _, address = serve({"a": b"12345"})
    with pytest.raises(DownloadError, match="5 bytes, expected 6; nothing was kept"):
        download_from([f"{address}/ok/a"], tmp_path / "a", None, 6)
    assert not (tmp_path / "a").exists()


def test_a_disk_that_is_too_small(tmp_path, an4, monkeypatch):
    server, *_, data, known = an4
    known("ok")
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(corpora.shutil, "disk_usage", lambda path: usage(len(data)))
    with pytest.raises(UserError, match=r"out: an4 needs up to 0\.0 GB, of which 0\.0 GB are free"):
        get("an4", tmp_path / "out")
    assert not server.asked and not (tmp_path / "out").exists()
    monkeypatch.undo()


def test_existing_files_need_no_disk_space(tmp_path, an4):
    *_, data, known = an4
    known("ok")
    corpus = find("an4")
    assert disk_needed(corpus, tmp_path / "out") == 3 * len(data)
    get("an4", tmp_path / "out")
    assert disk_needed(corpus, tmp_path / "out") == 0
    shutil.rmtree(tmp_path / "out/corpus")
    assert disk_needed(corpus, tmp_path / "out") == 2 * len(data)


def test_an_archive_that_is_cut_off_in_unpacking_is_done_again(tmp_path, an4):
    *_, known = an4
    known("ok")
    (tmp_path / "out/corpus/an4_sphere.part/an4").mkdir(parents=True)
    (tmp_path / "out/corpus/an4_sphere.part/an4/half").write_text("x")
    assert get("an4", tmp_path / "out")[0].utterances == 3
    assert not list((tmp_path / "out/corpus").rglob("half"))


def test_a_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.tar.gz"
    zeros = tmp_path / "zeros"
    with zeros.open("wb") as file:
        file.truncate(120_000_000)
    with tarfile.open(path, "w:gz", compresslevel=9) as tar:
        tar.add(zeros, "a.wav")
    with pytest.raises(DownloadError, match="unpacks to more than 100 MB"):
        extract(path, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bomb.tar.gz", "zeros"]
