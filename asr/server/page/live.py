"""The WebSocket of the page: audio comes in while somebody speaks, captions go out.

The client sends `{"type": "start", "model", "rate_hz", "keywords", "grammar", "token"}`, of which
all but the rate may be left out, then binary messages of 16-bit little-endian mono samples, then
`{"type": "end"}`. The server answers `ready`, then `partial` when the text changes, `utterance` at
each end point, and `done` after the last one; or `error` with a message, and closes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from starlette.websockets import WebSocket

from asr.audio.source import checked_rate
from asr.errors import UserError
from asr.recognition.stream import Partial
from asr.server.connection import ConnectionRecord, ShuttingDown, deliver, next_message
from asr.server.engine import DecodingOptions
from asr.server.grammars import templates_of
from asr.server.service import Service
from asr.server.websocket import endpoint, frame_of, hear, start_of

MAX_PHRASES = 500


@dataclass(frozen=True)
class LiveRequest:
    """The first message of a connection."""

    rate_hz: int
    model: str = ""
    keywords: tuple[str, ...] = ()
    grammar: tuple[str, ...] = ()  # templates of the only sentences that may be said
    token: str | None = None

    @classmethod
    def parse(cls, frame: str | bytes) -> LiveRequest:
        """Raises `UserError` for a message that does not start a connection."""
        fields = start_of(frame)
        model, token = fields.get("model") or "", fields.get("token")
        keywords, grammar = fields.get("keywords") or [], fields.get("grammar") or ""
        texts = isinstance(model, str) and isinstance(grammar, str)
        if not texts or not isinstance(token, str | None):
            raise UserError("start: model, grammar and token are texts")
        if not isinstance(keywords, list) or not all(isinstance(one, str) for one in keywords):
            raise UserError("start: keywords is not a list of phrases")
        if len(keywords) > MAX_PHRASES:
            raise UserError(f"start: {len(keywords)} keywords; at most {MAX_PHRASES} are accepted")
        rate_hz = checked_rate(fields.get("rate_hz"), "start")
        templates = templates_of(grammar, "grammar")
        return cls(rate_hz, model, tuple(dict.fromkeys(keywords)), templates, token)


def live_endpoint(service: Service) -> Callable[[WebSocket], Awaitable[None]]:
    """The endpoint of `/live`."""
    return endpoint(service, "live", _converse)


async def _converse(websocket: WebSocket, service: Service, record: ConnectionRecord) -> None:
    admission = service.admission
    asked = LiveRequest.parse(await next_message(frame_of(websocket), admission))
    if not service.tokens.accept(asked.token):
        raise UserError("start: a valid token is missing")
    stream = await service.engine.open_stream(
        asked.model, asked.rate_hz, DecodingOptions(asked.keywords, grammar=asked.grammar)
    )
    ready = {"type": "ready", "streaming": not stream.at_pauses}
    await deliver(websocket.send_json(ready), admission)
    captions = _Captions(websocket, service)

    async def feed(samples: np.ndarray) -> None:
        await captions.show(await stream.feed(samples))

    try:
        await hear(websocket, service, record, asked.rate_hz, feed)
    except ShuttingDown:
        await captions.show(await stream.finish())
        await captions.send({"type": "done"})
        raise
    await captions.show(await stream.finish())
    await captions.send({"type": "done"})


class _Captions:
    """Sends what a client shows, and the text under way only when it changes."""

    def __init__(self, websocket: WebSocket, service: Service):
        self._websocket, self._admission = websocket, service.admission
        self._shown = ("", "")

    async def show(self, partial: Partial) -> None:
        for utterance in partial.finished:
            words = [asdict(word) for word in utterance.words]
            times = {"start_s": utterance.start_s, "end_s": utterance.end_s}
            message = {"type": "utterance", "text": utterance.text, "words": words} | times
            if utterance.command is not None and (utterance.words or utterance.refused):
                message["command"] = asdict(utterance.command)
            await self.send(message)
        text = (partial.stable, partial.unstable)
        if text != self._shown:
            self._shown = text
            await self.send({"type": "partial", "stable": text[0], "unstable": text[1]})

    async def send(self, message: dict[str, Any]) -> None:
        await deliver(self._websocket.send_json(message), self._admission)
