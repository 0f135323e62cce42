"""`asr serve`: models for the clients of OpenAI's API."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.console import messages, note
from asr.cli.options import AS_SAVED, Decoding
from asr.errors import UserError


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
    """Serve models over HTTP to the clients of OpenAI's API."""
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
    accepted = Tokens() if tokens is None else Tokens.read(tokens)
    recognizers = {name: decoding.load(path) for name, path in _named(models).items()}
    log_as_json(logging.DEBUG if messages.verbose else logging.INFO)
    scheme = "http" if cert is None else "https"
    note(f"serving {', '.join(recognizers)} on {scheme}://{host}:{port}; Ctrl-C ends it")
    run(make_service(recognizers, limits, accepted), Address(host, port, cert, key))


def _require_extra() -> None:
    try:
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
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
