"""`asr serve`: models for browsers and for the clients of OpenAI's API, Vosk and Wyoming."""

from __future__ import annotations

import logging
import ssl
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.archive import Engine
from asr.cli.console import messages, note
from asr.cli.options import AS_SAVED, Decoding
from asr.errors import UserError

if TYPE_CHECKING:
    from asr.server.app import Listener
    from asr.server.auth import Tokens
    from asr.server.limits import ServerLimits
    from asr.server.running import Address


def _port(value: int | None) -> int | None:
    """A check in place of the range of typer, which the help would show beside each port."""
    if value is not None and not 0 <= value <= 65535:
        raise typer.BadParameter(f"{value} is not a port; give 0 to 65535, 0 for any that is free")
    return value


@dataclass(frozen=True)
class Ports:
    """The protocols that have a port of their own."""

    vosk_port: Annotated[
        int | None,
        typer.Option(metavar="PORT", callback=_port, help="Serve Vosk's clients too, on 2700."),
    ] = None
    wyoming_port: Annotated[
        int | None,
        typer.Option(metavar="PORT", callback=_port, help="Serve Home Assistant too, on 10300."),
    ] = None
    announce: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Let Home Assistant find the server (zeroconf)."),
    ] = None

    def listeners(self, host: str, tls: ssl.SSLContext | None) -> list[Listener]:
        """The listeners of these ports; raises `UserError` for options that do not fit together.

        tls: the certificate for Vosk's port; Wyoming has no encryption.
        """
        from asr.server.vosk.listener import vosk_listener
        from asr.server.wyoming.announcement import reachable_addresses
        from asr.server.wyoming.listener import wyoming_listener

        found: list[Listener] = []
        if self.vosk_port is not None:
            found.append(partial(vosk_listener, host=host, port=self.vosk_port, tls=tls))
        if self.announce is not None and self.wyoming_port is None:
            raise UserError("--announce: give --wyoming-port, too")
        if self.wyoming_port is not None:
            known = {"host": host, "port": self.wyoming_port}
            if self.announce is not None:
                known |= {"name": self.announce, "addresses": reachable_addresses(host)}
            found.append(partial(wyoming_listener, **known))
        return found


HTTP_ONLY = Ports()


@dataclass(frozen=True)
class ClusterOptions:
    """Whether the server runs in this process or on a Ray cluster."""

    engine: Annotated[
        Engine, typer.Option(help="Serve in this process, or in replicas on a Ray cluster.")
    ] = Engine.process
    replicas: Annotated[
        int, typer.Option(metavar="N", min=1, help="With --engine ray: processes that serve.")
    ] = 1
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="With --engine ray: use this cluster."),
    ] = None

    @property
    def is_ray(self) -> bool:
        return self.engine is Engine.ray

    def check(self, ports: Ports, corrections: Path | None) -> None:
        """Raise `UserError` for options that do not fit the engine."""
        if not self.is_ray and (self.replicas > 1 or self.address is not None):
            raise UserError("--replicas and --address: they need --engine ray; add it")
        if self.is_ray and (ports != HTTP_ONLY or corrections is not None):
            raise UserError(
                "--engine ray serves HTTP alone; leave out --vosk-port, --wyoming-port and "
                "--corrections"
            )


THIS_PROCESS = ClusterOptions()


@dataclass(frozen=True)
class TlsOptions:
    """What HTTPS needs."""

    cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate (PEM), for HTTPS.")
    ] = None
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key of the certificate.")
    ] = None

    def check(self) -> None:
        """Raise `UserError` if one of the two files is missing."""
        if (self.cert is None) != (self.key is None):
            raise UserError("--cert and --key: give both, or none")

    def context(self) -> ssl.SSLContext | None:
        """The certificate for other ports; raises `UserError` for files that are wrong."""
        if self.cert is None or self.key is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.cert, self.key)
        except OSError as error:  # ssl.SSLError is one
            reason = error.strerror or error
            raise UserError(f"{self.cert}, {self.key}: {reason}; give a PEM file of each") from None
        return context


NO_TLS = TlsOptions()


@dataclass(frozen=True)
class LimitOptions:
    """What one client, and all together, may ask of the server."""

    max_upload_mb: Annotated[
        int, typer.Option(metavar="MB", min=1, help="Largest recording, in megabytes.")
    ] = 500
    max_audio_s: Annotated[
        float, typer.Option(metavar="S", min=1, help="Longest recording, in seconds.")
    ] = 4 * 3600.0
    max_requests: Annotated[
        int, typer.Option(metavar="N", min=1, help="Recordings under way at once.")
    ] = 64
    max_connections: Annotated[
        int, typer.Option(metavar="N", min=1, help="Live connections at once.")
    ] = 100
    max_grammar_arcs: Annotated[
        int, typer.Option(metavar="N", min=1, help="Arcs to compile the grammar of a client.")
    ] = 300_000
    idle_s: Annotated[
        float, typer.Option(metavar="S", min=1, help="Close a connection without data after this.")
    ] = 60.0

    def limits(self) -> ServerLimits:
        from asr.server.limits import ServerLimits

        return ServerLimits(
            upload_bytes=self.max_upload_mb << 20,
            audio_s=self.max_audio_s,
            requests=self.max_requests,
            connections=self.max_connections,
            grammar_arcs=self.max_grammar_arcs,
            idle_s=self.idle_s,
        )


DEFAULT_LIMITS = LimitOptions()


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Model files, NAME.asr, or NAME=FILE; the first is the default.",
        ),
    ],
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", callback=_port, help="Port of HTTP.")] = 8000,
    tls: TlsOptions = NO_TLS,
    tokens: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Accept requests with one of these tokens only."),
    ] = None,
    ports: Ports = HTTP_ONLY,
    corrections: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep what users of the page correct."),
    ] = None,
    limit: LimitOptions = DEFAULT_LIMITS,
    cluster: ClusterOptions = THIS_PROCESS,
    decoding: Decoding = AS_SAVED,
) -> None:
    """Serve models to browsers and to the clients of OpenAI's API, Vosk and Wyoming."""
    _require_extra()
    from asr.recognition.classifier import Classifier
    from asr.recognition.model import classifies
    from asr.server.app import make_service
    from asr.server.auth import Tokens
    from asr.server.logs import log_as_json
    from asr.server.running import Address
    from asr.server.running import serve as run

    tls.check()
    files = _named(models)
    limits = limit.limits()
    cluster.check(ports, corrections)
    listeners = ports.listeners(host, tls.context())
    accepted = Tokens() if tokens is None else Tokens.read(tokens)
    address = Address(host, port, tls.cert, tls.key)
    level = logging.DEBUG if messages.verbose else logging.INFO
    if ports.wyoming_port is not None and (tls.cert is not None or tokens is not None):
        note("Wyoming has neither encryption nor tokens: its port is open to all who reach it")
    scheme = "http" if tls.cert is None else "https"
    note(f"serving {', '.join(files)} on {scheme}://{host}:{port}; Ctrl-C ends it")
    of_classes = {name: path for name, path in files.items() if classifies(path)}
    if cluster.is_ray:
        if of_classes:
            raise UserError(f"{next(iter(of_classes.values()))}: --engine ray has no /detect")
        return _serve_on_ray(files, decoding, limits, accepted, address, cluster, level)
    classifiers = {n: Classifier.load(path, decoding.device) for n, path in of_classes.items()}
    recognizers = {n: decoding.load(path) for n, path in files.items() if n not in classifiers}
    if not recognizers and (decoding.given or listeners or corrections is not None):
        raise UserError(
            "options of decoding, --vosk-port, --wyoming-port and --corrections need a model that "
            "transcribes"
        )
    log_as_json(level)
    service = make_service(recognizers, limits, accepted, classifiers)
    if corrections is not None:
        from asr.server.page.corrections import CorrectionFolder

        service.corrections = CorrectionFolder(corrections)
    run(service, address, listeners)


def _serve_on_ray(
    files: dict[str, Path],
    decoding: Decoding,
    limits: ServerLimits,
    tokens: Tokens,
    address: Address,
    cluster: ClusterOptions,
    level: int,
) -> None:
    from asr.cluster.cluster import require_ray
    from asr.cluster.worker import Work

    require_ray()
    from asr.server.deployment import ReplicaSetup, serve_on_ray

    d = decoding
    models = {
        name: Work(
            _there(path),
            d.device,
            d.lm and _there(d.lm),
            d.hotwords,
            d.settings,
            quantized=d.int8,
            grammar=d.grammar and _there(d.grammar),
        )
        for name, path in files.items()
    }
    with tempfile.TemporaryDirectory(prefix="asr-ray-") as folder:
        setup = ReplicaSetup(models, limits, tokens)
        log = Path(folder) / "ray.log"
        serve_on_ray(setup, address, cluster.replicas, cluster.address, log, level)


def _there(path: Path) -> Path:
    """The path as replicas need it, whose working folder is another one."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; replicas need it under the same path")
    return path.resolve()


def _require_extra() -> None:
    try:
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
        import wyoming  # noqa: F401
        import zeroconf  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the server needs more packages ({error}): pip install 'asr[serve]'"
        ) from None


def _named(models: list[str]) -> dict[str, Path]:
    """{name: model file}; the name is that of the file, without its suffix, unless it is given."""
    found: dict[str, Path] = {}
    for given in models:
        name, separator, path = given.rpartition("=")
        file = Path(path)
        name = name if separator else file.stem
        if not name or name in found:
            raise UserError(f"{given}: the name {name!r} is taken; give another as NAME={path}")
        found[name] = file
    return found
