"""The TUN interface's addresses, size and routes, set through rtnetlink (`rtnetlink(7)`).

pyroute2 is imported only when one of these functions runs: it costs 14 MB and a tenth of a second.
Everything set here disappears with the interface.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING, Any

from meshd.node.errors import HostError

if TYPE_CHECKING:
    from pyroute2 import AsyncIPRoute  # type: ignore[import-untyped]

GSO_MAX_SIZE = 63_000
"""Bytes: a super-packet of this size, sealed and cut, still leaves in one UDP send (65,507)."""
QUEUE_LENGTH = 500
"""Packets that wait in the interface before the kernel drops (the kernel's own default)."""
ROUTE_METRIC = 5_000
"""Higher than what the host's own network managers use, so a mesh route never displaces theirs."""
ROUTE_PROTOCOL = 169
"""Marks our routes in `ip route show proto 169` (a number that rt_protos leaves free)."""

_ADDR_GEN_MODE_NONE = 1  # linux/if_link.h: no IPv6 link-local address by itself
_IFF_UP = 1


async def configure_tun(
    name: str,
    addresses: Sequence[str],
    mtu: int,
    *,
    gso_max_size: int = GSO_MAX_SIZE,
    queue_length: int = QUEUE_LENGTH,
) -> list[str]:
    """Give the interface `name` its `addresses` ("100.64.0.7/16"), sizes (bytes, packets), and up.

    What is set already is left alone, so a prepared interface needs no NET_ADMIN. Returns a plain
    sentence for each thing that this host cannot have, for `status`. Raises HostError.
    """
    from pyroute2 import AsyncIPRoute
    from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

    wanted = [ip_interface(text) for text in addresses]
    async with AsyncIPRoute() as ip:
        link = await _link(ip, name)
        index: int = link["index"]
        missing: list[str] = []
        try:
            if link.get("mtu") != mtu:
                await ip.link("set", index=index, mtu=mtu)
            missing += await _tune(ip, link, gso_max_size, queue_length)
            missing += await _add_addresses(ip, index, wanted)
            if not link["flags"] & _IFF_UP:
                await ip.link("set", index=index, state="up")
        except NetlinkError as error:
            raise _error(name, wanted, mtu, error.code) from error
        return missing


async def restore_addresses(name: str, addresses: Sequence[str]) -> bool:
    """Give the interface `name` those of its `addresses` back that it has lost, if it is up.

    An interface that somebody has set down loses its IPv6 addresses and all its routes, and gets
    none of them back by itself. Returns whether it is up. Raises HostError.
    """
    from pyroute2 import AsyncIPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    wanted = [ip_interface(text) for text in addresses]
    async with AsyncIPRoute() as ip:
        link = await _link(ip, name)
        if not link["flags"] & _IFF_UP:
            return False
        try:
            await _add_addresses(ip, link["index"], wanted)
        except NetlinkError as error:
            raise _error(name, wanted, None, error.code) from error
        return True


async def replace_addresses(name: str, addresses: Sequence[str]) -> list[str]:
    """Give the interface `name` these `addresses`, and take away all others.

    Others go first: of two addresses in one prefix the kernel takes the later one with the earlier.
    Link-local addresses stay. Returns what this host cannot have, a sentence each. Raises
    HostError.
    """
    from pyroute2 import AsyncIPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    wanted = [ip_interface(text) for text in addresses]
    async with AsyncIPRoute() as ip:
        index: int = (await _link(ip, name))["index"]
        try:
            kept = {(str(interface.ip), interface.network.prefixlen) for interface in wanted}
            for address, length in await _addresses(ip, index):
                if (address, length) not in kept and not ip_address(address).is_link_local:
                    await ip.addr("del", index=index, address=address, prefixlen=length)
            return await _add_addresses(ip, index, wanted)
        except NetlinkError as error:
            raise _error(name, wanted, None, error.code) from error


async def add_routes(name: str, prefixes: Iterable[str]) -> list[str]:
    """Send `prefixes` ("10.0.0.0/8") into the interface `name`; those there already stay.

    The host's own routes are never replaced: for an equal prefix, its own one wins. Returns a plain
    sentence for each prefix that the kernel refused. Raises HostError if the interface is gone.
    """
    return await _change_routes("add", name, prefixes, (errno.EEXIST,))


async def remove_routes(name: str, prefixes: Iterable[str]) -> list[str]:
    """Undo `add_routes`; prefixes without such a route are no error."""
    return await _change_routes("del", name, prefixes, (errno.ESRCH, errno.ENODEV))


async def _change_routes(
    command: str, name: str, prefixes: Iterable[str], fine: tuple[int, ...]
) -> list[str]:
    from pyroute2 import AsyncIPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    refused: list[str] = []
    async with AsyncIPRoute() as ip:
        index: int = (await _link(ip, name))["index"]
        for prefix in prefixes:
            network = ip_network(prefix)
            try:
                await ip.route(
                    command,
                    dst=str(network),
                    family=socket.AF_INET if network.version == 4 else socket.AF_INET6,
                    oif=index,
                    priority=ROUTE_METRIC,
                    proto=ROUTE_PROTOCOL,
                )
            except NetlinkError as error:
                if error.code not in fine:
                    refused.append(f"the route {network} was refused: {os.strerror(error.code)}")
    return refused


async def _link(ip: AsyncIPRoute, name: str) -> Any:
    """The interface's RTM_NEWLINK message. Raises HostError if there is none."""
    indices = await ip.link_lookup(ifname=name)
    if not indices:
        raise HostError(f"there is no interface {name}: something removed it; start meshd again")
    return (await ip.link("get", index=indices[0]))[0]


async def _tune(ip: AsyncIPRoute, link: Any, gso_max_size: int, queue_length: int) -> list[str]:
    """What helps but is not needed: quiet IPv6, queue length, size of super-packets."""
    from pyroute2.netlink.exceptions import NetlinkError

    index: int = link["index"]
    quiet = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_MODE_NONE)]}
    settings: list[tuple[dict[str, Any], str]] = [
        ({"IFLA_AF_SPEC": {"attrs": [("AF_INET6", quiet)]}}, ""),
        ({"txqlen": queue_length}, f"the interface's queue is not {queue_length} packets long"),
        (
            {"gso_max_size": gso_max_size},
            f"the interface's packets cannot be held to {gso_max_size} bytes, so the largest ones"
            " leave in two sends",
        ),
        ({"gro_max_size": gso_max_size}, ""),
    ]
    missing: list[str] = []
    for setting, sentence in settings:
        if any(link.get(key) == value for key, value in setting.items()):
            continue
        try:
            await ip.link("set", index=index, **setting)
        except NetlinkError as error:
            if sentence:
                missing.append(f"{sentence}: {os.strerror(error.code)}")
    return missing


async def _add_addresses(
    ip: AsyncIPRoute, index: int, wanted: Sequence[IPv4Interface | IPv6Interface]
) -> list[str]:
    from pyroute2.netlink.exceptions import NetlinkError

    present = await _addresses(ip, index)
    missing: list[str] = []
    for interface in wanted:
        address, length = str(interface.ip), interface.network.prefixlen
        if (address, length) in present:
            continue
        try:
            await ip.addr("add", index=index, address=address, prefixlen=length)
        except NetlinkError as error:
            if interface.version == 4 or error.code not in (errno.EACCES, errno.EOPNOTSUPP):
                raise
            missing.append(
                f"IPv6 is switched off on this host, so {address} cannot be used: see"
                " `sysctl net.ipv6.conf.all.disable_ipv6`"
            )
    return missing


async def _addresses(ip: AsyncIPRoute, index: int) -> list[tuple[str, int]]:
    """What the interface has: address and prefix length."""
    return [
        (message.get("local") or message.get("address"), message["prefixlen"])
        async for message in await ip.get_addr(index=index)
    ]


def _error(
    name: str, wanted: Sequence[IPv4Interface | IPv6Interface], mtu: int | None, code: int
) -> HostError:
    if code in (errno.EPERM, errno.EACCES):
        commands = [f"ip address add {interface} dev {name}" for interface in wanted]
        commands += [f"ip link set {name} mtu {mtu} up"] if mtu is not None else []
        return HostError(
            f"the interface {name} may not be configured without the capability NET_ADMIN: run"
            f" meshd as root or from its systemd unit, or prepare it: `{'; '.join(commands)}`"
        )
    return HostError(f"the interface {name} cannot be configured: {os.strerror(code)}")
