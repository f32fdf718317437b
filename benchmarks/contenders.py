"""The ways of carrying packets that are compared, each between two hosts of its own.

All overlays have the same MTU. Every pair of hosts is joined by a cable (10.9.0.1, 10.9.0.2) and
stands idle while another is measured, so that measurements can take turns within seconds.
"""

from __future__ import annotations

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
    "serf": "serf",
    "nft": "nftables",
    "setpriv": "util-linux",
}


@dataclass(frozen=True, slots=True)
class Contender:
    """Two hosts; measurements run from ``left`` to ``address``, which ``right`` holds."""

    name: str
    left: Namespace
    right: Namespace
    address: str


def need(*tools: str) -> None:
    """Raise LabError if a program is not installed, with the package that has it."""
    for tool in tools:
        if shutil.which(tool) is None:
            raise LabError(f"{tool} is not installed: apt-get install {PACKAGES[tool]}")


def cable(lab: Lab, name: str) -> tuple[Namespace, Namespace]:
    """Two hosts with nothing but a cable between them."""
    pair = (lab.namespace(f"{name}-a"), lab.namespace(f"{name}-b"))
    join(pair[0], "eth0", pair[1], "eth0")
    for namespace, address in zip(pair, UNDERLAY, strict=True):
        namespace.ip("address", "add", f"{address}/24", "dev", "eth0")
    return pair


def veth(lab: Lab) -> Contender:
    """The cable itself, with no overlay."""
    left, right = cable(lab, "veth")
    return Contender("veth", left, right, UNDERLAY[1])


def null(lab: Lab) -> Contender:
    """The C forwarder without encryption: the limit of TUN and UDP here."""
    need("gcc")
    source, binary = Path(__file__).parent / "peers" / "nullfwd.c", lab.directory / "nullfwd"
    run(["gcc", "-O2", "-Wall", "-Wextra", "-o", str(binary), str(source)])
    pair = cable(lab, "null")
    for index, namespace in enumerate(pair):
        ends = [UNDERLAY[index], UNDERLAY[1 - index], str(PORT)]
        lab.popen(namespace.command([str(binary), "tun0", *ends]))
        _overlay(namespace, "tun0", OVERLAY[index])
    return Contender("null", *pair, OVERLAY[1])


def wireguard_go(lab: Lab) -> Contender:
    """Debian's wireguard-go, whose sockets under /run/wireguard bear names unique to this run."""
    need("wg", "wireguard-go")
    pair = cable(lab, "wireguard")
    unique = lab.tag.split("-")[1]
    devices = [f"wg{unique}{side}" for side in "ab"]
    keys = [run(["wg", "genkey"]).strip() for _ in pair]
    public = [run(["wg", "pubkey"], text=key).strip() for key in keys]
    for index, (namespace, device) in enumerate(zip(pair, devices, strict=True)):
        lab.popen(namespace.command(["wireguard-go", "--foreground", device]))
        lab.on_close(partial(Path(f"/run/wireguard/{device}.sock").unlink, missing_ok=True))
        secret = lab.directory / f"{device}.key"
        secret.touch(mode=0o600)
        secret.write_text(keys[index])
        _overlay(namespace, device, OVERLAY[index])
        peer = ["peer", public[1 - index], "allowed-ips", f"{OVERLAY[1 - index]}/32"]
        peer += ["endpoint", f"{UNDERLAY[1 - index]}:{PORT}"]
        own = ["listen-port", str(PORT), "private-key", str(secret)]
        namespace.run("wg", "set", device, *own, *peer)
    return Contender("wireguard-go", *pair, OVERLAY[1])


def aegisray(lab: Lab) -> Contender:
    """Two ``meshd``."""
    pair = cable(lab, "aegisray")
    hosts = [Host(lab, namespace, {"tun.mtu": MTU}) for namespace in pair]
    found(hosts[0])
    admit(hosts[0], hosts[1:])
    address, _ = wait_connected(hosts)[hosts[1].name]
    return Contender("aegisray", *pair, address)


CONTENDERS: dict[str, Callable[[Lab], Contender]] = {
    "veth": veth,
    "null": null,
    "wireguard-go": wireguard_go,
    "aegisray": aegisray,
}


def make(lab: Lab, name: str) -> Contender:
    """Build one, wait until it carries pings, and start its iperf3 server."""
    contender = CONTENDERS[name](lab)
    with Pinger(contender.left) as pinger:
        wait_until(lambda: pinger.ping(contender.address), f"{name} to carry pings", 10.0)
    lab.popen(contender.right.command(["iperf3", "--server"]))
    wait_until(lambda: _listens(contender), f"iperf3 on {name}", 10.0)
    return contender


def _overlay(namespace: Namespace, device: str, address: str) -> None:
    """Wait for a TUN device that another process makes, and set it up."""

    def exists() -> bool:
        return f"{device}:" in namespace.ip("-o", "link")

    wait_until(exists, f"{device} to appear", 10.0)
    namespace.ip("address", "add", f"{address}/24", "dev", device)
    namespace.ip("link", "set", device, "mtu", str(MTU), "up")


def _listens(contender: Contender) -> bool:
    with contender.left.entered():
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with probe:
        probe.settimeout(1.0)
        return probe.connect_ex((contender.address, IPERF_PORT)) == 0
