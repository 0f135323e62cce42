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
        how, _, name = self.path.strip("/").partition("/")
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
    assert table["fsdd"].archives[0].name == "free-spoken-digit-dataset-v1.0.10.tar.gz"
    for language in "dutch english french german italian polish portuguese spanish".split():
        assert table[f"mls-{language}"].archives[0].name == f"mls_{language}_opus.tar.gz"
    assert {"yesno", "speech-commands", "voxforge", "ljspeech", "speechocean762"} <= set(table)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("archives: [{urls: [http://x/a.tar], bytes: 5, size: 6}]", "a: Extra inputs"),
        ("archives: [{urls: [http://x/a.tar]}]", "a: .*give one of bytes and about_bytes"),
        ("archives: [{urls: [], bytes: 5}]", "a: .*at least 1"),
        ("archives: [{urls: [http://x/a.tar], bytes: 5, sha256: abc}]", "a: .*pattern"),
        ("language: en", "a: .*give one of archives, index and by_hand"),
        ("archives: [{urls: [http://x/a.tar], bytes: 5, md5: abc}]", "a: .*pattern"),
    ],
)
def test_mistakes_in_the_table(line, message):
    with pytest.raises(ValueError, match=message):
        parse(f"a:\n  title: x\n  license: y\n  page: z\n  {line}\n")


def test_unavailable_corpora_are_errors():
    with pytest.raises(UserError, match="an5: no such corpus; choose one of an4, yesno, fsdd"):
        find("an5")
    with pytest.raises(UserError, match=r"common-voice: https://\S+: download the archive"):
        get("common-voice", "out")


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


# ---- archives on disk, pages of many archives, checksums, links ----------------------------------


def test_an_archive_on_disk_is_not_downloaded(tmp_path, an4):
    server, _, data, known = an4
    known("gone")
    given = tmp_path / "an4_sphere.tar.gz"
    given.write_bytes(data)
    assert get("an4", tmp_path / "out", [given])[0].utterances == 3
    assert not server.asked and not (tmp_path / "out/archives").exists()


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("an4.tar.gz", True, r"an4\.tar\.gz: not an archive of an4: one of an4_sphere\.tar\.gz"),
        ("an4_sphere.tar.gz", False, "no such archive"),
        ("an4_sphere.tar.gz", True, "sha256 is .*, expected .*; download it again"),
    ],
)
def test_a_wrong_archive_on_disk(tmp_path, an4, name, write, message):
    *_, known = an4
    known("ok")
    folder = tmp_path / "here"
    folder.mkdir()
    if write:
        (folder / name).write_bytes(b"other")
    with pytest.raises(UserError, match=message):
        get("an4", tmp_path / "out", [folder / name])
    assert not (tmp_path / "out/corpus").exists()


def test_common_voice_from_its_archive(tmp_path):
    root = layouts.common_voice(tmp_path / "made")
    packed(root, tmp_path / "cv-corpus-24.0-2025-12-05-de.tar.gz")
    archive = tmp_path / "cv-corpus-24.0-2025-12-05-de.tar.gz"
    prepared, _ = get("common-voice", tmp_path / "out", [archive])
    assert {part.name: part.utterances for part in prepared.sets} == {
        "train": 3, "dev": 1, "test": 1
    }  # fmt: skip
    assert {u.language for u in read(tmp_path / "out/train.jsonl")} == {"de"}
    assert (tmp_path / "out/corpus/cv-corpus-24.0-2025-12-05-de").is_dir()


def test_md5_where_a_publisher_names_no_other(tmp_path, serve):
    _, address = serve({"a": b"12345"})
    right = hashlib.md5(b"12345").hexdigest()
    assert download_from([f"{address}/ok/a"], tmp_path / "a", right).read_bytes() == b"12345"
    with pytest.raises(DownloadError, match=f"md5 is {right}, expected 0000"):
        download_from([f"{address}/ok/a"], tmp_path / "b", "0" * 32)


@pytest.fixture
def voxforge(tmp_path, serve, monkeypatch):
    """A page that links to archives of submissions, of which one is gone and one is damaged."""
    root = layouts.voxforge(tmp_path / "made")
    names = sorted(path.name for path in root.iterdir())
    files = {f"{name}.tgz": packed(root / name, tmp_path / f"{name}.tgz") for name in names}
    files["damaged-20080101.tgz"] = files["jose-20080102-abc.tgz"][:-30]
    links = "".join(f'<a href="{name}">{name}</a><br>' for name in [*files, "gone-20080101.tgz"])
    files[""] = f'<a href="/parent/">up</a> {links} <a href="/else/where.tgz">x</a>'.encode()
    server, address = serve(files)
    index = {"url": f"{address}/ok", "about_bytes": 1000}
    corpus = corpora.Corpus(title="x", license="y", page="z", language="en", index=index)
    monkeypatch.setattr(corpora, "corpora", lambda: {"voxforge": corpus})
    return server, files, names


def test_a_page_of_many_archives(tmp_path, voxforge):
    server, _, names = voxforge
    prepared, missing = get("voxforge", tmp_path / "out")
    assert prepared.utterances == 5
    assert len(missing) == 2
    assert "damaged-20080101.tgz: cannot be unpacked" in missing[0]
    assert "gone-20080101.tgz: the server responds 404" in missing[1]
    unpacked = sorted(path.name for path in (tmp_path / "out/corpus").iterdir())
    assert unpacked == names
    asked = len(server.asked)
    get("voxforge", tmp_path / "out")
    assert len(server.asked) == asked + 2  # only what is missing is asked for again


def test_a_page_without_archives(tmp_path, voxforge):
    _, files, _ = voxforge
    files[""] = b"<html>moved</html>"
    with pytest.raises(DownloadError, match="links to no archive"):
        get("voxforge", tmp_path / "out")


def linked(path: Path, *links: tuple[str, str]) -> Path:
    """An archive with a file `d/file` and symbolic links."""
    with tarfile.open(path, "w") as tar:
        layouts.add(tar, "d/file", b"12345")
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path


def test_links_inside_an_archive_are_kept(tmp_path):
    links = ("legacy/d", "../d"), ("again", "d/file"), ("chain", "legacy/d/file")
    out = extract(linked(tmp_path / "a.tar", *links), tmp_path / "out")
    for name in ("legacy/d/file", "again", "chain"):
        assert (out / name).read_bytes() == b"12345"


@pytest.mark.parametrize(
    "links",
    [
        [("out", "../..")],
        [("out", "/etc/passwd")],
        [("nowhere", "d/missing")],
        [("loop", "loop")],
        # `deep` leads three folders down by its name, but only one in truth
        [("x/y/deep", "../../d"), ("out", "x/y/deep/../../made")],
    ],
)
def test_links_that_lead_out_are_refused(tmp_path, links):
    (tmp_path / "made").mkdir()
    with pytest.raises(DownloadError, match="is a link that leads out"):
        extract(linked(tmp_path / "a.tar", *links), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "made"]
