"""The connection to a Ray cluster, with Ray's own output redirected to a file."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from asr.errors import Failed, UserError

CONNECT_TIMEOUT_S = 10.0


def require_ray() -> None:
    """Raise `UserError` when Ray Data is not installed."""
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise UserError(f"Ray is not installed ({error}): pip install 'asr[ray]'") from None


@contextmanager
def connected(address: str | None, messages: Path) -> Iterator[None]:
    """Connect to a cluster, or start a local one that is stopped at the end of the block.

    messages: a file for Ray's own output. Raises `UserError` when there is no cluster at the
    address, and `Failed` when a local one cannot be started.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    if address and address != "auto":
        _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics are sent
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # on the driver's stderr
    options = {} if address else {"include_dashboard": False}
    with (
        messages.open("a", encoding="utf-8") as file,
        redirect_stdout(_FilteredOutput(file, sys.stdout)),
    ):
        try:
            with _stderr_to(file):
                ray.init(
                    address or "local", log_to_driver=False, logging_level=logging.ERROR, **options
                )
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            reason = " ".join(str(error).split())
            if address is None:
                raise Failed(f"Ray could not be started here: {reason}") from None
            raise UserError(
                f"address {address}: refuses the connection: {reason}; if the cluster uses a "
                "token, set it here too, with RAY_AUTH_MODE=token"
            ) from None
        try:
            yield
        finally:
            with redirect_stdout(file):  # Ray now prints the repeated messages that it withheld
                ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise `UserError` when the address refuses connections; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UserError(
            f"address {address}: must be HOST:PORT or auto; with auto, this machine must belong to "
            "the cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"address {address}: no Ray cluster answers: {error}") from None


class _FilteredOutput:
    """Standard output, except that the output of Ray's own threads goes to a file."""

    def __init__(self, file: TextIO, out: TextIO):
        self.file, self.out = file, out

    def write(self, text: str) -> int:
        from_ray = threading.current_thread().name.startswith("ray_")
        return (self.file if from_ray else self.out).write(text)

    def flush(self) -> None:
        self.file.flush()
        self.out.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.out, name)


@contextmanager
def _stderr_to(file: TextIO) -> Iterator[None]:
    """Redirect file descriptor 2, to which Ray's native code writes while it starts."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
