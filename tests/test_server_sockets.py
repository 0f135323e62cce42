"""Clients of the sockets that misbehave: rubbish, floods, and connections that break."""

import asyncio
import json
from contextlib import AsyncExitStack, suppress

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stream import RATE_HZ, said, save_streaming_model
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from wyoming.audio import AudioChunk
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.ping import Ping, Pong

from asr.recognition.recognizer import load
from asr.server.app import make_service
from asr.server.vosk.listener import vosk_listener
from asr.server.wyoming.listener import wyoming_listener

LOOP = asyncio.Runner()  # one event loop for all tests, as the server has


class Ports:
    """Both listeners, in the event loop of the tests; `check` finds what clients left behind."""

    def __init__(self, service):
        self.service, self.stack = service, AsyncExitStack()
        enter = self.stack.enter_async_context
        self.vosk = LOOP.run(enter(vosk_listener(service, "127.0.0.1", 0)))
        self.wyoming = LOOP.run(enter(wyoming_listener(service, "127.0.0.1", 0)))

    async def check(self):
        """Whether both ports answer a client that behaves, and no connection is left."""
        async with connect(f"ws://127.0.0.1:{self.vosk}") as websocket:
            await websocket.send('{"eof": 1}')
            assert json.loads(await websocket.recv()) == {"text": ""}
        async with AsyncTcpClient("127.0.0.1", self.wyoming, read_timeout=30) as client:
            await client.write_event(Ping().event())
            assert Pong.is_type((await client.read_event()).type)
        await asyncio.wait_for(self.service.admission.drained(), 30)


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    path = tmp_path_factory.mktemp("sockets") / "model.asr"
    save_streaming_model(path)
    service = make_service({"live": load(path, "cpu")})
    ports = Ports(service)
    LOOP.run(ports.check())
    yield ports
    LOOP.run(ports.check())
    LOOP.run(ports.stack.aclose())
    service.engine.close()


# ---- rubbish ----

VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
CONFIGS = st.dictionaries(
    st.sampled_from(["sample_rate", "words", "max_alternatives", "phrase_list", "model"]),
    VALUES | st.lists(VALUES, max_size=2),
)
FRAMES = st.lists(
    st.binary(max_size=2000)
    | st.text(max_size=20)
    | CONFIGS.map(lambda config: json.dumps({"config": config}))
    | st.sampled_from(['{"reset": 1}', '{"eof": 1}', b'{"eof" : 1}', '{"config": {}}']),
    max_size=4,
)


def check_frames(ports, frames) -> None:
    async def main():
        with suppress(ConnectionClosed):
            async with connect(f"ws://127.0.0.1:{ports.vosk}") as websocket:
                for frame in frames:
                    await websocket.send(frame)
                await websocket.send('{"eof": 1}')
                replies = [json.loads(reply) async for reply in websocket]
                assert all({"partial", "text", "alternatives"} & set(reply) for reply in replies)
        assert websocket.close_code in (1000, 1008, 1009), websocket.close_reason

    LOOP.run(main())


@given(FRAMES)
@settings(max_examples=25)
def test_any_frames_are_answered_or_refused(ports, frames):
    check_frames(ports, frames)


@pytest.mark.slow
@given(FRAMES)
@settings(max_examples=10_000)
def test_ten_thousand_connections_with_any_frames(ports, frames):
    check_frames(ports, frames)


FORMATS = st.fixed_dictionaries(
    {
        "rate": st.sampled_from([8000, 16000, 0, -1, "x", None, 1e9]),
        "width": st.sampled_from([1, 2, 4, 3, None, "2"]),
        "channels": st.sampled_from([1, 2, 0, 9, 1.0]),
    }
)
KINDS = st.sampled_from(
    ["audio-start", "audio-chunk", "audio-stop", "transcribe", "describe", "ping", "x", ""]
)
EVENTS = st.builds(
    Event, KINDS, FORMATS | st.dictionaries(st.text(max_size=4), VALUES), st.binary(max_size=400)
)
LINES = st.binary(max_size=200) | st.dictionaries(
    st.sampled_from(["type", "data", "data_length", "payload_length"]), VALUES
).map(lambda header: json.dumps(header).encode() + b"\n")


def check_events(ports, events, rubbish) -> None:
    async def main():
        with suppress(ConnectionError):
            async with AsyncTcpClient("127.0.0.1", ports.wyoming, read_timeout=30) as client:
                for event in events:
                    await client.write_event(event)
                client._writer.write(rubbish)
                client._writer.write_eof()
                while (answer := await client.read_event()) is not None:
                    assert answer.type in ("info", "pong", "transcript", "error") or (
                        answer.type.startswith("transcript-")
                    )
                    assert answer.data.get("text") != "the server failed; see its log"

    LOOP.run(main())


@given(st.lists(EVENTS, max_size=4), LINES)
@settings(max_examples=25)
def test_any_events_are_answered_or_refused(ports, events, rubbish):
    check_events(ports, events, rubbish)


@pytest.mark.slow
@given(st.lists(EVENTS, max_size=4), LINES)
@settings(max_examples=10_000)
def test_ten_thousand_connections_with_any_events(ports, events, rubbish):
    check_events(ports, events, rubbish)


# ---- floods, and connections that break ----


def test_connections_that_break_leave_nothing_open(ports):
    speech = (said(0.5, 3) * 32767).astype("<i2").tobytes()

    async def break_off():
        websocket = await connect(f"ws://127.0.0.1:{ports.vosk}")
        await websocket.send(speech)
        websocket.transport.abort()
        client = AsyncTcpClient("127.0.0.1", ports.wyoming)
        await client.connect()
        await client.write_event(AudioChunk(RATE_HZ, 2, 1, speech).event())
        client._writer.write(b'{"type": "audio-chunk", "payload_length": 1000}\nabc')
        client._writer.transport.abort()

    async def main():
        process = psutil.Process()
        await break_off()
        await ports.check()
        before = process.num_fds()
        for _ in range(20):
            await break_off()
        await ports.check()
        return before, process.num_fds()

    before, after = LOOP.run(main())
    assert after <= before


def test_a_client_that_floods_waits_and_others_are_answered(ports):
    second = bytes(2 * RATE_HZ)

    async def flood(websocket):
        for _ in range(300):  # of which it reads no reply
            await websocket.send(second)

    async def main():
        async with connect(f"ws://127.0.0.1:{ports.vosk}", max_queue=1) as flooding:
            task = asyncio.create_task(flood(flooding))
            await asyncio.sleep(0.1)
            async with connect(f"ws://127.0.0.1:{ports.vosk}") as other:
                await other.send(second)
                assert json.loads(await asyncio.wait_for(other.recv(), 30))
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await task
            flooding.transport.abort()
        await ports.check()

    LOOP.run(main())
