"""A server of the tests: in a thread of this process, on a real port."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from asr.recognition.recognizer import Recognizer
from asr.server.app import Listener, make_service
from asr.server.auth import EVERYBODY, Tokens
from asr.server.limits import DEFAULTS, ServerLimits
from asr.server.running import Address, DrainingServer, server_of
from asr.server.service import Service


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
) -> Iterator[Served]:
    """A server of these models; spool: a folder, which is empty again at the end."""
    service = make_service(recognizers, limits, tokens)
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
