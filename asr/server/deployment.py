"""The same application on more than one machine: a deployment of Ray Serve with replicas.

Each replica is a process with all models and limits of its own. Ray's proxy sends a request to the
replica with the fewer of two. If a replica is lost, the requests under way in it fail with a status
of 500 or 503, which clients of OpenAI's API send again by themselves; the others go on, and Ray
starts a new replica.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.cluster.cluster import connected, require_ray
from asr.cluster.worker import Work
from asr.recognition.recognizer import load
from asr.server.app import application, make_service
from asr.server.auth import EVERYBODY, Tokens
from asr.server.limits import DEFAULTS, ServerLimits
from asr.server.logs import log_as_json
from asr.server.running import DRAIN_S, Address, check_address
from asr.server.service import Service

NAME = "asr"  # of the deployment


@dataclass(frozen=True)
class ReplicaSetup:
    """What each replica loads; the files must be readable under these paths on every machine."""

    models: Mapping[str, Work]
    limits: ServerLimits = DEFAULTS
    tokens: Tokens = EVERYBODY

    def service(self) -> Service:
        """Load the models. Raises `UserError` as `asr.load` does."""
        recognizers = {
            name: load(
                work.model,
                work.device,
                lm=work.lm,
                grammar=work.grammar,
                hotwords=work.hotwords,
                quantized=work.quantized,
                **work.decoder,
            )
            for name, work in self.models.items()
        }
        return make_service(recognizers, self.limits, self.tokens)


class Replica:
    """A process of the deployment."""

    def __init__(self, setup: ReplicaSetup, log_level: int):
        log_as_json(log_level)
        self._service = setup.service()

    def __serve_build_asgi_app__(self) -> Any:
        """The application; Ray Serve calls this once."""
        return application(self._service)

    def check_health(self) -> None:
        """Called by Ray Serve; an exception would replace the replica."""


def serve_on_ray(
    setup: ReplicaSetup,
    address: Address,
    replicas: int,
    cluster: str | None,
    messages: Path,
    log_level: int,
) -> None:
    """Serve with replicas until SIGTERM or Ctrl-C.

    cluster: the address of a Ray cluster, or None to start one here; messages: a file for Ray's own
    output. Raises `UserError` if Ray is not installed or there is no cluster at the address.
    """
    check_address(address)
    require_ray()
    with connected(cluster, messages):
        deploy(setup, address, replicas, log_level)
        ended = threading.Event()
        before = signal.signal(signal.SIGTERM, lambda *_: ended.set())
        try:
            ended.wait()
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGTERM, before)
            _serve().shutdown()


def deploy(setup: ReplicaSetup, address: Address, replicas: int, log_level: int) -> None:
    """Start the replicas on the cluster that this process is connected to; returns when all run."""
    serve = _serve()
    http: dict[str, Any] = {"host": address.host, "port": address.port, "location": "HeadOnly"}
    if address.certificate is not None:
        http |= {"ssl_certfile": str(address.certificate), "ssl_keyfile": str(address.key)}
    serve.start(http_options=http)
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name=NAME,
        num_replicas=replicas,
        max_ongoing_requests=setup.limits.requests + setup.limits.connections,
        graceful_shutdown_timeout_s=DRAIN_S,
        health_check_period_s=5,
        ray_actor_options={"num_cpus": 1},
    )
    serve.run(deployment.bind(setup, log_level), name=NAME, route_prefix="/")


def _serve() -> Any:
    from ray import serve

    return serve
