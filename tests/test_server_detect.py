"""The WebSocket `/detect` gives the detections that the detector gives for the same samples."""

import json
from dataclasses import asdict

import httpx2 as httpx
import numpy as np
import pytest
import torch
from conftest import noise
from serving import pcm, served
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from asr.config import parse
from asr.errors import UserError
from asr.model.model_file import Model
from asr.recognition.classifier import Classifier
from asr.recognition.detector import Detector, DetectorSettings
from asr.server.app import make_service
from asr.server.auth import Tokens
from asr.text.labels import Labels

RATE_HZ = 8000
SETTINGS = {"window_s": 0.5, "hop_s": 0.1, "debounce_s": 0.3}


@pytest.fixture(scope="module")
def classifier():
    config = parse(
        {
            "name": "made",
            "task": "classify",
            "features": {"rate_hz": RATE_HZ, "n_mels": 20, "cmvn": "level"},
            "model": {"hidden": 8, "channels": 4},
        },
        "test",
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        made = Model.build(config, Labels(["one", "two", "other"]))
    with torch.no_grad():
        made.acoustic.head.weight.mul_(5)
    return Classifier(made, "cpu")


@pytest.fixture(scope="module")
def server(classifier, tmp_path_factory):
    spool = tmp_path_factory.mktemp("spool")
    with served(
        {}, spool, tokens=Tokens((b"secret",)), classifiers={"words": classifier}
    ) as running:
        yield running


def detect(server, data: bytes, size: int, **start) -> list[dict]:
    with connect(server.url.replace("http", "ws") + "/detect") as websocket:
        first = {"type": "start", "rate_hz": RATE_HZ, "token": "secret"} | start
        websocket.send(json.dumps(first))
        for at in range(0, len(data), size):
            websocket.send(data[at : at + size])
        websocket.send('{"type": "end"}')
        return [json.loads(message) for message in websocket]


def test_the_detections_are_those_of_the_detector_whatever_the_pieces(server, classifier):
    data = pcm(np.concatenate([noise(1.0, seed, RATE_HZ) * (seed % 2) for seed in range(12)]))
    samples = np.frombuffer(data, "<i2").astype(np.float32) / 32768

    def wanted_of(**more):
        detector = Detector(classifier, RATE_HZ, DetectorSettings(**SETTINGS, **more))
        return [asdict(one) for one in [*detector.feed(samples), *detector.finish()]]

    middle = float(np.median([one["probability"] for one in wanted_of(threshold=1.0, near=1.0)]))
    given = {"threshold": middle - 1e-4, "near": 0.9}
    wanted = wanted_of(**given)
    assert {one["accepted"] for one in wanted} == {True, False}
    for size in (400, 16000):
        ready, *found, done = detect(server, data, size, **SETTINGS, **given)
        assert ready == {
            "type": "ready",
            "keywords": ["one", "two"],
            "threshold": given["threshold"],
        }
        assert done == {"type": "done"}
        assert [one.pop("type") for one in found] == ["detection"] * len(wanted)
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.pop("probability") == pytest.approx(theirs["probability"], abs=1e-5)
            assert ours == {k: v for k, v in theirs.items() if k != "probability"}
    *quiet, _ = detect(server, data, 16000, **SETTINGS, **given | {"near": None})[1:]
    assert quiet and all(one["accepted"] for one in quiet)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"token": None}, "a valid token is missing"),
        ({"model": "none"}, "the models that classify are words"),
        ({"threshold": 2}, "threshold is not a number from 0 to 1"),
        ({"hop_s": "a"}, "hop_s is not a number from 0.02 to 10"),
        ({"hop_s": 2.0}, "give 0 < hop <= window"),
        ({"rate_hz": None}, "start"),
    ],
)
def test_a_wrong_start_is_answered_and_closed(server, start, message):
    with connect(server.url.replace("http", "ws") + "/detect") as websocket:
        first = {"type": "start", "rate_hz": RATE_HZ, "token": "secret"} | start
        websocket.send(json.dumps(first))
        answer = json.loads(websocket.recv())
        assert answer["type"] == "error" and message in answer["message"]
        with pytest.raises(ConnectionClosed):
            websocket.recv()


def test_a_server_of_a_classifier_alone_has_no_page_and_says_that_it_does_not_transcribe(server):
    authorized = {"Authorization": "Bearer secret"}
    assert httpx.get(server.url + "/", headers=authorized).status_code == 404
    assert httpx.get(server.url + "/readyz").json()["models"] == ["words"]
    answer = httpx.post(
        server.url + "/v1/audio/transcriptions",
        headers=authorized,
        files={"file": ("a.wav", b"")},
        data={"model": "words"},
    )
    assert answer.status_code == 404
    assert "there is none that transcribes" in answer.json()["error"]["message"]
    with pytest.raises(UserError, match="give at least one model"):
        make_service({})
