"""A router that forwards ports (Debian's miniupnpd): asked, held to it, and let go."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass
from typing import Any

import pytest

from simulations.lab import portmap
from simulations.lab.host import Host
from simulations.lab.mesh import admit, found, views, wait_connected
from simulations.lab.namespaces import Lab, Namespace
from simulations.lab.nat import Nat
from simulations.lab.portmap import PortMapper
from simulations.lab.topology import Internet
from simulations.lab.waiting import DeadlineError, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.patient]

SPOKEN: dict[str, dict[str, bool]] = {
    "pcp": {},
    "nat-pmp": {"pcp": False},
    "upnp": {"pcp": False, "natpmp": False},
}


@dataclass
class Place:
    """A node behind a router that forwards, and a stranger whom it never heard of."""

    host: Host
    mapper: PortMapper
    stranger: Namespace

    def mapping(self) -> dict[str, Any] | None:
        status = self.host.status()
        return status["self"]["port_mapping"] if status else None

    def wait_mapped(self, deadline_s: float = 8.0) -> dict[str, Any]:
        return wait_until(self.mapping, "a mapping", deadline_s, detail=self.host.log_text)

    def endpoint(self) -> tuple[str, int]:
        address, _, port = self.wait_mapped()["endpoint"].rpartition(":")
        return address, int(port)

    def knock(self, endpoint: tuple[str, int]) -> bool:
        """Whether a stranger's datagram reaches the node, which drops and counts it."""
        before = self._refused()
        with self.stranger.entered():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            for _ in range(5):
                sender.sendto(b"\x63 who is there?", endpoint)
                with contextlib.suppress(DeadlineError):
                    return wait_until(lambda: self._refused() > before, "it to arrive", 0.3)
        return False

    def _refused(self) -> float:
        name = 'aegisray_packets_dropped_total{reason="unknown-kind"}'
        return self.host.metrics().get(name, 0.0)


def make_place(lab: Lab, protocol: str, lifetime: int = 3600) -> Place:
    internet = Internet(lab)
    home = internet.home("home", Nat.PORT_RESTRICTED_CONE)
    mapper = portmap.install(internet, home, lifetime=lifetime, **SPOKEN[protocol])
    host = Host(lab, home.host("inside"))
    found(host)
    return Place(host, mapper, internet.host("stranger"))


@pytest.mark.parametrize("protocol", list(SPOKEN))
def test_a_mapping_lets_strangers_in_until_the_node_stops(lab: Lab, protocol: str) -> None:
    place = make_place(lab, protocol)
    mapping = place.wait_mapped()
    assert (mapping["protocol"], mapping["gateway"]) == (protocol, "192.168.1.1")
    assert mapping["endpoint"] == f"{place.mapper.outside}:443"
    endpoint = place.endpoint()
    assert place.knock(endpoint)
    if protocol != "upnp":  # which tells of no restart: only the next renewal makes it anew
        place.mapper.stop()
        assert not place.mapper.forwarded()
        place.mapper.start()
        wait_until(place.mapper.forwarded, "the mapping to be made again", 10.0)
        assert place.endpoint() == endpoint
        assert place.knock(endpoint)
    place.host.stop()
    assert place.mapper.forwarded() == []


def test_a_mapping_is_renewed_and_a_killed_node_gets_it_again(lab: Lab) -> None:
    place = make_place(lab, "pcp", lifetime=10)
    first = place.wait_mapped()["expires_s"] + time.monotonic()
    assert first < time.monotonic() + 11
    endpoint = place.endpoint()

    def renewed() -> bool:
        mapping = place.mapping()
        return mapping is not None and mapping["expires_s"] + time.monotonic() > first + 3

    wait_until(renewed, "the mapping to be renewed", 10.0)
    assert place.knock(endpoint)
    place.host.kill()
    assert place.mapper.forwarded()
    place.host.start()
    place.host.wait_up()
    assert place.wait_mapped()["protocol"] == "pcp"
    assert place.endpoint() == endpoint


def test_two_nodes_behind_nats_that_cannot_be_punched_meet_where_one_is_mapped(lab: Lab) -> None:
    internet = Internet(lab)
    homes = [internet.home(f"{name}-home", Nat.SYMMETRIC_RANDOM) for name in ("one", "two")]
    mapper = portmap.install(internet, homes[0])
    places = [internet.host("open"), homes[0].host("one"), homes[1].host("two")]
    hosts = [Host(lab, place) for place in places]
    found(hosts[0])
    admit(hosts[0], hosts[1:])
    wait_connected(hosts)

    def direct() -> bool:
        status = hosts[2].status()
        view = views(status).get("one") if status else None
        return view is not None and view.kind == "direct"

    wait_until(direct, "a direct path", 15.0, detail=lambda: str(hosts[2].status()))
    status = hosts[2].status()
    assert status is not None
    endpoints = {peer["name"]: peer["path"]["endpoint"] for peer in status["peers"]}
    assert endpoints["one"] == f"{mapper.outside}:443"
