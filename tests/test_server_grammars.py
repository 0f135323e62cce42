"""Grammars that clients send: a limit on their size, and nobody else waits for them."""

import asyncio
import json
import os
import signal

import httpx
import pytest
from serving import LOOP, served
from test_stream import RATE_HZ, said
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_now

from asr.errors import Failed, UserError
from asr.lm.network import GrammarTooLarge
from asr.server.app import make_service
from asr.server.compiler import GrammarCompiler
from asr.server.engine import DecodingOptions
from asr.server.grammars import templates_for
from asr.server.limits import ServerLimits
from asr.server.vosk.listener import vosk_listener

# The model of these tests can write a to f.
SMALL = ("(bad|fed) face", "cab [ab]")
LARGE = ("fade" + "[ a|b|c|d|e|f]" * 200,)


def test_the_limit_is_that_of_the_server(recognizer):
    """A grammar is refused by a server whose limit is below what it needs."""
    needed = compiled(recognizer, 10**6)._network.budget.spent
    assert compiled(recognizer, needed).sentence_count == 4
    with pytest.raises(GrammarTooLarge, match=f"grammar: .*more than {needed - 1} arcs"):
        compiled(recognizer, needed - 1)


def compiled(recognizer, most_arcs):
    compiler = GrammarCompiler(most_arcs)
    try:
        return compiler.compile(SMALL, recognizer.tokenizer, recognizer.config.text)
    finally:
        compiler.close()


@pytest.fixture(scope="module")
def server(recognizer, tmp_path_factory):
    with served({"live": recognizer}, tmp_path_factory.mktemp("spool")) as server:
        yield server


def test_over_http_it_is_a_400(server):
    answer = httpx.post(
        f"{server.url}/v1/audio/transcriptions",
        files={"file": b"RIFF"},
        data={"grammar": "\n".join(LARGE)},
        timeout=60,
    )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "grammar" and "\n" not in error["message"]
    assert error["message"].startswith("grammar: it needs more than 300000 arcs")


def test_captions_end_with_an_error(server):
    with connect_now(server.url.replace("http", "ws") + "/live") as websocket:
        start = {"type": "start", "rate_hz": RATE_HZ, "grammar": "\n".join(LARGE)}
        websocket.send(json.dumps(start))
        answer = json.loads(websocket.recv())
    assert answer["type"] == "error" and "more than 300000 arcs" in answer["message"]


def test_vosk_closes_with_the_reason(service):
    async def main(phrases):
        async with vosk_listener(service, "127.0.0.1", 0) as port:
            async with connect(f"ws://127.0.0.1:{port}") as websocket:
                await websocket.send(json.dumps({"config": {"phrase_list": phrases}}))
                await websocket.send(bytes(1600))
                with pytest.raises(ConnectionClosed) as closed:
                    await websocket.recv()
                return closed.value.rcvd.reason

    letters = "abcdef"
    many = [f"{a}{b}{c}" for a in letters for b in letters for c in letters]
    assert "characters; at most 100000" in LOOP.run(main(["a" * 100_001]))
    assert len(templates_for(many)) == 1
    service.engine._compiler._most_arcs, most = 1000, service.engine._compiler._most_arcs
    try:
        assert "more than 1000 arcs" in LOOP.run(main(many))
    finally:
        service.engine._compiler._most_arcs = most


def test_others_do_not_wait_for_a_grammar(service):
    """A live connection, hotwords and the event loop go on while a grammar is compiled."""
    engine = service.engine

    async def main():
        await engine.recognizer("live", DecodingOptions(grammar=SMALL))
        stream = await engine.open_stream("live", RATE_HZ)
        compiling = asyncio.ensure_future(engine.recognizer("live", DecodingOptions(grammar=LARGE)))
        await asyncio.sleep(0.01)
        await stream.feed(said(0.1, 1))
        await engine.recognizer("live", DecodingOptions(("fade",)))
        waited = not compiling.done()
        with pytest.raises(UserError, match="arcs"):
            await compiling
        await stream.finish()
        return waited

    assert LOOP.run(main())


def test_a_client_that_leaves_does_not_take_the_grammar_from_others(service):
    options = DecodingOptions(grammar=("fade [face]",))

    async def main():
        first, second = (
            asyncio.ensure_future(service.engine.recognizer("live", options)) for _ in range(2)
        )
        await asyncio.sleep(0)
        first.cancel()
        return await second, await service.engine.recognizer("live", options)

    one, other = LOOP.run(main())
    assert one is other and one.grammar.accepts("fade face")


def test_a_process_that_is_lost_is_started_again(recognizer):
    service = make_service({"live": recognizer}, ServerLimits())
    engine = service.engine

    async def main():
        await engine.recognizer("live", DecodingOptions(grammar=SMALL))
        os.kill(engine._compiler._process.pid, signal.SIGKILL)
        with pytest.raises(Failed, match="send the grammar again"):
            await engine.recognizer("live", DecodingOptions(grammar=("fade",)))
        return await engine.recognizer("live", DecodingOptions(grammar=("fade",)))

    assert LOOP.run(main()).grammar.accepts("fade")
    process = engine._compiler._process
    engine.close()
    assert not process.is_alive()
