from __future__ import annotations

import pytest

from simulations.lab.namespaces import Lab
from simulations.lab.nat import Nat
from simulations.lab.ping import Pinger
from simulations.lab.topology import Internet
from simulations.lab.waiting import wait_until
from simulations.lab.wan import Line

pytestmark = pytest.mark.e2e


def test_open_hosts_and_homes_reach_what_they_should(lab: Lab) -> None:
    internet = Internet(lab)
    here, there = internet.host("here"), internet.host("there")
    home = internet.home("home", Nat.PORT_RESTRICTED_CONE)
    one, two = home.host("one"), home.host("two")
    with Pinger(one) as inside, Pinger(here) as outside:
        assert inside.ping("198.51.100.2") is not None
        assert inside.ping("192.168.1.11") is not None
        assert outside.ping("198.51.100.6") is not None
        assert outside.ping("192.168.1.10", 0.2) is None
    assert (there.label, two.label) == ("there", "two")


def test_a_home_uses_the_prefix_it_is_given(lab: Lab) -> None:
    home = Internet(lab).home("mobile", Nat.SYMMETRIC_RANDOM, "10.64.0.0/24")
    assert "10.64.0.10/24" in home.host("phone").ip("-4", "address")


def test_an_attached_host_can_move_to_another_line(lab: Lab) -> None:
    internet = Internet(lab)
    moving, other = internet.host("moving"), internet.host("other")
    address = internet.attach(moving, "second")
    moving.ip("link", "del", "wan")
    with Pinger(other) as pinger:
        assert pinger.ping(address) is not None
        assert pinger.ping("198.51.100.2", 0.2) is None


def test_an_internet_of_both_families_has_hosts_of_either(lab: Lab) -> None:
    internet = Internet(lab, ipv6=True)
    both = internet.host("both")
    for label, families in (("old", "4"), ("new", "6")):
        internet.host(label, families)
    with Pinger(both) as pinger:
        answers = pinger.ping_all(
            ["198.51.100.6", "2001:db8:1::2", "198.51.100.10", "2001:db8:2::2"], 0.5
        )
    assert [answer is not None for answer in answers.values()] == [True, False, False, True]


def test_two_layers_of_nat_let_out_and_not_in(lab: Lab) -> None:
    internet = Internet(lab)
    server = internet.host("server")
    carrier = internet.home("isp", Nat.PORT_RESTRICTED_CONE, "100.72.0.0/24")
    inner = carrier.home("home", Nat.SYMMETRIC_RANDOM, "192.168.5.0/24")
    with Pinger(inner.host("host")) as inside, Pinger(server) as outside:
        assert inside.ping("198.51.100.2") is not None
        assert outside.ping(inner.public_address, 0.2) is None
    assert inner.public_address == "100.72.0.10"


def test_a_line_delays_and_can_become_another(lab: Lab) -> None:
    internet = Internet(lab, ipv6=True, line=Line(delay_ms=10))
    near, _ = internet.host("near"), internet.host("far")
    with Pinger(near) as pinger:
        for address in ("198.51.100.6", "2001:db8:1::2"):
            answer = pinger.ping(address)
            assert answer is not None
            assert answer >= 0.02
        internet.change_line(near, Line(delay_ms=60))
        wait_until(lambda: (pinger.ping("198.51.100.6") or 0.0) >= 0.07, "the other line", 5.0)
