"""The server with clients that are not its own: the openai SDK and plain HTTP."""

import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import openai
import pytest
import soundfile
import srt
import torch
import webvtt
from conftest import noise
from serving import served
from test_stream import said, save_streaming_model

import asr
from asr.audio.source import Samples
from asr.data.manifest import Utterance
from asr.recognition import waveforms
from asr.recognition.recognizer import load
from asr.server import batching
from asr.server.auth import Tokens
from asr.server.threads import set_threads
from asr.transcript.writers import srt as as_srt

RATE_HZ = 8000


@pytest.fixture(scope="module")
def recognizers(model_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("streaming") / "model.asr"
    save_streaming_model(path)
    return {"whole": load(model_file, "cpu"), "live": load(path, "cpu")}


@pytest.fixture(scope="module")
def server(recognizers, tmp_path_factory):
    with served(recognizers, tmp_path_factory.mktemp("spool")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """Half a minute of sound with pauses."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, said(30.0, 2), RATE_HZ)
    return path


def transcribed(client, path, **options):
    with path.open("rb") as file:
        return client.audio.transcriptions.create(file=file, **({"model": "live"} | options))


# ---- OpenAI's API --------------------------------------------------------------------------------


def test_models(client, recognizers):
    assert [model.id for model in client.models.list()] == list(recognizers)
    found = client.models.retrieve("live")
    assert (found.id, found.object, found.live) == ("live", "model", "streaming")


@pytest.mark.parametrize("model", ["whole", "live"])
def test_the_text_is_that_of_the_recognizer(client, recognizers, talk, model):
    expected = recognizers[model].transcribe(talk)
    assert expected.words
    found = transcribed(client, talk, model=model)
    assert found.text == expected.text
    assert found.usage.seconds == 30
    assert transcribed(client, talk, model=model, response_format="text") == f"{expected.text}\n"


def test_subtitles(client, recognizers, talk):
    expected = recognizers["live"].transcribe(talk)
    found = transcribed(client, talk, response_format="srt")
    assert found == as_srt(expected)
    assert len(list(srt.parse(found))) > 3
    vtt = transcribed(client, talk, response_format="vtt")
    assert len(webvtt.from_string(vtt)) == len(list(srt.parse(found)))


def test_verbose_has_words_and_segments_as_asked(client, recognizers, talk):
    expected = recognizers["live"].transcribe(talk)
    every = ["word", "segment"]
    found = transcribed(client, talk, response_format="verbose_json", timestamp_granularities=every)
    assert (found.text, found.duration) == (expected.text, 30.0)
    assert [(w.word, w.start, w.end) for w in found.words] == [
        (w.text, w.start_s, w.end_s) for w in expected.words
    ]
    assert [w.confidence for w in found.words] == pytest.approx(
        [w.confidence for w in expected.words], abs=1e-3
    )
    assert [(s.start, s.end, s.text) for s in found.segments] == [
        (s.start_s, s.end_s, s.text) for s in expected.segments
    ]
    assert all(s.avg_logprob <= 0 and s.tokens == [] for s in found.segments)
    segments_only = transcribed(client, talk, response_format="verbose_json")
    assert segments_only.words is None and len(segments_only.segments) == len(found.segments)


def test_names_of_other_services_mean_the_first_model(client, recognizers, recordings):
    expected = recognizers["whole"].transcribe(recordings / "r4.wav").text
    for name in ("whisper-1", "gpt-4o-transcribe"):
        assert transcribed(client, recordings / "r4.wav", model=name).text == expected


@pytest.mark.parametrize("model", ["whole", "live"])
def test_a_stream_of_events_has_the_text_in_parts(client, recognizers, talk, model, monkeypatch):
    monkeypatch.setattr(waveforms, "LONG_S", 5.0)
    monkeypatch.setattr(waveforms, "BLOCK_S", 4.0)
    expected = recognizers[model].transcribe(talk).text
    events = list(transcribed(client, talk, model=model, stream=True))
    *deltas, done = events
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert len(deltas) > (2 if model == "live" else 0)
    assert "".join(event.delta for event in deltas) == expected
    assert (done.type, done.text) == ("transcript.text.done", expected)


def test_events_of_a_few_samples_and_of_none(client, tmp_path, recognizers):
    soundfile.write(tmp_path / "short.wav", np.zeros(10), RATE_HZ)
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE_HZ)
    *_, done = transcribed(client, tmp_path / "short.wav", stream=True)
    assert done.text == recognizers["live"].transcribe(tmp_path / "short.wav").text
    with pytest.raises(openai.BadRequestError, match=r"'none.wav': holds no samples"):
        transcribed(client, tmp_path / "none.wav", stream=True)


def test_keywords_and_the_terms_of_a_prompt_are_hotwords(client, recognizers, talk):
    recognizer = recognizers["live"]
    favored = recognizer.with_decoder(["fed face", "abba"]).transcribe(talk).text
    assert favored != recognizer.transcribe(talk).text
    found = transcribed(client, talk, extra_body={"keywords": ["fed face", "abba"]})
    assert found.text == favored
    prompt = "fed face, Abba.\nthe model lacks the letters of this, and of this: xyz"
    assert transcribed(client, talk, prompt=prompt).text == favored


def errors():
    bad, missing = openai.BadRequestError, openai.NotFoundError
    return {
        "model": (missing, {"model": "none"}, "model 'none': there is whole, live", "model"),
        "format": (bad, {"response_format": "xml"}, "'xml'; give one of json", "response_format"),
        "granularity": (
            bad,
            {"timestamp_granularities": ["letter"]},
            "'letter'; give word or segment",
            "timestamp_granularities",
        ),
        "keyword": (bad, {"extra_body": {"keywords": ["xyz"]}}, "the model has no", "keywords"),
        "empty keyword": (bad, {"extra_body": {"keywords": ["?"]}}, "give a phrase", "keywords"),
    }


@pytest.mark.parametrize("case", errors())
def test_errors_name_the_field(client, talk, case):
    kind, options, message, param = errors()[case]
    with pytest.raises(kind) as raised:
        transcribed(client, talk, **options)
    body = raised.value.body
    assert message in body["message"]
    assert (body["param"], body["type"]) == (param, "invalid_request_error")
    assert re.fullmatch(r"[0-9a-f]{16}", raised.value.request_id)


def test_a_language_must_be_that_of_the_model(client, recognizers, talk, monkeypatch):
    recognizer = recognizers["live"]
    text = recognizer.config.text.model_copy(update={"language": "en"})
    settings = recognizer.config.model_copy(update={"text": text})
    monkeypatch.setattr(recognizer, "config", settings)
    with pytest.raises(openai.BadRequestError, match="'de'; the model live is for 'en'"):
        transcribed(client, talk, language="de")
    found = transcribed(client, talk, language="en-US", response_format="verbose_json")
    assert found.language == "en-US"


def test_what_is_no_audio_is_refused_by_its_own_name(client, tmp_path):
    path = tmp_path / "notes.wav"
    path.write_text("no audio")
    with pytest.raises(openai.BadRequestError, match=r"'notes.wav': not an audio file") as raised:
        transcribed(client, path)
    assert raised.value.body["param"] == "file"
    assert str(tmp_path) not in str(raised.value.body)


def test_the_examples_of_the_page(server, recognizers, talk, monkeypatch, capfd):
    page = (Path(__file__).parents[1] / "docs" / "server.md").read_text("utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    (command,) = re.findall(r"^curl .*$", page, re.M)
    monkeypatch.chdir(talk.parent)
    exec(example.replace("http://127.0.0.1:8000", server.url), {})
    assert capfd.readouterr().out == recognizers["whole"].transcribe(talk).text + "\n"
    found = subprocess.run(
        command.replace("http://127.0.0.1:8000", server.url),
        shell=True,
        capture_output=True,
        text=True,
    )
    assert "-->" in found.stdout


# ---- operation -----------------------------------------------------------------------------------


def test_health_and_readiness(server):
    assert httpx.get(f"{server.url}/healthz").json() == {"status": "ok"}
    ready = httpx.get(f"{server.url}/readyz")
    assert ready.json() == {"status": "ready", "models": ["whole", "live"]}


def test_metrics_count_requests_and_seconds_of_audio(server, client, talk):
    def value(name):
        (line,) = re.findall(
            rf"^{re.escape(name)} (.*)$", httpx.get(f"{server.url}/metrics").text, re.M
        )
        return float(line)

    before = value('asr_audio_seconds_total{protocol="openai"}') if talk else 0
    transcribed(client, talk)
    assert value('asr_audio_seconds_total{protocol="openai"}') == pytest.approx(before + 30)
    for stage in ("receive", "wait", "compute", "decode"):
        assert value(f'asr_stage_seconds_count{{stage="{stage}"}}') >= 1
    assert value("asr_real_time_factor_count") >= 1
    assert value("asr_requests_in_flight") == 0
    assert value("asr_upload_bytes") == 0


def test_paths_and_methods_that_do_not_exist(server):
    for method, path, status in (
        ("GET", "/v1/none", 404),
        ("GET", "/v1/audio/transcriptions", 405),
    ):
        found = httpx.request(method, server.url + path)
        assert found.status_code == status
        assert set(found.json()["error"]) == {"message", "type", "param", "code"}


def answered(caplog) -> list:
    """The lines of the log about requests; those of earlier tests may come late."""
    return [record for record in caplog.records if record.getMessage() == "answered"]


def test_a_request_keeps_the_id_of_its_client(server, caplog):
    caplog.set_level("INFO", "asr.server")
    found = httpx.get(f"{server.url}/v1/models", headers={"x-request-id": "job-17"})
    assert found.headers["x-request-id"] == "job-17"
    deadline = time.monotonic() + 10
    while not (logged := [r for r in answered(caplog) if r.fields["path"] == "/v1/models"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)  # the line is written after the answer
    assert logged[-1].fields["status"] == 200
    forged = httpx.get(f"{server.url}/v1/models", headers={"x-request-id": 'x"}{"level": 1'})
    assert re.fullmatch(r"[0-9a-f]{16}", forged.headers["x-request-id"])


def test_tokens(recognizers, tmp_path, recordings):
    (tmp_path / "tokens").write_text("# of the team\nsecret-1\n\nsecret-2\n")
    (tmp_path / "spool").mkdir()
    tokens = Tokens.read(tmp_path / "tokens")
    with served({"whole": recognizers["whole"]}, tmp_path / "spool", tokens=tokens) as running:
        url = f"{running.url}/v1"
        for key, accepted in (("secret-2", True), ("secret", False), ("token", False)):
            headers = {"authorization": f"Bearer {key}"}
            assert httpx.get(f"{url}/models", headers=headers).status_code == (
                200 if accepted else 401
            )
        with (
            openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError, match="a valid token is missing"),
        ):
            transcribed(client, recordings / "r0.wav", model="whole")
        assert httpx.get(f"{running.url}/metrics").status_code == 401
        assert httpx.get(f"{running.url}/healthz").status_code == 200


def test_a_file_without_tokens_lets_nobody_in(tmp_path):
    (tmp_path / "tokens").write_text("# none yet\n")
    with pytest.raises(asr.AsrError, match="has no token"):
        Tokens.read(tmp_path / "tokens")


def test_a_grammar_of_the_request(client, recognizers, talk):
    options = {"response_format": "verbose_json", "extra_body": {"grammar": "(bad|fed) face\ncab"}}
    found = transcribed(client, talk, **options)
    expected = recognizers["live"].transcribe(talk, grammar=["(bad|fed) face", "cab"])
    assert found.text == expected.text
    commands = [(one.command["text"], one.command["accepted"]) for one in found.segments]
    assert commands == [(s.command.text, s.command.accepted) for s in expected.segments]
    with pytest.raises(openai.BadRequestError, match=r"grammar: .*cannot write 'z'"):
        transcribed(client, talk, extra_body={"grammar": "zzz"})


# ---- batches -------------------------------------------------------------------------------------


def test_many_clients_at_once_get_their_own_texts(server, recognizers, recordings):
    paths = [recordings / f"r{i}.wav" for i in range(8)]
    expected = {(m, p): recognizers[m].transcribe(p).text for m in recognizers for p in paths}
    assert len(set(expected.values())) > 8

    def ask(key):
        model, path = key
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as one:
            return transcribed(one, path, model=model).text

    with ThreadPoolExecutor(16) as pool:
        assert dict(zip(expected, pool.map(ask, expected), strict=True)) == expected


def test_the_silence_at_the_end_of_a_long_recording_is_no_batch(
    server, recognizers, tmp_path, recordings, monkeypatch
):
    """A long recording ends with an empty part, which comes together with short recordings."""
    monkeypatch.setattr(waveforms, "LONG_S", 2.0)
    soundfile.write(tmp_path / "long.wav", said(6.0, 5), RATE_HZ)
    paths = [tmp_path / "long.wav", *(recordings / f"r{i}.wav" for i in range(4))] * 3
    expected = [recognizers["whole"].transcribe(path).text for path in paths]

    def ask(path):
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as one:
            return transcribed(one, path, model="whole").text

    with ThreadPoolExecutor(len(paths)) as pool:
        assert list(pool.map(ask, paths)) == expected


def test_a_short_recording_overtakes_a_long_one(server, recognizers, tmp_path, recordings):
    soundfile.write(tmp_path / "long.wav", said(400.0, 5), RATE_HZ)
    finished = []

    def ask(path):
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as one:
            found = transcribed(one, path).text
        finished.append(path.name)
        return found

    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(ask, tmp_path / "long.wav")
        while not server.service.engine.waiting:
            threading.Event().wait(0.005)
        short = pool.submit(ask, recordings / "r0.wav")
        assert short.result() == recognizers["live"].transcribe(recordings / "r0.wav").text
        assert finished == ["r0.wav"]
        assert long.result() == recognizers["live"].transcribe(tmp_path / "long.wav").text
    assert finished == ["r0.wav", "long.wav"]


def test_the_model_uses_all_cores(recognizers, monkeypatch):
    """Alone with all threads of PyTorch, or in parts with one each, whatever other threads set."""
    counts, compute = {}, batching._emissions

    def noted(group):
        counts[threading.current_thread().name.partition("_")[0]] = torch.get_num_threads()
        return compute(group)

    monkeypatch.setattr(batching, "_emissions", noted)
    monkeypatch.setattr(batching.os, "cpu_count", lambda: 2)
    recognizer, pieces = recognizers["whole"], [noise(0.5 + seed / 10, seed) for seed in range(5)]
    queue = batching.BatchQueue()
    other = threading.Thread(target=set_threads, args=(1,))
    other.start()
    other.join()
    queue.submit(recognizer, Utterance("one", Samples(pieces[0], 16000))).result(60)
    assert counts == {"asr-model": 2}
    job = SimpleNamespace(recognizer=recognizer)
    group = [(job, SimpleNamespace(samples=one, block=False)) for one in pieces]
    found = queue._emissions(group)
    assert counts == {"asr-model": 2, "asr-part": 1}
    for row, waveform in zip(found, pieces, strict=True):
        np.testing.assert_allclose(row, recognizer.emissions(waveform).rows()[0], atol=1e-4)
    queue.close()
