from __future__ import annotations

import pytest

from simulations.lab.namespaces import Lab, bridge
from simulations.lab.ping import Pinger, checksum

pytestmark = pytest.mark.e2e


def test_loopback_answers_over_both_families(lab: Lab) -> None:
    with Pinger(lab.namespace("alone")) as pinger:
        found = pinger.ping_all(["127.0.0.1", "::1", "127.0.0.2"])
    assert all(rtt is not None and 0 < rtt < 1 for rtt in found.values())


def test_no_route_and_no_answer_are_none(lab: Lab) -> None:
    alone = lab.namespace("alone")
    bridge(alone, "eth0")
    alone.ip("route", "add", "10.1.0.0/16", "dev", "eth0")
    with Pinger(alone) as pinger:
        assert pinger.ping_all(["9.9.9.9", "10.1.2.3", "fd00::1"], 0.1) == {
            "9.9.9.9": None,
            "10.1.2.3": None,
            "fd00::1": None,
        }


def test_the_checksum_is_rfc_1071s() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
