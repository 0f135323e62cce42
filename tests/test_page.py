"""What the page asks the server for: files, settings, captions, downloads, corrections."""

import io
import json
import time
from contextlib import suppress
from itertools import pairwise

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from serving import pcm, served, streaming_recognizer
from test_stream import RATE_HZ, said
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from asr import audio
from asr.data import manifest
from asr.errors import UserError
from asr.recognition.recognizer import load
from asr.server.auth import Tokens
from asr.server.limits import ServerLimits
from asr.server.page.corrections import CorrectedUtterance, CorrectionFolder
from asr.transcript.writers import FORMATS


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    return streaming_recognizer(tmp_path_factory)


@pytest.fixture(scope="module")
def server(recognizer, model_file, tmp_path_factory):
    spool = tmp_path_factory.mktemp("spool")
    with served({"live": recognizer, "whole": load(model_file, "cpu")}, spool) as running:
        yield running


@pytest.fixture
def corrections(server, tmp_path):
    server.service.corrections = CorrectionFolder(tmp_path / "corrected")
    yield tmp_path / "corrected"
    server.service.corrections = None


def test_the_page_is_three_files_that_load_nothing_else(server):
    kinds = {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"}
    for path, kind in kinds.items():
        answer = httpx.get(server.url + path)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "http://" not in answer.text.replace("http://localhost", "")
        assert "https://" not in answer.text
        if path != "/page.js":
            assert "url(" not in answer.text


def test_settings_tell_the_models_and_whether_corrections_are_kept(server, corrections):
    found = httpx.get(server.url + "/page/settings").json()
    assert found == {
        "models": [
            {"name": "live", "language": None, "streaming": True},
            {"name": "whole", "language": None, "streaming": False},
        ],
        "corrections": True,
    }
    server.service.corrections = None
    assert httpx.get(server.url + "/page/settings").json()["corrections"] is False


# ---- captions ----


def caption(server, data: bytes, start=None, size=1600, **options) -> list[dict]:
    with connect(server.url.replace("http", "ws") + "/live", **options) as websocket:
        websocket.send(json.dumps({"type": "start", "rate_hz": RATE_HZ} | (start or {})))
        for at in range(0, len(data), size):
            websocket.send(data[at : at + size])
        websocket.send('{"type": "end"}')
        messages = [json.loads(message) for message in websocket]
    assert websocket.close_code == 1000
    return messages


def test_captions_are_those_of_the_file(server, recognizer):
    data = pcm(said(8.0, 3))
    messages = caption(server, data)
    assert messages[0] == {"type": "ready", "streaming": True}
    assert messages[-1] == {"type": "done"}
    words = [word for message in messages for word in message.get("words", [])]
    expected = recognizer.transcribe(np.frombuffer(data, "<i2"), RATE_HZ)
    assert [word["text"] for word in words] == [word.text for word in expected.words]
    assert np.allclose([w["start_s"] for w in words], [w.start_s for w in expected.words])
    partials = [(m["stable"], m["unstable"]) for m in messages if m["type"] == "partial"]
    assert len(partials) > 3
    assert all(one != other for one, other in pairwise(partials))


def test_captions_of_a_bidirectional_model_come_at_pauses(server):
    speech = np.concatenate([said(2.0, 7, 16000), np.zeros(16000, np.float32)] * 2)
    messages = caption(server, pcm(speech), {"model": "whole", "rate_hz": 16000})
    assert messages[0] == {"type": "ready", "streaming": False}
    assert {message["type"] for message in messages[1:]} == {"utterance", "done"}


def test_captions_of_a_grammar_are_its_sentences_or_refusals(server, recognizer):
    data, typed = pcm(said(8.0, 3)), "(bad|fed) face\n\n  cab [ab] \n"
    spoken = [m for m in caption(server, data, {"grammar": typed}) if m["type"] == "utterance"]
    commands = [message["command"] for message in spoken if "command" in message]
    assert commands and not any(command["accepted"] for command in commands)
    best = {command["text"] for command in commands}
    assert best <= {"bad face", "fed face", "cab", "cab ab"}


@pytest.mark.parametrize(
    "frames, message",
    [
        (["hello"], "not a JSON object"),
        ([b"\0\0"], "not a JSON object"),
        (['{"type": "end"}'], '"start"'),
        (['{"type": "start"}'], "rate_hz"),
        (['{"type": "start", "rate_hz": 8000, "model": "x"}'], "there is live, whole"),
        (['{"type": "start", "rate_hz": 8000, "model": 3}'], "are texts"),
        (['{"type": "start", "rate_hz": 8000, "keywords": "x"}'], "keywords"),
        (['{"type": "start", "rate_hz": 8000, "keywords": ["?"]}'], "hotword '?'"),
        (['{"type": "start", "rate_hz": 8000, "grammar": ["a"]}'], "are texts"),
        (['{"type": "start", "rate_hz": 8000, "grammar": "zzz"}'], "cannot write 'z'"),
        (['{"type": "start", "rate_hz": 8000, "grammar": "(a|"}'], "(a|"),
        ([json.dumps({"type": "start", "rate_hz": 8000, "grammar": "(" * 5000})], "grammar"),
        ([json.dumps({"type": "start", "rate_hz": 8000, "grammar": "a" * 10001})], "at most"),
        (['{"type": "start", "rate_hz": 8000}', b"\0"], "1 bytes"),
        (['{"type": "start", "rate_hz": 8000}', "{}"], "send samples"),
    ],
)
def test_an_invalid_message_is_answered_with_an_error(server, frames, message):
    with connect(server.url.replace("http", "ws") + "/live") as websocket:
        for frame in frames:
            websocket.send(frame)
        answers = []
        with suppress(ConnectionClosed):
            while True:
                answers.append(json.loads(websocket.recv()))
    assert message in answers[-1]["message"] and answers[-1]["type"] == "error"


def test_pages_of_other_sites_are_refused(server):
    origin = {"Origin": "https://evil.example"}
    refused = httpx.post(server.url + "/page/export?format=srt", content="{}", headers=origin)
    assert refused.status_code == 403
    refused = httpx.post(server.url + "/page/corrections", files={"file": b"x"}, headers=origin)
    assert refused.status_code == 403
    with connect(
        server.url.replace("http", "ws") + "/live", additional_headers=origin
    ) as websocket:
        assert "evil.example" in json.loads(websocket.recv())["message"]
        with pytest.raises(ConnectionClosed):
            websocket.recv()


def test_a_token_is_needed_for_everything_but_the_files(recognizer, tmp_path):
    with served({"live": recognizer}, tmp_path, tokens=Tokens((b"secret",))) as server:
        assert httpx.get(server.url + "/").status_code == 200
        assert httpx.get(server.url + "/page/settings").status_code == 401
        bearer = {"Authorization": "Bearer secret"}
        assert httpx.get(server.url + "/page/settings", headers=bearer).status_code == 200
        assert caption(server, b"", {"token": "secret"})[-1] == {"type": "done"}
        with connect(server.url.replace("http", "ws") + "/live") as websocket:
            websocket.send('{"type": "start", "rate_hz": 8000, "token": "wrong"}')
            assert "token" in json.loads(websocket.recv())["message"]


def test_a_client_that_goes_away_or_stalls_leaves_nothing_behind(recognizer, tmp_path):
    limits = ServerLimits(connections=1, idle_s=0.5)
    with served({"live": recognizer}, tmp_path, limits) as server:
        address = server.url.replace("http", "ws") + "/live"
        with connect(address) as websocket:
            websocket.send('{"type": "start", "rate_hz": 8000}')
            assert json.loads(websocket.recv())["type"] == "ready"
            websocket.send(bytes(800))
            with connect(address) as second:
                assert "limit" in json.loads(second.recv())["message"]
            websocket.socket.close()  # without a closing frame
        end = time.monotonic() + 30
        while server.service.admission.connections:  # until the server has noticed
            assert time.monotonic() < end
            time.sleep(0.01)
        with connect(address) as third:
            third.send('{"type": "start", "rate_hz": 8000}')
            messages = [json.loads(message) for message in third]
        assert "0.5 s" in messages[-1]["message"]


# ---- downloads ----

TRANSCRIPT = {
    "audio": "talk.wav",
    "duration_s": 3.0,
    "segments": [
        {
            "start_s": 0.2,
            "end_s": 1.5,
            "words": [
                {"text": "zwölf", "start_s": 0.2, "end_s": 0.8, "confidence": 0.9},
                {"text": "<b>", "start_s": 0.9, "end_s": 1.5, "confidence": 0.5},
            ],
        }
    ],
}


@pytest.mark.parametrize("format", FORMATS)
def test_a_transcript_is_written_in_any_format(server, format):
    answer = httpx.post(server.url + f"/page/export?format={format}", json=TRANSCRIPT)
    assert answer.status_code == 200 and "zwölf" in answer.text
    if format == "json":
        assert json.loads(answer.text)["text"] == "zwölf <b>"
    if format == "srt":
        assert answer.text.startswith("1\n00:00:00,200 --> 00:00:0")


def changed(**fields):
    segment = TRANSCRIPT["segments"][0] | fields
    return TRANSCRIPT | {"segments": [segment]}


@pytest.mark.parametrize(
    "body, message",
    [
        ("", "JSON"),
        ("[]", "transcript"),
        (json.dumps({}), "audio"),
        (json.dumps(changed(start_s="x")), "segments.0.start_s"),
        (json.dumps(changed(end_s=float("nan"))), "time"),
        (json.dumps(changed(end_s=-1)), "time"),
        (json.dumps(TRANSCRIPT | {"duration_s": 1e300}), "time"),
    ],
)
def test_what_is_no_transcript_is_refused(server, body, message):
    answer = httpx.post(server.url + "/page/export?format=vtt", content=body)
    assert answer.status_code == 400 and message in answer.json()["error"]["message"]
    answer = httpx.post(server.url + "/page/export?format=exe", json=TRANSCRIPT)
    assert answer.status_code == 400 and "'exe'" in answer.json()["error"]["message"]


def test_a_transcript_that_is_too_long_is_refused(server):
    answer = httpx.post(server.url + "/page/export?format=txt", content=b" " * (17 << 20))
    assert answer.status_code == 413


# ---- corrections ----


def wav(samples, rate_hz=RATE_HZ) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


def save(server, rows, recording=None, **fields):
    data = {"utterances": json.dumps(rows), "model": "live"} | fields
    files = {"file": ("talk.wav", recording or wav(said(4.0, 1)))}
    return httpx.post(server.url + "/page/corrections", data=data, files=files)


def test_corrections_are_a_corpus(server, corrections):
    samples = said(4.0, 1)
    rows = [
        {"start_s": 0.5, "end_s": 1.25, "text": "bad face"},
        {"start_s": 2.0, "end_s": 9.0, "text": "fed"},  # up to the end
    ]
    answer = save(server, rows, speaker="ann").json()
    assert answer == {"saved": 2, "manifest": str(corrections / "manifest.jsonl")}
    found = manifest.read(corrections / "manifest.jsonl")
    assert [(u.text, u.speaker, u.duration_s) for u in found] == [
        ("bad face", "ann", 0.75),
        ("fed", "ann", 2.0),
    ]
    heard = audio.read(found[0].audio, RATE_HZ)
    assert np.abs(heard - samples[4000:10000]).max() < 1e-4
    again = save(server, [rows[0] | {"text": "bad faces"}]).json()  # replaces the text
    assert again["saved"] == 1
    found = manifest.read(corrections / "manifest.jsonl")
    assert [u.text for u in found] == ["bad faces", "fed"]
    assert len(list(corrections.iterdir())) == 3


@pytest.mark.parametrize(
    "rows, message",
    [
        ([], "0; give 1"),
        ({}, "utterances"),
        ([{"start_s": 1.0, "end_s": 1.0, "text": "a"}], "no stretch"),
        ([{"start_s": 1.0, "end_s": "x", "text": "a"}], "0.end_s"),
        ([{"start_s": 0.0, "end_s": 1.0, "text": "a" * 6000}], "5000"),
        ([{"start_s": 8.0, "end_s": 9.0, "text": "a"}], "talk.wav"),
        ([{"start_s": 3.99, "end_s": 9.0, "text": "a"}], "only 0.01 s"),
    ],
)
def test_invalid_corrections_are_refused_and_nothing_is_written(server, corrections, rows, message):
    answer = save(server, rows)
    assert answer.status_code == 400 and message in answer.json()["error"]["message"]
    assert not corrections.exists()


def test_nothing_is_kept_unless_a_folder_is_given(server):
    answer = save(server, [{"start_s": 0.0, "end_s": 1.0, "text": "a"}])
    assert answer.status_code == 403


def test_a_damaged_recording_is_no_correction(corrections, tmp_path):
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"x\.wav"):
        CorrectionFolder(corrections).save(
            str(tmp_path / "x.wav"), [CorrectedUtterance(0.0, 1.0, "a")]
        )
