"""The server on a Ray cluster: two replicas on two nodes, of which one is lost under load."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
import soundfile
from test_archive import cluster  # noqa: F401
from test_stream import said, save_streaming_model
from typer.testing import CliRunner

from asr.cli import app
from asr.cluster.cluster import connected
from asr.cluster.worker import Work
from asr.errors import UserError
from asr.recognition.recognizer import load
from asr.server import deployment
from asr.server.deployment import ReplicaSetup, deploy
from asr.server.running import Address


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--replicas", "2"], "they need --engine ray"),
        (["--address", "h:1"], "they need --engine ray"),
        (["--engine", "ray", "--vosk-port", "0"], "leave out --vosk-port"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "no Ray cluster answers"),
    ],
)
def test_contradicting_options_are_errors(arguments, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.asr").touch()
    done = CliRunner().invoke(app, ["serve", "model.asr", *arguments])
    assert isinstance(done.exception, UserError)
    assert complaint in str(done.exception)


def test_replicas_hear_the_grammar_of_the_command(tmp_path, monkeypatch):
    """Files of the command line are found from any folder, and each replica loads the grammar."""
    setups = []
    monkeypatch.setattr(deployment, "serve_on_ray", lambda setup, *_: setups.append(setup))
    monkeypatch.chdir(tmp_path)
    save_streaming_model(tmp_path / "live.asr")
    Path("home.yaml").write_text("sentences: ['(bad|fed) face']")
    command = ["serve", "live.asr", "--engine", "ray", "--grammar"]
    CliRunner().invoke(app, [*command, "home.yaml"], catch_exceptions=False)
    monkeypatch.chdir("/")
    service = setups[0].service()
    assert service.engine.recognizers["live"].grammar.accepts("fed face")
    service.engine.close()
    lost = CliRunner().invoke(app, [*command, "home.yaml"])
    assert isinstance(lost.exception, UserError) and "no such file" in str(lost.exception)


@pytest.mark.slow
def test_a_replica_is_lost_under_load(cluster, tmp_path):  # noqa: F811
    from ray import serve

    save_streaming_model(tmp_path / "live.asr")
    soundfile.write(tmp_path / "a.wav", said(20.0, 1), 8000)
    data = (tmp_path / "a.wav").read_bytes()
    expected = load(tmp_path / "live.asr", "cpu").transcribe(tmp_path / "a.wav").text
    setup = ReplicaSetup({"live": Work(tmp_path / "live.asr", "cpu")})
    url = "http://127.0.0.1:8765"
    texts, ended = [], threading.Event()

    def client():
        """The SDK sends a request again if its replica is lost."""
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=4) as one:
            while not ended.is_set():
                found = one.audio.transcriptions.create(file=("a.wav", data), model="live")
                texts.append(found.text)

    with connected(cluster.address, tmp_path / "ray.log"):
        deploy(setup, Address(port=8765), 2, 20)
        # A replica takes the only CPU of its node.
        found = serve.status().applications["asr"].deployments["asr"].replica_states
        assert found == {"RUNNING": 2}
        with ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(client) for _ in range(4)]
            wait_for(lambda: len(texts) >= 20, clients)
            cluster.remove_node(cluster.second, allow_graceful=False)
            lost = len(texts)
            wait_for(lambda: len(texts) >= lost + 40, clients)
            ended.set()
            for one in clients:
                one.result(60)
        assert set(texts) == {expected}
        assert httpx.get(f"{url}/readyz").json()["models"] == ["live"]
        serve.shutdown()


def wait_for(condition, clients):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        assert not [one for one in clients if one.done() and one.exception()]
        time.sleep(0.05)
