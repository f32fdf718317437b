from __future__ import annotations

from simulations.lab.host import addresses
from simulations.lab.mesh import View, views

PATH = {"kind": "relay", "endpoint": None, "via": "22" * 16, "rtt_ms": 1.5, "loss": 0.0}


def test_a_view_is_read_from_the_contracts_json() -> None:
    peers = [
        {"name": "b", "state": "alive", "path": PATH},
        {"name": "c", "state": "dead", "path": None},
    ]
    assert views({"peers": peers}) == {
        "b": View("alive", "relay", 1.5, "22" * 16),
        "c": View("dead", None, None, None),
    }


def test_addresses_come_in_the_order_of_the_families() -> None:
    status = {"self": {"addresses": ["fd00::5", "100.64.0.5"]}}
    assert addresses(status) == ("100.64.0.5", "fd00::5")
    assert addresses({"self": {"addresses": ["100.64.0.5/32", "fd00::5/128"]}}) == (
        "100.64.0.5",
        "fd00::5",
    )
