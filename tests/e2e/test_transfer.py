from __future__ import annotations

import pytest

from simulations.lab import transfer
from simulations.lab.namespaces import Lab, Namespace, join
from simulations.lab.waiting import LabError

pytestmark = pytest.mark.e2e


@pytest.fixture
def cable(lab: Lab) -> tuple[Namespace, Namespace]:
    left, right = lab.namespace("left"), lab.namespace("right")
    join(left, "eth0", right, "eth0")
    for number, namespace in enumerate((left, right), 1):
        namespace.ip("address", "add", f"10.9.0.{number}/24", "dev", "eth0")
        namespace.ip("address", "add", f"fd09::{number}/64", "dev", "eth0", "nodad")
    return left, right


@pytest.mark.parametrize("address", ["10.9.0.2", "fd09::2"])
def test_bytes_arrive_whole_over_both_families(
    cable: tuple[Namespace, Namespace], address: str
) -> None:
    moved = transfer.tcp(*cable, address, transfer.Payload(8 * transfer.MIB))
    assert moved.intact
    assert moved.size == 8 * transfer.MIB
    assert moved.gbit_per_s > 0.01
    assert transfer.udp(*cable, address, count=40) == 80


def test_a_changed_byte_shows(cable: tuple[Namespace, Namespace]) -> None:
    payload = transfer.Payload(1000)
    payload.data = bytes([payload.data[0] ^ 1]) + payload.data[1:]
    assert not transfer.tcp(*cable, "10.9.0.2", payload).intact


def test_no_route_is_an_error(cable: tuple[Namespace, Namespace]) -> None:
    left, right = cable
    left.ip("link", "set", "eth0", "down")
    with pytest.raises(LabError, match=r"10\.9\.0\.2"):
        transfer.tcp(left, right, "10.9.0.2", transfer.Payload(1000), timeout_s=1.0)


def test_datagrams_that_never_arrive_are_an_error(cable: tuple[Namespace, Namespace]) -> None:
    left, right = cable
    rules = (
        "table inet f { chain i { type filter hook input priority 0; udp length > 500 drop; }; }"
    )
    right.run("nft", "-f", "-", text=rules)
    with pytest.raises(LabError, match="never arrived whole"):
        transfer.udp(left, right, "10.9.0.2", count=3, tries=1)
