"""`asr serve`: models for browsers and for the clients of OpenAI's API, Vosk and Wyoming."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.console import messages, note
from asr.cli.options import AS_SAVED, Decoding
from asr.errors import UserError

if TYPE_CHECKING:
    from asr.server.app import Listener


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
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of HTTP.")] = 8000,
    cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate (PEM), for HTTPS.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key of the certificate.")
    ] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Accept requests with one of these tokens only."),
    ] = None,
    vosk_port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=0, max=65535, help="Answer Vosk's clients too; 2700."),
    ] = None,
    wyoming_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Answer Wyoming's, as Home Assistant; 10300."
        ),
    ] = None,
    announce: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Announce Wyoming on the network by zeroconf."),
    ] = None,
    corrections: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep what users of the page save as training data."),
    ] = None,
    max_upload_mb: Annotated[
        int, typer.Option(metavar="MB", min=1, help="Largest recording, in megabytes.")
    ] = 500,
    max_audio_s: Annotated[
        float, typer.Option(metavar="S", min=1, help="Longest recording, in seconds.")
    ] = 4 * 3600.0,
    max_requests: Annotated[
        int, typer.Option(metavar="N", min=1, help="Recordings under way at once.")
    ] = 64,
    max_connections: Annotated[
        int, typer.Option(metavar="N", min=1, help="Live connections at once.")
    ] = 100,
    idle_s: Annotated[
        float, typer.Option(metavar="S", min=1, help="Close a connection without data after this.")
    ] = 60.0,
    decoding: Decoding = AS_SAVED,
) -> None:
    """Serve models to browsers and to the clients of OpenAI's API, Vosk and Wyoming."""
    _require_extra()
    from asr.server.app import make_service
    from asr.server.auth import Tokens
    from asr.server.limits import ServerLimits
    from asr.server.running import Address, log_as_json
    from asr.server.running import serve as run

    if (cert is None) != (key is None):
        raise UserError("--cert and --key: give both, or none")
    limits = ServerLimits(
        upload_bytes=max_upload_mb << 20,
        audio_s=max_audio_s,
        requests=max_requests,
        connections=max_connections,
        idle_s=idle_s,
    )
    listeners = _listeners(host, vosk_port, wyoming_port, announce)
    accepted = Tokens() if tokens is None else Tokens.read(tokens)
    recognizers = {name: decoding.load(path) for name, path in _named(models).items()}
    log_as_json(logging.DEBUG if messages.verbose else logging.INFO)
    scheme = "http" if cert is None else "https"
    note(f"serving {', '.join(recognizers)} on {scheme}://{host}:{port}; Ctrl-C ends it")
    service = make_service(recognizers, limits, accepted)
    if corrections is not None:
        from asr.server.page.corrections import CorrectionFolder

        service.corrections = CorrectionFolder(corrections)
    run(service, Address(host, port, cert, key), listeners)


def _listeners(
    host: str, vosk_port: int | None, wyoming_port: int | None, announce: str | None
) -> list[Listener]:
    """The protocols that have a port of their own."""
    found: list[Listener] = []
    if vosk_port is not None:
        from asr.server.vosk.listener import vosk_listener

        found.append(partial(vosk_listener, host=host, port=vosk_port))
        note(f"Vosk's clients: ws://{host}:{vosk_port}")
    if announce is not None and wyoming_port is None:
        raise UserError("--announce: give --wyoming-port, too")
    if wyoming_port is not None:
        from asr.server.wyoming.announcement import reachable_addresses
        from asr.server.wyoming.listener import wyoming_listener

        name, addresses = announce or "", reachable_addresses(host) if announce else []
        found.append(
            partial(wyoming_listener, host=host, port=wyoming_port, name=name, addresses=addresses)
        )
        note(f"Wyoming's clients: tcp://{host}:{wyoming_port}")
    return found


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
