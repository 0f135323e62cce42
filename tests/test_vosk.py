"""Vosk's WebSocket as its clients use it: in lock-step, with words, alternatives and eof."""

import asyncio
import json
import ssl
import subprocess
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import LOOP, pcm
from test_stream import RATE_HZ, said
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from asr.cli.serving import TlsOptions
from asr.errors import UserError
from asr.lm.grammar import Grammar
from asr.server.app import make_service
from asr.server.auth import Tokens
from asr.server.grammars import templates_for
from asr.server.limits import ServerLimits
from asr.server.vosk.listener import vosk_listener
from asr.server.vosk.messages import VoskControl, VoskSettings, VoskText, parse, result_reply
from asr.transcript import Word

CHUNK = 4000  # bytes, of vosk-server's clients


@asynccontextmanager
async def client(service, **options):
    async with vosk_listener(service, "127.0.0.1", 0) as port:
        async with connect(f"ws://127.0.0.1:{port}", **options) as websocket:
            yield websocket


async def dictate(websocket, data: bytes, config: dict | None = None, size=CHUNK) -> list[dict]:
    """As vosk-server's clients do: one reply for each chunk, and one for the eof."""
    if config is not None:
        await websocket.send(json.dumps({"config": config}))
    replies = []
    for start in range(0, len(data), size):
        await websocket.send(data[start : start + size])
        replies.append(json.loads(await websocket.recv()))
    await websocket.send('{"eof" : 1}')
    replies.append(json.loads(await websocket.recv()))
    await websocket.wait_closed()
    assert websocket.close_code == 1000
    return replies


def talk(service, *arguments, **options) -> list[dict]:
    async def main():
        async with client(service) as websocket:
            return await dictate(websocket, *arguments, **options)

    return LOOP.run(main())


@pytest.fixture(scope="module")
def speech():
    return pcm(said(12.0, 3))


@pytest.fixture(scope="module")
def expected(recognizer, speech):
    return recognizer.transcribe(np.frombuffer(speech, "<i2"), RATE_HZ)


def test_texts_of_the_results_are_those_of_the_file(service, speech, expected):
    replies = talk(service, speech, {"sample_rate": RATE_HZ})
    assert len(replies) == -(-len(speech) // CHUNK) + 1
    assert all(("partial" in reply) != ("text" in reply) for reply in replies)
    finals = [reply["text"] for reply in replies if "text" in reply]
    assert len(finals) > 2 and " ".join(filter(None, finals)) == expected.text
    partials = [reply["partial"] for reply in replies if "partial" in reply]
    assert any(partials)


def test_the_default_rate_is_8_khz_and_words_have_times_of_the_stream(service, speech, expected):
    replies = talk(service, speech)
    words = [word for reply in replies for word in reply.get("result", [])]
    assert [set(word) for word in words] == [{"conf", "end", "start", "word"}] * len(words)
    assert [word["word"] for word in words] == [word.text for word in expected.words]
    found = np.array([(w["start"], w["end"], w["conf"]) for w in words])
    wanted = np.array([(w.start_s, w.end_s, w.confidence) for w in expected.words])
    assert np.abs(found - wanted).max() < 1e-4


def test_subtitles_are_made_of_results(service, speech, expected):
    """As test_srt.py does: results without words are left out."""
    lines = []
    for reply in talk(service, speech, {"sample_rate": RATE_HZ, "words": 1}, size=8000):
        words = reply.get("result", [])
        for at in range(0, len(words), 7):
            line = words[at : at + 7]
            text = " ".join(word["word"] for word in line)
            lines.append((line[0]["start"], line[-1]["end"], text))
    assert " ".join(text for _, _, text in lines) == expected.text
    assert all(start < end for start, end, _ in lines) and lines == sorted(lines)


def test_without_words_results_have_only_a_text(service, speech):
    replies = talk(service, speech, {"words": 0})
    assert {tuple(reply) for reply in replies} == {("partial",), ("text",)}


def test_alternatives_have_scores_and_words(service, speech):
    replies = talk(service, speech, {"max_alternatives": 3})
    results = [reply["alternatives"] for reply in replies if "alternatives" in reply]
    assert not any("text" in reply for reply in replies)
    said = [one for one in results if one[0]["text"]]
    assert any(len(one) == 3 for one in said)
    for alternatives in said:
        scores = [one["confidence"] for one in alternatives]
        assert scores == sorted(scores, reverse=True)
        assert len({one["text"] for one in alternatives}) == len(alternatives) <= 3
        for one in alternatives:
            assert " ".join(word["word"] for word in one["result"]) == one["text"]


def test_nothing_said_is_an_empty_text(service):
    assert talk(service, b"", {"words": 1}) == [{"text": ""}]
    assert talk(service, b"", {"max_alternatives": 2}) == [
        {"alternatives": [{"confidence": 1.0, "text": ""}]}
    ]


def test_one_reply_comes_for_a_frame_of_any_size(service, recognizer, speech):
    whole = recognizer.transcribe(np.frombuffer(speech, "<i2"), RATE_HZ).text
    one, last = talk(service, speech, size=len(speech))
    assert " ".join(filter(None, (one["text"], last["text"]))) == whole
    odd = talk(service, speech, size=4001)  # frames end within a sample
    assert " ".join(filter(None, (reply.get("text") for reply in odd))) == whole


def test_reset_ends_the_utterance_and_times_go_on(service, recognizer):
    samples = said(3.0, 5)

    async def main():
        async with client(service) as websocket:
            finals = []
            for _ in range(2):
                await websocket.send(pcm(samples))
                await websocket.recv()
                await websocket.send('{"reset": 1}')
                finals.append(json.loads(await websocket.recv()))
            await websocket.send(b'{"eof" : 1}')  # some clients send it in a binary frame
            finals.append(json.loads(await websocket.recv()))
            await websocket.wait_closed()
            return finals

    first, second, last = LOOP.run(main())
    assert last == {"text": ""}
    assert first["text"] == second["text"] != ""
    starts = [[word["start"] for word in one["result"]] for one in (first, second)]
    assert np.allclose(np.array(starts[1]) - starts[0], 3.0, atol=1e-5)


def test_a_bidirectional_model_answers_at_pauses(service, recognizer):
    samples = np.concatenate([said(2.0, 7, 16000), np.zeros(16000, np.float32)] * 2)
    config = {"sample_rate": 16000, "model": "whole"}
    replies = talk(service, pcm(samples), config)
    assert all(reply.get("partial", "") == "" for reply in replies)
    assert any(reply.get("text") for reply in replies)


def test_hotwords_are_favored(service, recognizer, speech):
    phrases = ["bad face", "fed"]
    replies = talk(service, speech, {"hotwords": phrases})
    favored = recognizer.with_decoder(phrases).transcribe(np.frombuffer(speech, "<i2"), RATE_HZ)
    text = " ".join(filter(None, (reply.get("text") for reply in replies)))
    assert text == favored.text
    assert text != recognizer.transcribe(np.frombuffer(speech, "<i2"), RATE_HZ).text


@pytest.mark.parametrize("key", ["phrase_list", "grammar"])
def test_only_phrases_of_the_list_are_heard(service, speech, key):
    """Vosk takes the list as JSON text, too."""
    replies = talk(service, speech, {key: json.dumps(["bad face", "fed", "ab (cd)"])})
    texts = [reply["text"] for reply in replies if reply.get("text")]
    assert texts
    for text in texts:
        assert text.replace("bad face", "").replace("fed", "").replace("ab cd", "").strip() == ""
    partials = [reply["partial"] for reply in replies if reply.get("partial")]
    beginnings = {word[:end] for word in ("bad", "face", "fed", "ab", "cd") for end in range(5)}
    assert partials and set(" ".join(partials).split()) <= beginnings


def test_other_speech_is_unknown_if_the_list_has_unk(service, speech):
    config = {"phrase_list": ["bad face", "[unk]"]}
    texts = [reply["text"] for reply in talk(service, speech, config) if reply.get("text")]
    assert "[unk]" in texts and set(texts) <= {"[unk]", "bad face"}


def test_phrases_become_a_template():
    assert templates_for([]) == ()
    assert templates_for(["one  two", "one two", "(three)|"]) == templates_for(["one two", "three"])
    (template,) = templates_for(["one", "two"])
    grammar = Grammar([template])
    assert grammar.accepts("one") and grammar.accepts("two one one two one one one two")
    assert not grammar.accepts("two one one two one one one two one")
    (long,) = templates_for([f"word{number}" for number in range(200)])
    assert Grammar([long]).sentence_count == 200


def test_a_certificate_encrypts_the_port(service, speech, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    trusted = ssl.create_default_context(cafile=cert)

    async def main():
        tls = TlsOptions(cert, key).context()
        async with vosk_listener(service, "127.0.0.1", 0, tls) as port:
            async with connect(f"wss://127.0.0.1:{port}", ssl=trusted) as websocket:
                replies = await dictate(websocket, speech[:16000])
            with pytest.raises((ConnectionClosed, InvalidMessage, OSError)):
                async with connect(f"ws://127.0.0.1:{port}"):
                    pass
        return replies

    assert LOOP.run(main()) == talk(service, speech[:16000])
    with pytest.raises(UserError, match="give a PEM file of each"):
        TlsOptions(cert, cert).context()


# ---- faults ----


def refusal(service, *frames) -> tuple[int, str]:
    async def main():
        async with client(service) as websocket:
            with pytest.raises(ConnectionClosed):
                for frame in frames:
                    await websocket.send(frame)
                    await asyncio.sleep(0)
                await websocket.recv()
            return websocket.close_code, websocket.close_reason

    return LOOP.run(main())


@pytest.mark.parametrize(
    "config, named",
    [
        ({"sample_rate": "fast"}, "sample_rate"),
        ({"sample_rate": 1}, "sample_rate"),
        ({"sample_rate": 1e400}, "sample_rate"),
        ({"words": "many"}, "words"),
        ({"max_alternatives": -1}, "max_alternatives"),
        ({"max_alternatives": 1.5}, "max_alternatives"),
        ({"phrase_list": "one"}, "phrase_list"),
        ({"phrase_list": [1]}, "phrase_list"),
        ({"phrase_list": ["x"] * 1001}, "phrase_list"),
        ({"model": 3}, "model"),
        ({"model": "other"}, "'other': there is live, whole"),
        ([], "config"),
    ],
)
def test_an_invalid_configuration_closes_the_connection_and_names_it(service, config, named):
    code, reason = refusal(service, json.dumps({"config": config}))
    assert code == 1008 and named in reason


def test_text_that_is_no_message_closes_the_connection(service):
    for text in ("", "hello", "[]", "{}", '{"eof": 0}', "[" * 100_000):
        code, reason = refusal(service, text)
        assert code == 1008 and "send samples" in reason


def test_a_frame_that_is_too_long_closes_the_connection(service):
    assert refusal(service, bytes(2 << 20))[0] == 1009


def test_too_many_connections_and_missing_tokens_are_refused(recognizer):
    limits = ServerLimits(connections=1)
    service = make_service({"live": recognizer}, limits, Tokens((b"secret",)))

    async def main():
        async with vosk_listener(service, "127.0.0.1", 0) as port:
            url, headers = f"ws://127.0.0.1:{port}", {"Authorization": "Bearer secret"}
            with pytest.raises(InvalidStatus) as refused:
                async with connect(url):
                    pass
            assert refused.value.response.status_code == 401
            async with connect(url, additional_headers=headers) as first:
                await first.send(bytes(800))
                await first.recv()
                with pytest.raises(InvalidStatus) as refused:
                    async with connect(url, additional_headers=headers):
                        pass
                response = refused.value.response
                assert response.status_code == 503 and int(response.headers["Retry-After"]) > 0
            async with connect(url, additional_headers=headers) as later:
                await later.send('{"eof": 1}')
                assert json.loads(await later.recv()) == {"text": ""}

    LOOP.run(main())
    service.engine.close()


def test_an_idle_client_is_disconnected_and_the_end_of_the_server_delivers_the_text(
    recognizer, speech
):
    service = make_service({"live": recognizer}, ServerLimits(idle_s=0.3))

    async def main():
        async with client(service) as websocket:
            with pytest.raises(ConnectionClosed):
                await websocket.recv()
            assert websocket.close_code == 1001 and "0.3 s" in websocket.close_reason
        assert service.admission.connections == 0
        async with client(service) as websocket:
            await websocket.send(speech[: RATE_HZ * 2])
            await websocket.recv()
            service.admission.draining.set()
            last = json.loads(await websocket.recv())
            with pytest.raises(ConnectionClosed):
                await websocket.recv()
            assert websocket.close_code == 1001
            await asyncio.wait_for(service.admission.drained(), 5)
            return last["text"]

    assert LOOP.run(main())
    service.engine.close()


# ---- messages ----

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["sample_rate", "words", "max_alternatives", "phrase_list", "hotwords", "model", "x"]
)


@given(st.text() | st.binary() | JSON.map(json.dumps))
def test_any_frame_is_a_message_or_refused(frame):
    try:
        found = parse(frame)
    except UserError as error:
        assert isinstance(frame, str) and "\n" not in str(error)
    else:
        assert isinstance(found, VoskControl | dict) or found is frame


@given(st.dictionaries(KEYS, JSON))
def test_any_configuration_is_valid_or_refused(config):
    try:
        settings = VoskSettings().changed(config)
    except UserError as error:
        assert "config" in str(error)
    else:
        assert 1000 <= settings.rate_hz <= 768_000 and 0 <= settings.max_alternatives <= 100
        assert all(isinstance(phrase, str) and phrase for phrase in settings.phrases)


def test_replies_look_like_those_of_vosk():
    words = (Word("one", 0.1, 0.52, 0.9), Word("two", 0.6, 1.0, 1.0))
    reply = result_reply([VoskText("one two", words, -1.5)], VoskSettings(), 2.0)
    assert '"text" : "one two"' in reply
    assert json.loads(reply)["result"] == [
        {"conf": 0.9, "end": 2.52, "start": 2.1, "word": "one"},
        {"conf": 1.0, "end": 3.0, "start": 2.6, "word": "two"},
    ]
