"""Sessions survive what happens to a laptop: other addresses, no link for a while, sleep, a NAT
that forgets, and the end of everybody it knew first."""

from __future__ import annotations

import signal
import time

import pytest

from simulations.lab.host import Host
from simulations.lab.mesh import admit, found, token, views, wait_connected
from simulations.lab.namespaces import Lab, Namespace
from simulations.lab.nat import Nat
from simulations.lab.ping import Pinger
from simulations.lab.topology import Internet
from simulations.lab.waiting import wait_until
from tests.e2e.meshes import open_pair

pytestmark = pytest.mark.e2e

TRY = 0.1
"""Seconds between two pings."""


def back_after(source: Namespace, address: str, limit: float) -> float:
    """Seconds from now until `address` answers pings of `source`."""
    began = time.monotonic()
    with Pinger(source) as pinger:
        wait_until(
            lambda: pinger.ping(address, TRY) is not None,
            f"{address} to answer again",
            limit,
            interval_s=0.0,
        )
    return time.monotonic() - began


def takes_for_alive(host: Host, other: Host) -> bool:
    status = host.status()
    view = views(status).get(other.name) if status else None
    return view is not None and view.state == "alive"


def rest(seconds: float) -> None:
    """Let time pass in which nothing is asked of anybody."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, "time to pass", seconds + 5)


@pytest.mark.patient
def test_a_stopped_process_is_back_within_three_seconds(lab: Lab) -> None:
    """As after a sleep, but that no clock stood still."""
    pair = open_pair(lab)
    assert pair.right.daemon is not None
    pair.right.daemon.send_signal(signal.SIGSTOP)
    rest(60.0)
    pair.right.daemon.send_signal(signal.SIGCONT)
    took = back_after(pair.left.namespace, pair.of(pair.right)[0], 20.0)
    print(f"back {took:.2f} s after 60 s of sleep")
    assert took < 3.0
    wait_until(lambda: "slept" in pair.right.log_text(), "the log to tell it", 5.0)
    wait_until(lambda: takes_for_alive(pair.left, pair.right), "the left one's trust", 10.0)
    wait_until(lambda: takes_for_alive(pair.right, pair.left), "the right one's trust", 10.0)


@pytest.mark.patient
def test_an_interface_that_was_down_for_a_while(lab: Lab) -> None:
    pair = open_pair(lab)
    there = pair.right.namespace
    routes = there.ip("route", "show", "default").split()
    there.ip("link", "set", "wan", "down")
    rest(20.0)
    there.ip("link", "set", "wan", "up")
    there.ip("route", "replace", *routes)
    took = back_after(there, pair.of(pair.left)[0], 20.0)
    print(f"back {took:.2f} s after the link was up again")
    assert took < 3.0


def test_another_address_is_taken_up_at_once(lab: Lab) -> None:
    pair = open_pair(lab)
    there = pair.right.namespace
    new = pair.internet.attach(there, "second")
    there.ip("link", "del", "wan")
    took = back_after(there, pair.of(pair.left)[0], 20.0)
    print(f"back {took:.2f} s after the address changed")
    assert took < 1.0
    wait_until(lambda: f"{new}:443" in str(pair.left.status()), "the new address to be used", 5.0)


def test_a_nat_that_forgets_and_gives_another_port(lab: Lab) -> None:
    internet = Internet(lab)
    home = internet.home("home", Nat.SYMMETRIC_RANDOM)
    hosts = [Host(lab, internet.host("open")), Host(lab, home.host("inside"))]
    found(hosts[0])
    admit(hosts[0], hosts[1:])
    known = wait_connected(hosts)
    routes = home.gateway.ip("route", "show", "default").split()
    home.gateway.ip("link", "set", "wan", "down")
    home.gateway.ip("link", "set", "wan", "up")
    home.gateway.ip("route", "replace", *routes)
    took = back_after(hosts[1].namespace, known["open"][0], 20.0)
    print(f"from inside: back {took:.2f} s after the NAT forgot")
    assert took < 1.0
    home.gateway.ip("link", "set", "wan", "down")
    home.gateway.ip("link", "set", "wan", "up")
    home.gateway.ip("route", "replace", *routes)
    took = back_after(hosts[0].namespace, known["inside"][0], 20.0)
    print(f"from outside: back {took:.2f} s after the NAT forgot")
    assert took < 11.0


@pytest.mark.patient
def test_the_others_go_on_when_all_bootstrap_nodes_are_gone(lab: Lab) -> None:
    internet = Internet(lab)
    seeds = [Host(lab, internet.host(name)) for name in ("first", "second")]
    found(seeds[0])
    seeds[1].must("join", "-", text=token(seeds[0], "second", "bootstrap"))
    seeds[1].start()
    hosts = [Host(lab, internet.host(name)) for name in ("one", "two", "three")]
    admit(seeds[0], hosts)
    known = wait_connected([*seeds, *hosts])
    for seed in seeds:
        seed.kill()
    rest(20.0)
    wait_connected(hosts)
    internet.attach(hosts[0].namespace, "another")
    hosts[0].namespace.ip("link", "del", "wan")
    for other in hosts[1:]:
        took = back_after(other.namespace, known["one"][0], 20.0)
        print(f"{other.name} reaches one at its new address after {took:.2f} s")
        assert took < 3.0
    hosts[1].terminate()
    hosts[1].start()
    took = back_after(hosts[2].namespace, known["two"][0], 20.0)
    print(f"one that was started again is back after {took:.2f} s")
    assert took < 10.0


def test_what_an_interface_lost_comes_back(lab: Lab) -> None:
    pair = open_pair(lab)
    there = pair.right.namespace
    there.ip("link", "set", "aegis0", "down")
    there.ip("link", "set", "aegis0", "up")
    for address in pair.of(pair.left):
        took = back_after(there, address, 10.0)
        print(f"{address} back after {took:.2f} s")
        assert took < 1.0


def test_a_dead_family_costs_the_first_packet_nothing(lab: Lab) -> None:
    """IPv6 that goes nowhere, though both hosts believe in it."""
    internet = Internet(lab, ipv6=True)
    hosts = [Host(lab, internet.host(name)) for name in ("one", "two")]
    internet.router.run("nft", "-f", "-", text=BLACK_HOLE)
    found(hosts[0])
    admit(hosts[0], hosts[1:])
    known = wait_connected(hosts)
    hosts[1].terminate()
    wait_until(lambda: not takes_for_alive(hosts[0], hosts[1]), "its goodbye", 5.0)
    hosts[1].start()
    hosts[1].wait_up()
    took = back_after(hosts[1].namespace, known["one"][0], 5.0)
    print(f"first answer {took:.2f} s after it was up")
    assert took < 0.3


BLACK_HOLE = """
table ip6 hole {
  chain forward {
    type filter hook forward priority 0; policy drop;
  }
}
"""
