"""Wyoming, with the client of the package `wyoming`, as Home Assistant uses it."""

import asyncio
import json
import math
import socket
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import LOOP, pcm, service_of
from test_stream import RATE_HZ, said
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from asr.errors import UserError
from asr.server.app import make_service
from asr.server.limits import ServerLimits
from asr.server.wyoming.announcement import SERVICE, announcement, reachable_addresses
from asr.server.wyoming.events import read_event, samples_of
from asr.server.wyoming.listener import wyoming_listener

CHUNK = 1024  # samples, as Home Assistant's satellites send


@asynccontextmanager
async def client(service):
    async with wyoming_listener(service, "127.0.0.1", 0) as port:
        async with AsyncTcpClient("127.0.0.1", port, read_timeout=30) as connected:
            yield connected


def chunks(samples, rate_hz=RATE_HZ):
    for start in range(0, len(samples), CHUNK):
        yield AudioChunk(rate_hz, 2, 1, pcm(samples[start : start + CHUNK])).event()


async def spoken(wyoming, samples, asked=None, rate_hz=RATE_HZ) -> list[Event]:
    """The events up to the transcript, and after it up to the stop of a streamed one."""
    await wyoming.write_event((asked or Transcribe()).event())
    await wyoming.write_event(AudioStart(rate_hz, 2, 1).event())
    for chunk in chunks(samples, rate_hz):
        await wyoming.write_event(chunk)
    await wyoming.write_event(AudioStop().event())
    events = [await wyoming.read_event()]
    while not (Transcript.is_type(events[-1].type) or Error.is_type(events[-1].type)):
        events.append(await wyoming.read_event())
    if TranscriptStart.is_type(events[0].type):
        events.append(await wyoming.read_event())
    return events


def talk(service, *arguments, **options) -> list[Event]:
    async def main():
        async with client(service) as wyoming:
            return await spoken(wyoming, *arguments, **options)

    return LOOP.run(main())


def text_of(events: list[Event]) -> str:
    (found,) = [Transcript.from_event(e) for e in events if Transcript.is_type(e.type)]
    return found.text


@pytest.fixture(scope="module")
def utterance(recognizer):
    """Speech in which no end point falls."""
    for seed in range(100):
        samples = said(1.5, seed)
        stream = recognizer.stream(RATE_HZ)
        heard = stream.feed(np.frombuffer(pcm(samples), "<i2"))
        finished = [*heard.finished, *stream.end().finished]
        if len(finished) == 1 and len(finished[0].words) > 2:
            return samples, finished[0].text
    raise AssertionError("no seed gives such an utterance")


def test_info_has_all_that_home_assistant_asks_for(service):
    async def main():
        async with client(service) as wyoming:
            await wyoming.write_event(Describe().event())
            info = Info.from_event(await wyoming.read_event())
            await wyoming.write_event(Ping(text="here").event())
            return info, Pong.from_event(await wyoming.read_event())

    info, pong = LOOP.run(main())
    (program,) = info.asr
    assert program.installed and program.attribution.name and program.version
    assert program.supports_transcript_streaming and not program.requires_external_vad
    assert [model.name for model in program.models] == ["live", "whole"]
    assert all(model.installed and model.attribution.url for model in program.models)
    assert pong.text == "here"


def test_the_transcript_is_that_of_the_file_and_comes_in_chunks_before(service, utterance):
    samples, text = utterance
    events = talk(service, samples)
    assert text_of(events) == text
    kinds = [event.type for event in events]
    assert kinds[0] == "transcript-start" and kinds[-2:] == ["transcript", "transcript-stop"]
    chunks = filter(lambda event: TranscriptChunk.is_type(event.type), events)
    streamed = [TranscriptChunk.from_event(chunk).text for chunk in chunks]
    assert "".join(streamed) == text and len(streamed) > 1


def test_the_engine_finds_the_end_of_speech_and_answers_before_the_audio_stops(service, utterance):
    samples, text = utterance

    async def main():
        async with client(service) as wyoming:
            await wyoming.write_event(Transcribe().event())
            await wyoming.write_event(AudioStart(RATE_HZ, 2, 1).event())
            for chunk in chunks(np.concatenate([samples, np.zeros(3 * RATE_HZ, np.float32)])):
                await wyoming.write_event(chunk)
            events = []  # no audio-stop has been sent
            while not events or not TranscriptStop.is_type(events[-1].type):
                events.append(await wyoming.read_event())
            await wyoming.write_event(AudioStop().event())  # it gets no second transcript
            again = await spoken(wyoming, samples)  # on the same connection
            return events, again

    early, again = LOOP.run(main())
    assert text_of(early).startswith(text.rsplit(" ", 1)[0])
    assert text_of(again) == text


def test_audio_without_samples_has_an_empty_transcript(service):
    (event,) = talk(service, np.zeros(0, np.float32))
    assert event.type == "transcript" and event.data["text"] == ""


@pytest.mark.parametrize("width, kind", [(1, np.uint8), (2, np.int16), (4, np.int32)])
def test_all_widths_and_channels_are_read(width, kind):
    full, shift = {1: (127, 128), 2: (32767, 0), 4: (2147483647, 0)}[width]
    wave = np.array([[0.5, -0.5], [0.25, 1.0]])
    payload = (wave * full + shift).round().astype(kind).tobytes()
    rate_hz, samples = samples_of(AudioChunk(48000, width, 2, payload).event())
    assert rate_hz == 48000 and samples.shape == (2, 2) and samples.dtype == kind
    assert np.allclose((samples.astype(float) - shift) / full, wave, atol=0.01)


def test_home_assistants_sentences_are_the_grammar(recognizer, model_file, utterance):
    """`asr serve --grammar` loads recognizers with it; what it refuses gets an empty text."""
    samples, _ = utterance
    texts = []
    for min_fit in (-math.inf, -3.0):
        commands = recognizer.with_decoder(grammar=["(bad|fed) face", "cab"], min_fit=min_fit)
        with service_of(commands, model_file) as service:
            texts.append(text_of(talk(service, samples)))
    assert texts[0] in ("bad face", "fed face", "cab") and texts[1] == ""


def test_other_rates_are_resampled_and_names_are_hotwords(service, recognizer, utterance):
    samples, _ = utterance
    twice = np.repeat(samples, 2)
    expected = recognizer.transcribe(np.frombuffer(pcm(twice), "<i2"), 2 * RATE_HZ).text
    assert text_of(talk(service, twice, rate_hz=2 * RATE_HZ)) == expected
    favored = Transcribe(transcript_names=["bad face"], transcript_terms=["fed"])
    hotwords = recognizer.with_decoder(["bad face", "fed"])
    expected = hotwords.transcribe(np.frombuffer(pcm(samples), "<i2"), RATE_HZ).text
    assert text_of(talk(service, samples, favored)) == expected


def test_a_bidirectional_model_is_chosen_by_name(service):
    speech = np.concatenate([said(2.0, 7, 16000), np.zeros(16000, np.float32)] * 2)
    assert text_of(talk(service, speech, Transcribe(name="whole"), rate_hz=16000))


def error_of(service, *events) -> str:
    async def main():
        async with client(service) as wyoming:
            for event in events:
                await wyoming.write_event(event)
            found = await wyoming.read_event()
            assert await wyoming.read_event() is None  # closed
            return Error.from_event(found).text

    return LOOP.run(main())


@pytest.mark.parametrize(
    "event, message",
    [
        (Transcribe(name="other").event(), "'other': there is live, whole"),
        (Event("transcribe", {"name": 3}), "name is not a text"),
        (Event("transcribe", {"transcript_names": "x"}), "transcript_names"),
        (Event("transcribe", {"transcript_terms": ["x"] * 1001}), "at most 1000"),
        (Event("audio-start", {"rate": 16000, "width": 3, "channels": 1}), "width 3"),
        (Event("audio-start", {"rate": 16000, "width": 2, "channels": 9}), "channels 9"),
        (Event("audio-start", {"rate": -1, "width": 2, "channels": 1}), "-1"),
        (Event("audio-chunk", {"rate": 16000, "width": 2, "channels": 1}, b"abc"), "3 bytes"),
        (Event("audio-chunk", {}, b"abcd"), "rate"),
    ],
)
def test_invalid_events_are_answered_with_an_error_that_names_the_field(service, event, message):
    assert message in error_of(service, event)


def test_a_rate_that_changes_within_an_utterance_is_an_error(service):
    chunk = [AudioChunk(rate, 2, 1, bytes(800)).event() for rate in (8000, 16000)]
    assert "the utterance has 8000 Hz" in error_of(service, *chunk)


# ---- faults ----


def bytes_of(reader_bytes: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(reader_bytes)
    reader.feed_eof()
    return reader


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"[]\n",
        b"{}\n",
        b'{"type": 3}\n',
        b'{"type": "x", "data": []}\n',
        b'{"type": "x", "data_length": -1}\n',
        b'{"type": "x", "data_length": 10000000}\n',
        b'{"type": "x", "payload_length": 1e3}\nabc',
        b'{"type": "x", "payload_length": 99999999999}\n',
        b'{"type": "x", "data_length": 2}\n[]',
        b'{"type": "' + b"x" * 40_000 + b'"}\n',
        b"[" * 30_000 + b"\n",
        b"x" * 100_000,
        b"\xff\xfe\n",
    ],
)
def test_what_is_no_event_is_refused(line):
    async def main():
        await read_event(bytes_of(line))

    with pytest.raises(UserError, match="event"):
        LOOP.run(main())


def test_an_event_that_is_cut_off_is_the_end():
    async def main(data):
        return await read_event(bytes_of(data))

    for data in (b"", b'{"type"', b'{"type": "x", "data_length": 9}\n{}', b'{"type": "x"}'):
        assert LOOP.run(main(data)) is None


HEADERS = st.dictionaries(
    st.sampled_from(["type", "data", "data_length", "payload_length", "x"]),
    st.none() | st.integers(-2, 300) | st.text(max_size=4) | st.dictionaries(st.text(), st.none()),
)


def check_any_bytes(data: bytes) -> None:
    async def main():
        reader = bytes_of(data)
        while True:
            event = await read_event(reader)
            if event is None:
                return
            assert isinstance(event.data, dict)

    try:
        LOOP.run(main())
    except UserError as error:
        assert "\n" not in str(error)


EVENTS = st.builds(lambda h, rest: json.dumps(h).encode() + b"\n" + rest, HEADERS, st.binary())


@given(st.binary() | EVENTS)
def test_any_bytes_are_events_or_refused(data):
    check_any_bytes(data)


def test_too_many_idle_and_slow_clients_are_refused(recognizer):
    service = make_service({"live": recognizer}, ServerLimits(connections=1, idle_s=0.3))

    async def main():
        async with wyoming_listener(service, "127.0.0.1", 0) as port:
            async with AsyncTcpClient("127.0.0.1", port, read_timeout=30) as first:
                await first.write_event(Ping().event())
                await first.read_event()
                async with AsyncTcpClient("127.0.0.1", port, read_timeout=30) as second:
                    refused = Error.from_event(await second.read_event())
                    assert refused.code == "server_busy" and "limit" in refused.text
                idle = Error.from_event(await first.read_event())
                assert "0.3 s" in idle.text
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b'{"type": "audio-chunk", "payload_length": 1000}\nabc')  # and stalls
            assert b"0.3 s" in await reader.read(1000)
            writer.close()
            await asyncio.wait_for(service.admission.drained(), 5)

    LOOP.run(main())
    service.engine.close()


def test_the_end_of_the_server_delivers_the_transcript(recognizer, utterance):
    samples, text = utterance
    service = make_service({"live": recognizer})

    async def main():
        async with client(service) as wyoming:
            await wyoming.write_event(Transcribe().event())
            for chunk in chunks(samples):
                await wyoming.write_event(chunk)
            await wyoming.write_event(Ping().event())
            events = [await wyoming.read_event()]
            while not Pong.is_type(events[-1].type):
                events.append(await wyoming.read_event())
            service.admission.draining.set()
            while (event := await wyoming.read_event()) is not None:
                events.append(event)
            return events

    assert text_of(LOOP.run(main())) == text
    service.engine.close()


# ---- discovery ----


def test_the_server_is_found_by_zeroconf():
    async def main():
        own = ["127.0.0.1"]
        async with announcement("kitchen", 10300, ["192.0.2.7"], own):
            browser = AsyncZeroconf(interfaces=own)
            info = AsyncServiceInfo(SERVICE, f"kitchen.{SERVICE}")
            found = await info.async_request(browser.zeroconf, 3000)
            await browser.async_close()
            return found, info.port, info.parsed_addresses(IPVersion.V4Only)

    assert LOOP.run(main()) == (True, 10300, ["192.0.2.7"])


def test_only_addresses_of_the_network_are_announced():
    with pytest.raises(UserError, match=r"127\.0\.0\.1.*0\.0\.0\.0"):
        reachable_addresses("127.0.0.1")
    assert reachable_addresses("192.0.2.7") == ["192.0.2.7"]
    with pytest.raises(UserError, match="give an address"):
        reachable_addresses("no such host.invalid")
    try:
        found = reachable_addresses("0.0.0.0")
    except UserError:  # a machine without a network
        return
    assert socket.inet_aton(found[0]) and found != ["0.0.0.0"]
