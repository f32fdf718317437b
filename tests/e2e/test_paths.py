"""Which way packets go: a relay between two symmetric NATs, and a host that changes its address."""

from __future__ import annotations

import threading

import pytest

from simulations.lab import transfer
from simulations.lab.host import Host
from simulations.lab.mesh import View, admit, found, views, wait_connected
from simulations.lab.namespaces import Lab
from simulations.lab.nat import Nat
from simulations.lab.ping import Pinger
from simulations.lab.topology import Internet
from simulations.lab.waiting import wait_until
from tests.e2e.meshes import open_pair
from tests.e2e.wiretap import Wiretap

pytestmark = pytest.mark.e2e

RELAYED, PREFIX = 5, 8


def seen_by(host: Host, other: Host) -> View | None:
    status = host.status()
    return views(status).get(other.name) if status else None


def two_homes(lab: Lab, kind: Nat) -> tuple[Internet, list[Host]]:
    """A host in the open and two behind NATs of their own, with the same private prefix."""
    internet = Internet(lab)
    places = [internet.host("open")]
    places += [internet.home(f"{name}-home", kind).host(name) for name in ("one", "two")]
    hosts = [Host(lab, place) for place in places]
    found(hosts[0])
    admit(hosts[0], hosts[1:])
    return internet, hosts


def test_two_symmetric_nats_talk_through_a_relay_end_to_end(lab: Lab) -> None:
    internet, (relay, one, two) = two_homes(lab, Nat.SYMMETRIC_RANDOM)
    known = wait_connected([relay, one, two])
    status = relay.status()
    assert status is not None
    for here, there in ((one, two), (two, one)):
        view = seen_by(here, there)
        assert view is not None
        assert (view.kind, view.via) == ("relay", status["self"]["id"])
    payload = transfer.Payload(8 * transfer.MIB)
    for address in known[two.name]:
        assert transfer.tcp(one.namespace, two.namespace, address, payload).intact
    assert relay.metric("aegisray_relayed_bytes_total") > 2 * len(payload.data)
    with Wiretap(internet.router, "port1") as before, Wiretap(internet.router, "port2") as after:
        with Pinger(one.namespace) as pinger:
            assert pinger.ping(known[two.name][0]) is not None
        into = {d.payload[PREFIX:] for d in before.seen() if d.payload[:1] == bytes([RELAYED])}
        out = {d.payload[PREFIX:] for d in after.seen() if d.payload[:1] == bytes([RELAYED])}
    assert into
    assert into & out  # the relay passes on what it cannot read, byte for byte


def test_two_cone_nats_talk_directly(lab: Lab) -> None:
    _, hosts = two_homes(lab, Nat.PORT_RESTRICTED_CONE)
    wait_connected(hosts)

    def direct() -> bool:
        both = [seen_by(hosts[1], hosts[2]), seen_by(hosts[2], hosts[1])]
        return all(view is not None and view.kind == "direct" for view in both)

    wait_until(direct, "the direct path", 20.0)


def test_hosts_on_one_lan_use_it(lab: Lab) -> None:
    internet = Internet(lab)
    home = internet.home("home", Nat.PORT_RESTRICTED_CONE)
    hosts = [Host(lab, place) for place in (internet.host("open"), home.host("a"), home.host("b"))]
    found(hosts[0])
    admit(hosts[0], hosts[1:])
    wait_connected(hosts)

    def over_the_lan() -> bool:
        status = hosts[1].status()
        peers = status["peers"] if status else []
        ends = [peer["path"]["endpoint"] for peer in peers if peer["name"] == "b" and peer["path"]]
        return ends == ["192.168.1.11:443"]

    wait_until(over_the_lan, "the path over the LAN", 20.0)


def test_a_host_that_changes_its_address_keeps_its_connections(lab: Lab) -> None:
    pair = open_pair(lab)
    payload = transfer.Payload(160 * transfer.MIB)
    moved: list[transfer.Transfer] = []
    source, target, address = pair.right.namespace, pair.left.namespace, pair.of(pair.left)[0]
    before = pair.left.metric("aegisray_bytes_received_total")
    thread = threading.Thread(
        target=lambda: moved.append(transfer.tcp(source, target, address, payload, 60.0))
    )
    thread.start()
    wait_until(
        lambda: pair.left.metric("aegisray_bytes_received_total") > before + transfer.MIB,
        "the transfer to be under way",
        10.0,
    )
    new = pair.internet.attach(pair.right.namespace, "second")
    pair.right.namespace.ip("link", "del", "wan")
    assert not moved, "the transfer is still under way"
    thread.join(70.0)
    assert [each.intact for each in moved] == [True]
    status = pair.left.status()
    assert status is not None
    assert status["peers"][0]["path"]["endpoint"] == f"{new}:443"
