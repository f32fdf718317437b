from __future__ import annotations

import pytest

from simulations.lab.namespaces import Lab
from simulations.lab.nat import Nat
from simulations.lab.ping import Pinger
from simulations.lab.topology import Internet

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
