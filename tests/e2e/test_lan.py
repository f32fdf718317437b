"""A LAN without an Internet: members find each other there, and let others in."""

from __future__ import annotations

import pytest

from simulations.lab.host import Host
from simulations.lab.mesh import admit, found, invite, wait_connected
from simulations.lab.namespaces import Lab, Namespace, bridge, join
from simulations.lab.topology import Internet
from simulations.lab.waiting import DeadlineError
from tests.e2e.test_roaming import back_after
from tests.e2e.wiretap import Wiretap

pytestmark = pytest.mark.e2e

SWITCH = "lan"


class Cafe:
    """A switch, and nothing else."""

    def __init__(self, lab: Lab) -> None:
        self.switch = lab.namespace("cafe")
        bridge(self.switch, SWITCH)
        self._ports = 0

    def plug(self, namespace: Namespace, address: str) -> None:
        """Take every other network away from a host, and give it this one, without a router."""
        if "wan@" in namespace.ip("link", "show"):
            namespace.ip("link", "del", "wan")
        self._ports += 1
        port = f"port{self._ports}"
        join(self.switch, port, namespace, "cafe0")
        self.switch.ip("link", "set", port, "master", SWITCH)
        namespace.ip("address", "add", address, "dev", "cafe0")


def test_two_laptops_meet_and_admit_a_third(lab: Lab) -> None:
    """They were in the mesh before; the third has a token that names an address of then."""
    internet, cafe = Internet(lab), Cafe(lab)
    one, two = (Host(lab, internet.host(name)) for name in ("laptop-one", "laptop-two"))
    three = Host(lab, lab.namespace("laptop-three"))
    found(one, "--network", "conspiracy")
    admit(one, [two])
    known = wait_connected([one, two])
    token = invite(one)
    with Wiretap(cafe.switch, SWITCH) as tap:
        cafe.plug(one.namespace, "169.254.10.1/16")
        cafe.plug(two.namespace, "169.254.20.2/16")
        took = back_after(one.namespace, known["laptop-two"][0], 20.0)
        print(f"two laptops met {took:.2f} s after they came")
        assert took < 5.0
        cafe.plug(three.namespace, "169.254.30.3/16")
        three.must("join", "-", text=token)
        three.start()
        wait_connected([one, two, three])
        said = b"".join(datagram.payload for datagram in tap.seen())
    assert b"_aegisray" in said
    status = one.status()
    assert status is not None
    for secret in ("laptop", status["self"]["mesh"], status["self"]["network"]):
        assert secret.encode() not in said
        assert secret.encode().hex().encode() not in said


def test_two_that_start_there_find_each_other(lab: Lab) -> None:
    """All that they know of each other is on their disks, and the addresses in it are not theirs
    any more."""
    internet, cafe = Internet(lab), Cafe(lab)
    one, two = (Host(lab, internet.host(name)) for name in ("one", "two"))
    found(one)
    admit(one, [two])
    known = wait_connected([one, two])
    for host in (one, two):
        host.kill()
    cafe.plug(one.namespace, "192.168.77.1/24")
    cafe.plug(two.namespace, "192.168.77.2/24")
    one.start()
    two.start()
    one.wait_up()
    took = back_after(one.namespace, known["two"][0], 20.0)
    print(f"they met {took:.2f} s after they were started")
    assert took < 5.0


@pytest.mark.patient
def test_who_does_not_want_to_be_found_is_not(lab: Lab) -> None:
    internet, cafe = Internet(lab), Cafe(lab)
    silent = {"network.lan_discovery": False}
    one, two = (Host(lab, internet.host(name), silent) for name in ("one", "two"))
    found(one)
    admit(one, [two])
    known = wait_connected([one, two])
    with Wiretap(cafe.switch, SWITCH) as tap:
        cafe.plug(one.namespace, "192.168.77.1/24")
        cafe.plug(two.namespace, "192.168.77.2/24")
        with pytest.raises(DeadlineError):
            back_after(one.namespace, known["two"][0], 8.0)
        assert b"_aegisray" not in b"".join(datagram.payload for datagram in tap.seen())
