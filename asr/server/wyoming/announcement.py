"""Announcing the server on the local network by zeroconf, so that Home Assistant offers it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from zeroconf import InterfaceChoice, NonUniqueNameException
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from asr.errors import UserError

SERVICE = "_wyoming._tcp.local."
MULTICAST = "224.0.0.251"  # of mDNS; no packet is sent to find the address of the interface


def reachable_addresses(host: str) -> list[str]:
    """The addresses under which other machines reach a server that is bound to `host`.

    Raises `UserError` if there are none.
    """
    try:
        found = sorted({str(one[4][0]) for one in socket.getaddrinfo(host, None)})
    except OSError as error:
        raise UserError(f"host {host!r}: {error.strerror}; give an address") from None
    addresses = [ipaddress.ip_address(one.partition("%")[0]) for one in found]
    if any(one.is_unspecified for one in addresses):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((MULTICAST, 1))
                addresses = [ipaddress.ip_address(probe.getsockname()[0])]
            except OSError:
                addresses = []
    reachable = [str(one) for one in addresses if not one.is_loopback]
    if not reachable:
        raise UserError(
            f"host {host!r}: other machines cannot reach it, so it cannot be announced; "
            "bind the server to 0.0.0.0 or to an address of the network"
        )
    return reachable


@asynccontextmanager
async def announcement(
    name: str,
    port: int,
    addresses: Sequence[str],
    interfaces: Sequence[str] | InterfaceChoice = InterfaceChoice.All,
) -> AsyncIterator[None]:
    """Announce a Wyoming server until the block is left.

    name: what users see; addresses: of the server; interfaces: addresses of the interfaces to
    announce it on. Raises `UserError` if another server of this name is there.
    """
    info = AsyncServiceInfo(
        SERVICE,
        f"{name}.{SERVICE}",
        port=port,
        parsed_addresses=list(addresses),
    )
    zeroconf = AsyncZeroconf(interfaces=interfaces)
    try:
        try:
            await zeroconf.async_register_service(info)
        except NonUniqueNameException:
            raise UserError(
                f"{name!r}: another server has announced this name; choose another"
            ) from None
        yield
        await zeroconf.async_unregister_service(info)
    finally:
        await zeroconf.async_close()
