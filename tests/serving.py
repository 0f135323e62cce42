"""A server of the tests, in a thread of this process or in an event loop of the tests."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from test_stream import save_streaming_model

from asr.recognition.classifier import Classifier
from asr.recognition.recognizer import Recognizer, load
from asr.server.app import Listener, make_service
from asr.server.auth import EVERYBODY, Tokens
from asr.server.limits import DEFAULTS, ServerLimits
from asr.server.running import Address, DrainingServer, server_of
from asr.server.service import Service

LOOP = asyncio.Runner()  # one event loop for all tests of sockets, as the server has


def pcm(samples: np.ndarray) -> bytes:
    """Floats -> 16-bit samples."""
    return (samples.clip(-1, 1) * 32767).astype("<i2").tobytes()


def streaming_recognizer(tmp_path_factory) -> Recognizer:
    path = tmp_path_factory.mktemp("streaming") / "model.asr"
    save_streaming_model(path)
    return load(path, "cpu")


@contextmanager
def service_of(recognizer: Recognizer, model_file) -> Iterator[Service]:
    """A streaming and a bidirectional model, without a port."""
    service = make_service({"live": recognizer, "whole": load(model_file, "cpu")})
    yield service
    service.engine.close()


@dataclass
class Served:
    service: Service
    server: DrainingServer
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def served(
    recognizers: Mapping[str, Recognizer],
    spool,
    limits: ServerLimits = DEFAULTS,
    tokens: Tokens = EVERYBODY,
    listeners: Sequence[Listener] = (),
    classifiers: Mapping[str, Classifier] | None = None,
) -> Iterator[Served]:
    """A server of these models; spool: a folder, which is empty again at the end."""
    service = make_service(recognizers, limits, tokens, classifiers)
    service.spool = spool
    server = server_of(service, Address(port=0), listeners)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        for _ in range(600):
            if server.started or not thread.is_alive():
                break
            time.sleep(0.05)
        assert server.started
        yield Served(service, server, server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        service.engine.close()
    assert not thread.is_alive()
    assert not list(spool.iterdir())
    counts = service.admission
    assert (counts.requests, counts.connections, counts.bytes_in_flight) == (0, 0, 0)
