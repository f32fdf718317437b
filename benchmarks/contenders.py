"""The ways of carrying packets that are compared, each between two hosts of its own.

All overlays have the same MTU. Every pair of hosts is joined by a cable or a WAN of its own, and
stands idle while another is measured, so that measurements can take turns within seconds.
"""

from __future__ import annotations

import itertools
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from simulations.lab.host import Host
from simulations.lab.mesh import admit, found, wait_connected
from simulations.lab.namespaces import Lab, Namespace, join, run
from simulations.lab.ping import Pinger
from simulations.lab.waiting import LabError, wait_until
from simulations.lab.wan import ADDRESSES, Wan

MTU = 1420
PORT = 5000
IPERF_PORT = 5201
UNDERLAY = ("10.9.0.1", "10.9.0.2")
OVERLAY = ("10.10.0.1", "10.10.0.2")
PACKAGES = {
    "iperf3": "iperf3",
    "ping": "iputils-ping",
    "gcc": "gcc",
    "wg": "wireguard-tools",
    "wireguard-go": "wireguard-go",
    "ethtool": "ethtool",
    "serf": "serf",
    "nft": "nftables",
    "setpriv": "util-linux",
}

_devices = itertools.count()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two hosts that reach each other at ``ends`` without any overlay."""

    label: str
    hosts: tuple[Namespace, Namespace]
    ends: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Contender:
    """Two hosts; measurements run from ``left`` to ``address``, which ``right`` holds.

    ``forwarders`` are the ids of the processes that carry the packets, of the left and of the right
    host: none where the kernel does it. ``daemons`` are AegisRay's.
    """

    name: str
    left: Namespace
    right: Namespace
    address: str
    forwarders: tuple[int, ...] = ()
    daemons: tuple[Host, ...] = ()


def need(*tools: str) -> None:
    """Raise LabError if a program is not installed, with the package that has it."""
    for tool in tools:
        if shutil.which(tool) is None:
            package = PACKAGES.get(tool)
            remedy = f"is not installed: apt-get install {package}" if package else "is not there"
            raise LabError(f"{tool} {remedy}")


def cable(lab: Lab, label: str) -> Pair:
    """Two hosts with nothing but a cable between them."""
    left, right = (lab.namespace(f"{label}-{side}") for side in "ab")
    join(left, "eth0", right, "eth0")
    for namespace, address in zip((left, right), UNDERLAY, strict=True):
        namespace.ip("address", "add", f"{address}/24", "dev", "eth0")
    return Pair(label, (left, right), UNDERLAY)


def across(wan: Wan, label: str) -> Pair:
    """The two hosts of a WAN."""
    left, right = wan.hosts
    return Pair(label, (left, right), ADDRESSES)


def bare(lab: Lab, pair: Pair) -> Contender:
    """The line itself, with no overlay."""
    return Contender("bare", *pair.hosts, pair.ends[1])


def null(lab: Lab, pair: Pair) -> Contender:
    """The C forwarder without encryption: the limit of TUN and UDP here."""
    need("gcc")
    source, binary = Path(__file__).parent / "peers" / "nullfwd.c", lab.directory / "nullfwd"
    run(["gcc", "-O2", "-Wall", "-Wextra", "-o", str(binary), str(source)])
    forwarders = []
    for index, namespace in enumerate(pair.hosts):
        ends = [pair.ends[index], pair.ends[1 - index], str(PORT)]
        command = namespace.command([str(binary), "tun0", *ends])
        forwarders.append(lab.popen(command).pid)
        _overlay(namespace, "tun0", OVERLAY[index])
    return Contender("null", *pair.hosts, OVERLAY[1], tuple(forwarders))


def wireguard_go(lab: Lab, pair: Pair, binary: str = "wireguard-go") -> Contender:
    """wireguard-go, whose sockets under /run/wireguard bear names unique to this run."""
    need("wg", binary)
    name = binary if binary == "wireguard-go" else f"wireguard-go ({binary})"
    devices = [f"wg{next(_devices)}x{lab.tag.split('-')[1]}" for _ in pair.hosts]
    keys = [run(["wg", "genkey"]).strip() for _ in devices]
    public = [run(["wg", "pubkey"], text=key).strip() for key in keys]
    forwarders = []
    for index, (namespace, device) in enumerate(zip(pair.hosts, devices, strict=True)):
        command = namespace.command([binary, "--foreground", device])
        forwarders.append(lab.popen(command).pid)
        lab.on_close(partial(Path(f"/run/wireguard/{device}.sock").unlink, missing_ok=True))
        secret = lab.directory / f"{device}.key"
        secret.touch(mode=0o600)
        secret.write_text(keys[index])
        _overlay(namespace, device, OVERLAY[index])
        peer = ["peer", public[1 - index], "allowed-ips", f"{OVERLAY[1 - index]}/32"]
        peer += ["endpoint", f"{pair.ends[1 - index]}:{PORT}"]
        own = ["listen-port", str(PORT), "private-key", str(secret)]
        namespace.run("wg", "set", device, *own, *peer)
    return Contender(name, *pair.hosts, OVERLAY[1], tuple(forwarders))


def aegisray(lab: Lab, pair: Pair) -> Contender:
    """Two ``meshd``."""
    hosts = tuple(Host(lab, namespace, {"tun.mtu": MTU}) for namespace in pair.hosts)
    found(hosts[0])
    admit(hosts[0], hosts[1:])
    address, _ = wait_connected(hosts)[hosts[1].name]
    forwarders = tuple(host.daemon.pid for host in hosts if host.daemon)
    return Contender("aegisray", *pair.hosts, address, forwarders, hosts)


CONTENDERS: dict[str, Callable[[Lab, Pair], Contender]] = {
    "bare": bare,
    "null": null,
    "wireguard-go": wireguard_go,
    "aegisray": aegisray,
}


def make(lab: Lab, name: str, pair: Pair) -> Contender:
    """Build one, wait until it carries pings, and start its iperf3 servers."""
    contender = CONTENDERS[name](lab, pair)
    with Pinger(contender.left) as pinger:
        wait_until(lambda: pinger.ping(contender.address), f"{name} to carry pings", 10.0)
    serve(lab, contender, IPERF_PORT)
    return contender


def serve(lab: Lab, contender: Contender, port: int) -> None:
    """Start an iperf3 server at the right host and wait for it."""
    lab.popen(contender.right.command(["iperf3", "--server", "--port", str(port)]))
    wait_until(lambda: _listens(contender, port), f"iperf3 on {contender.name}", 10.0)


def _overlay(namespace: Namespace, device: str, address: str) -> None:
    """Wait for a TUN device that another process makes, and set it up."""

    def exists() -> bool:
        return f"{device}:" in namespace.ip("-o", "link")

    wait_until(exists, f"{device} to appear", 10.0)
    namespace.ip("address", "add", f"{address}/24", "dev", device)
    namespace.ip("link", "set", device, "mtu", str(MTU), "up")


def _listens(contender: Contender, port: int) -> bool:
    with contender.left.entered():
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with probe:
        probe.settimeout(1.0)
        return probe.connect_ex((contender.address, port)) == 0
