"""Twelve daemons that keep four neighbours each: whoever is wanted is found by lookup."""

from __future__ import annotations

import pytest

from simulations.lab.host import Host, addresses
from simulations.lab.mesh import admit, found
from simulations.lab.namespaces import Lab
from simulations.lab.ping import Pinger
from simulations.lab.topology import Internet
from simulations.lab.waiting import wait_until

pytestmark = pytest.mark.e2e

COUNT, VIEW = 11, 4
"""And one that comes late."""


def neighbours(host: Host) -> int:
    status = host.status()
    return status["self"]["neighbours"] if status is not None else 0


def test_the_first_ping_to_an_address_nobody_told_of_succeeds_by_lookup(lab: Lab) -> None:
    internet = Internet(lab)
    settings = {"performance.max_peers": VIEW}
    hosts = [Host(lab, internet.host(f"node{n}"), settings) for n in range(COUNT)]
    found(hosts[0])
    admit(hosts[0], hosts[1:])
    known = {host.name: addresses(host.wait_up(20)) for host in hosts}
    wait_until(lambda: all(neighbours(host) >= 2 for host in hosts), "neighbours", 60)
    # A node that has just come was told of a few.
    late = Host(lab, internet.host("late"), settings)
    admit(hosts[0], [late])
    late.wait_up(20)
    wait_until(lambda: neighbours(late) >= 2, "the late one's neighbours", 30)
    pinger = Pinger(late.namespace)
    try:
        for host in hosts:
            for address in known[host.name]:
                assert pinger.ping_all([address], 2.0)[address] is not None, host.name
    finally:
        pinger.close()
    for host in hosts:
        answer = late.api("/v1/lookup", {"query": host.name})
        assert answer["name"] == host.name
        assert answer["answered_by"] == "known" or answer["hops"] >= 1
    assert "answered by" in late.must("lookup", hosts[0].name)
    nobody = late.meshd("lookup", "nobody")
    assert nobody.code == 1
    assert "nobody who was asked knows of it" in nobody.stderr
    assert max(neighbours(host) for host in (*hosts, late)) <= VIEW
