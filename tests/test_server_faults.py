"""What clients do wrong: no crash, no leak, and others are not disturbed."""

import json
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import av
import httpx
import numpy as np
import openai
import pytest
import schemathesis
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import served
from test_stream import said, save_streaming_model

from asr.recognition.recognizer import load
from asr.server.limits import ServerLimits

RATE_HZ = 8000
PATH = "/v1/audio/transcriptions"
LIMITS = ServerLimits(
    upload_bytes=8 << 20, audio_s=600, requests=6, bytes_in_flight=10 << 20, idle_s=1.5
)


@pytest.fixture(scope="module")
def streaming_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("streaming") / "live.asr"
    save_streaming_model(path)
    return path


@pytest.fixture(scope="module")
def server(streaming_file, tmp_path_factory):
    recognizers = {"live": load(streaming_file, "cpu")}
    with served(recognizers, tmp_path_factory.mktemp("spool"), LIMITS) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_stays(server, request, recordings):
    """After each test, nothing is under way and the server answers as before."""
    yield
    if "server" not in request.fixturenames:
        return
    counts = server.service.admission
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (counts.requests or server.service.engine.waiting):
        time.sleep(0.01)
    assert (counts.requests, counts.bytes_in_flight) == (0, 0)
    assert server.service.engine.waiting == 0
    assert list(server.service.spool.iterdir()) == []
    assert asked(server, recordings / "r0.wav").status_code == 200


def asked(server, path, data=None, **fields):
    files = {"file": (path.name, path.read_bytes() if data is None else data)}
    return httpx.post(server.url + PATH, files=files, data=fields, timeout=60)


def error_of(response):
    return response.json()["error"]


def connection(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def everything(client):
    """What the server sends until it closes."""
    received = b""
    while data := client.recv(10_000):
        received += data
    return received.decode()


def head(length, kind="multipart/form-data; boundary=b"):
    lines = [f"POST {PATH} HTTP/1.1", "Host: x", f"Content-Type: {kind}"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


# ---- clients that go away or stall ---------------------------------------------------------------


def test_a_client_that_leaves_in_the_middle_of_an_upload(server):
    with connection(server) as client:
        client.sendall(head(100_000) + PART + bytes(30_000))
        while not server.service.admission.bytes_in_flight:
            time.sleep(0.01)


def test_an_upload_that_stalls(server):
    with connection(server) as client:
        client.sendall(head(100_000) + PART + bytes(100))
        answer = everything(client)
    assert answer.startswith("HTTP/1.1 408") and "no byte came for 1.5 s" in answer


@pytest.mark.parametrize("begun", [b"", b"POST /v1/aud", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_never_comes(server, begun):
    with connection(server) as client:
        client.sendall(begun)
        assert client.recv(1000) == b""  # the server closes


def test_a_client_that_leaves_during_the_transcription(server, tmp_path):
    soundfile.write(tmp_path / "long.wav", said(300.0, 1), RATE_HZ)
    body = PART + (tmp_path / "long.wav").read_bytes() + b"\r\n--b--\r\n"
    with connection(server) as client:
        client.sendall(head(len(body)) + body)
        while not server.service.engine.waiting:
            time.sleep(0.001)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and server.service.engine.waiting:
        time.sleep(0.01)
    assert server.service.engine.waiting == 0


def test_a_client_that_leaves_a_stream_of_events(server, tmp_path):
    soundfile.write(tmp_path / "long.wav", said(300.0, 1), RATE_HZ)
    data = (tmp_path / "long.wav").read_bytes()
    with httpx.stream(
        "POST",
        server.url + PATH,
        files={"file": ("a.wav", data)},
        data={"stream": "true"},
        timeout=60,
    ) as response:
        next(response.iter_raw())
    assert response.status_code == 200


# ---- limits --------------------------------------------------------------------------------------


def test_an_upload_that_is_too_large_is_refused_by_its_head(server):
    with connection(server) as client:
        client.sendall(head((8 << 20) + 1))
        answer = everything(client)
    assert answer.startswith("HTTP/1.1 413") and "upload_too_large" in answer


def test_the_sdk_sees_that_an_upload_is_too_large(server):
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(openai.APIStatusError, match="more than 8388608 bytes") as raised,
    ):
        client.audio.transcriptions.create(file=("a.wav", bytes(20 << 20)), model="live")
    assert raised.value.status_code == 413


def test_an_upload_of_unknown_length_is_refused_at_the_limit(server):
    sent = 0

    def body():
        nonlocal sent
        yield PART
        while sent < 64 << 20:
            sent += 1 << 16
            yield bytes(1 << 16)

    kind = {"content-type": "multipart/form-data; boundary=b"}
    try:
        found = httpx.post(server.url + PATH, content=body(), headers=kind, timeout=30)
        assert found.status_code == 413
    except httpx.TransportError:  # the server closes while the client is still sending
        pass
    assert sent < 32 << 20


def test_a_recording_that_is_too_long(server, tmp_path):
    soundfile.write(tmp_path / "long.flac", np.zeros(601 * RATE_HZ), RATE_HZ)
    found = asked(server, tmp_path / "long.flac")
    assert found.status_code == 413
    assert "601 s long; at most 600 s" in error_of(found)["message"]


def test_a_busy_server_says_when_to_try_again(server, recordings):
    idle = [connection(server) for _ in range(LIMITS.requests)]
    for client in idle:
        client.sendall(head(1000) + PART)
    while server.service.admission.requests < LIMITS.requests:
        time.sleep(0.01)
    found = asked(server, recordings / "r0.wav")
    for client in idle:
        client.close()
    assert (found.status_code, error_of(found)["code"]) == (503, "server_busy")
    assert int(found.headers["retry-after"]) > 0


def test_too_many_bytes_at_once(server, recordings):
    with connection(server) as client:
        client.sendall(head(7 << 20) + PART + bytes(6 << 20))
        while server.service.admission.bytes_in_flight < 6 << 20:
            time.sleep(0.01)
        found = asked(server, recordings / "r0.wav", data=bytes(5 << 20))
    assert (found.status_code, error_of(found)["code"]) == (429, "too_many_bytes")
    assert int(found.headers["retry-after"]) > 0


# ---- what is sent --------------------------------------------------------------------------------


def test_webm_with_opus(server, tmp_path):
    path = tmp_path / "voice.webm"
    samples = (said(4.0, 3, 48000) * 20000).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libopus", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate = 48000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    recognizer = server.service.engine.recognizers["live"]
    found = asked(server, path)
    assert found.json()["text"] == recognizer.transcribe(path).text != ""
    cut = asked(server, path, data=path.read_bytes()[:200])
    assert cut.status_code == 400


RUBBISH = {
    "random": secrets.token_bytes(20_000),
    "zeros": bytes(5000),
    "text": b"a text",
    "WAV of nothing": b"RIFF\x24\x00\x00\x00WAVEfmt ",
    "MP3 head": b"\xff\xfb\x90\x00" * 3,
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
    "empty": b"",
}


@pytest.mark.parametrize("case", RUBBISH)
def test_rubbish(server, tmp_path, case):
    found = asked(server, tmp_path / "a.mp3", data=RUBBISH[case])
    assert found.status_code == 400, found.text
    assert error_of(found)["param"] == "file"
    assert "'a.mp3': " in error_of(found)["message"]


def test_a_wav_that_claims_more_than_it_has(server, tmp_path, recordings):
    whole = (recordings / "r4.wav").read_bytes()
    found = asked(server, tmp_path / "a.wav", data=whole[: len(whole) // 2])
    assert found.status_code == 400 and "truncated" in error_of(found)["message"]
    endless = bytearray(whole)
    at = endless.index(b"data")
    endless[at + 4 : at + 8] = b"\xff\xff\xff\xff"  # as streams have it
    assert asked(server, tmp_path / "a.wav", data=bytes(endless)).status_code == 200


def test_a_body_that_is_shorter_than_it_claims(server, recordings):
    body = PART + (recordings / "r0.wav").read_bytes()
    with connection(server) as client:
        client.sendall(head(len(body) + 1000) + body)
        client.shutdown(socket.SHUT_WR)
        assert not client.recv(10_000).startswith(b"HTTP/1.1 200")


BODIES = {
    "no form": ("application/json", b"{}"),
    "no boundary": ("multipart/form-data", b"--b--"),
    "empty": ("multipart/form-data; boundary=b", b""),
    "no end": ("multipart/form-data; boundary=b", PART + b"RIFF"),
    "not the boundary": ("multipart/form-data; boundary=c", PART + b"\r\n--b--"),
    "no file": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nlive\r\n--b--\r\n',
    ),
    "two files": (
        "multipart/form-data; boundary=b",
        PART + b"\r\n" + PART + b"\r\n--b--\r\n",
    ),
    "long field": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + b"a" * 70_000,
    ),
    "bad header": ("multipart/form-data; boundary=b", b"--b\r\n\x00: \x01\r\n\r\n"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_damaged_form(server, case):
    kind, body = BODIES[case]
    found = httpx.post(server.url + PATH, content=body, headers={"content-type": kind})
    assert found.status_code == 400, found.text
    assert set(error_of(found)) == {"message", "type", "param", "code"}


def test_a_file_name_that_leads_elsewhere(server, recordings):
    data = (recordings / "r0.wav").read_bytes()
    for name in ("../../../../tmp/evil.wav", "/etc/evil", "a" * 300 + ".wav", "\u202e.wav", "."):
        found = httpx.post(server.url + PATH, files={"file": (name, data)}, timeout=30)
        assert found.status_code == 200


def test_a_failure_inside_is_one_clients_alone(server, recordings, monkeypatch):
    recognizer = server.service.engine.recognizers["live"]

    def broken(log_probs):
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(recognizer, "decode_segments", broken)
        found = asked(server, recordings / "r0.wav")
        events = asked(server, recordings / "r0.wav", stream="true").text
    assert found.status_code == 500
    assert "out of luck" not in found.text and error_of(found)["type"] == "server_error"
    assert json.loads(events.split("\n\n")[0].removeprefix("data: "))["error"]["code"] is None
    assert events.endswith("data: [DONE]\n\n")


# ---- many malformed requests ---------------------------------------------------------------------


# A file that fits the schema need not be audio.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def fuzz(server, examples):
    """The number of answers by status to requests that schemathesis makes up."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    seen = Counter()
    for operation in schema.get_all_operations():
        operation = operation.ok()

        @settings(max_examples=examples)
        @given(operation.as_strategy() | operation.as_strategy(GenerationMode.NEGATIVE))
        def every(case):
            response = case.call()
            seen[response.status_code] += 1
            assert response.status_code < 500, response.text
            case.validate_response(response, checks=CHECKS)

        every()
    return seen


def test_made_up_requests(server):
    seen = fuzz(server, 25)
    assert seen[200] and seen[400] and seen[404]


@pytest.mark.slow
def test_ten_thousand_made_up_requests(server):
    assert sum(fuzz(server, 5100).values()) >= 10_000


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 99), st.binary(max_size=8)), max_size=6),
    end=st.integers(0, 9000),
    format=st.sampled_from(["json", "verbose_json", "vtt"]),
)
def test_a_damaged_wav(server, recordings, changes, end, format):
    data = bytearray((recordings / "r1.wav").read_bytes())  # 12,844 bytes
    for at, change in changes:
        data[at : at + len(change)] = change
    del data[len(data) - end if end % 2 else len(data) :]
    found = asked(server, recordings / "r1.wav", data=bytes(data), response_format=format)
    assert found.status_code in (200, 400, 413), found.text


# ---- the end of a server -------------------------------------------------------------------------


def start(*arguments):
    """A server process, its port, and its log."""
    port = socket.create_server(("127.0.0.1", 0)).getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "asr.cli", "serve", *map(str, arguments), "--port", str(port)],
        stderr=subprocess.PIPE,
        text=True,
    )
    log = []
    reader = threading.Thread(target=lambda: log.extend(process.stderr))
    reader.start()
    url = f"http://127.0.0.1:{port}"
    for _ in range(1200):
        assert process.poll() is None, "".join(log)
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.05)
    return process, url, log, reader


def test_sigterm_under_load_loses_no_accepted_request(streaming_file, tmp_path):
    soundfile.write(tmp_path / "a.wav", said(20.0, 1), RATE_HZ)
    data = (tmp_path / "a.wav").read_bytes()
    expected = load(streaming_file, "cpu").transcribe(tmp_path / "a.wav").text
    process, url, log, reader = start(streaming_file)
    outcomes, accepted = [], []

    def client():
        with httpx.Client(timeout=60) as one:
            while True:
                try:
                    found = one.post(url + PATH, files={"file": ("a.wav", data)})
                except httpx.ConnectError:  # the port is closed: nothing was accepted
                    return
                except httpx.TransportError as error:
                    outcomes.append(error)
                    return
                outcomes.append(found.status_code)
                if found.status_code != 200:
                    accepted.append("retry-after" in found.headers)
                    return
                assert found.json()["text"] == expected

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client) for _ in range(8)]
        while len(outcomes) < 20:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        for one in clients:
            one.result(timeout=60)
    assert process.wait(30) == 0
    reader.join()
    assert set(outcomes) == {200, 503} and all(accepted)
    messages = [json.loads(line)["message"] for line in log if line.startswith("{")]
    assert "shutting down" in messages
    statuses = [json.loads(line).get("status") for line in log if line.startswith("{")]
    assert statuses.count(200) >= outcomes.count(200)
