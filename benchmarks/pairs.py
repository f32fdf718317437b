"""Two hosts joined by a cable or a WAN, which everything that is compared is built between."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simulations.lab.host import Host
from simulations.lab.namespaces import Lab, Namespace, join, run
from simulations.lab.waiting import LabError, wait_until
from simulations.lab.wan import Wan

SOURCES = Path(__file__).parent / "peers"
MTU = 1420
"""Of all overlays."""
PORT = 5000
UNDERLAY = ("10.9.0.1", "10.9.0.2")
OVERLAY = ("10.10.0.1", "10.10.0.2")
PACKAGES = {
    "iperf3": "iperf3",
    "ping": "iputils-ping",
    "gcc": "gcc",
    "wg": "wireguard-tools",
    "wireguard-go": "wireguard-go",
    "nebula": "nebula",
    "nebula-cert": "nebula",
    "tincd": "tinc",
    "ethtool": "ethtool",
    "serf": "serf",
    "nft": "nftables",
    "setpriv": "util-linux",
    "curl": "curl",
    "openssl": "openssl",
    "nmap": "nmap",
}


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


def compiled(lab: Lab, name: str) -> Path:
    """One of the C programs here, compiled once in a run."""
    need("gcc")
    binary = lab.directory / name
    if not binary.exists():
        run(["gcc", "-O2", "-Wall", "-Wextra", "-o", str(binary), str(SOURCES / f"{name}.c")])
    return binary


def cable(lab: Lab, label: str) -> Pair:
    """Two hosts with nothing but a cable between them."""
    left, right = (lab.namespace(f"{label}-{side}") for side in "ab")
    join(left, "eth0", right, "eth0")
    for namespace, address in zip((left, right), UNDERLAY, strict=True):
        namespace.ip("address", "add", f"{address}/24", "dev", "eth0")
    return Pair(label, (left, right), UNDERLAY)


def across(wan: Wan) -> Pair:
    """The two hosts of a WAN."""
    return Pair(wan.label, wan.hosts, wan.addresses)


def overlay(namespace: Namespace, device: str, address: str) -> None:
    """Wait for a TUN device that another process makes, and set it up."""

    def exists() -> bool:
        return f"{device}:" in namespace.ip("-o", "link")

    wait_until(exists, f"{device} to appear", 10.0)
    namespace.ip("address", "add", f"{address}/24", "dev", device)
    namespace.ip("link", "set", device, "mtu", str(MTU), "up")


def serve(
    lab: Lab, namespace: Namespace, command: Sequence[str], port: int
) -> subprocess.Popen[bytes]:
    """Start a server in ``namespace`` and wait until it listens on its TCP port."""
    server = lab.popen(namespace.command(command))

    def listens() -> bool:
        with namespace.entered():
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, f"{command[0]} to listen", 10.0)
    return server
