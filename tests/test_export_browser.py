"""The page of an exported model in a real browser: it writes the texts of the command line."""

import shutil
import subprocess
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import soundfile
from browsing import chromium
from test_stream import save_streaming_model

from asr import audio
from asr.data import manifest
from asr.errors import UserError
from asr.export import browser as pages
from asr.recognition.recognizer import load

RECORDINGS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


def site(run, folder, model, *options):
    """The folder of the page, made by the command line; skipped without npm or its registry."""
    if shutil.which("npm") is None:
        pytest.skip("no npm: apt-get install npm")
    ping = ["npm", "view", pages.PACKAGE, "version"]
    if subprocess.run(ping, capture_output=True).returncode:
        pytest.skip(f"the npm registry cannot be reached, or lacks {pages.PACKAGE}")
    status, out, _ = run("export", model, "--browser", folder, *options)
    assert status == 0 and "MiB" in out
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def host():
    """Serves folders as plain files."""
    servers = []

    def serve(folder) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def until(found, limit_s=300.0):
    end = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)
    return value


def heard(page, paths) -> list[str]:
    """The texts of recordings that are chosen together."""
    shown = "#texts .text"
    before = len(page.find_elements("css selector", shown))
    page.find_element("id", "file").send_keys("\n".join(map(str, paths)))
    until(lambda: len(page.find_elements("css selector", shown)) == before + len(paths))
    return [element.text for element in page.find_elements("css selector", shown)[before:]]


def ready(page) -> bool:
    assert page.find_element("id", "fault").text == ""
    return page.find_element("id", "status").text == "Ready"


@pytest.mark.slow
def test_real_recordings_have_the_texts_of_the_command_line(run, corpora, folder, host, tmp_path):
    """Of the English model, with a recording of the microphone and with the keyboard."""
    found = manifest.read(corpora / "rhasspy_kathleen" / "manifest.tsv")[:RECORDINGS]
    paths = [tmp_path / f"{one.id}.wav" for one in found]
    recognizer = load(device="cpu")  # the English model of the package
    rate_hz = recognizer.rate_hz
    for path, one in zip(paths, found, strict=True):
        soundfile.write(path, audio.read(one.audio, rate_hz), rate_hz, subtype="PCM_16")
    recognizer.save(tmp_path / "english.asr")
    expected = [recognizer.with_decoder(beam=1).transcribe(str(path)).text for path in paths]
    assert all(expected)
    url = host(site(run, folder / "english", tmp_path / "english.asr"))
    flags = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={paths[0]}",
    )
    with chromium(tmp_path / "profile", *flags) as page:
        page.get(url)
        until(lambda: ready(page))
        assert heard(page, paths) == expected
        record = page.find_element("id", "record")
        record.send_keys("\n")
        until(lambda: record.text == "Stop")
        time.sleep(3)
        record.send_keys("\n")
        until(lambda: "Microphone:" in page.find_element("id", "status").text)
        assert page.find_elements("css selector", "#texts .text")[-1].text != "(no words)"
        page.find_element("id", "file").send_keys(str(tmp_path / "english.asr"))
        until(lambda: "cannot decode" in page.find_element("id", "fault").text)
        # Only the page's own files, and the one complaint about the model that is no recording
        loaded = page.execute_script(
            "return performance.getEntriesByType('resource').map(e => e.name)"
        )
        assert all(name.startswith((url, "data:")) for name in loaded)


def test_a_causal_model_is_refused(run, tmp_path):
    save_streaming_model(tmp_path / "live.asr")
    status, _, err = run("export", tmp_path / "live.asr", "--browser", tmp_path / "site")
    assert status == 2 and "a causal model reads audio in pieces" in err[-1]
    assert not (tmp_path / "site").exists()


def test_a_page_needs_npm(monkeypatch, model_file, tmp_path):
    from asr.export.model import export
    from asr.model.model_file import load_model

    export(tmp_path / "model.onnx", load_model(model_file))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"onnxruntime-web@.*: npm is not installed"):
        pages.write_page(tmp_path / "site", tmp_path / "model.onnx")
    (tmp_path / "npm").write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    (tmp_path / "npm").chmod(0o755)
    with pytest.raises(UserError, match=r"npm cannot download it: no network"):
        pages.write_page(tmp_path / "site", tmp_path / "model.onnx")


def test_a_page_goes_into_a_folder_alone(run, model_file, tmp_path):
    status, _, err = run(
        "export", model_file, "--browser", tmp_path / "site", "--to", tmp_path / "model.onnx"
    )
    assert status == 2 and "without another file" in err[-1]
