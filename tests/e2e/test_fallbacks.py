"""A node whose kernel lacks an offload talks to one that has them all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulations.lab import transfer
from simulations.lab.mesh import wait_connected
from simulations.lab.namespaces import Lab
from tests.e2e.meshes import Pair, Settings, check_traffic, open_pair

pytestmark = pytest.mark.e2e

OFF = {
    "tun": {"offload.tun": False},
    "gso": {"offload.gso": False},
    "gro": {"offload.gro": False},
    "all": {"offload.tun": False, "offload.gso": False, "offload.gro": False},
}
SAYS = {"tun": "TUN device", "gso": "sent one by one", "gro": "received one by one", "all": "sent"}


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Lab() as lab:
        yield open_pair(lab)


def start_again(pair: Pair, left: Settings, right: Settings) -> None:
    for host, settings in ((pair.left, left), (pair.right, right)):
        if host.settings != settings:
            host.terminate()
            host.settings = settings
            host.configure(settings)
            host.start()
    wait_connected([pair.left, pair.right])


@pytest.mark.parametrize("missing", OFF)
def test_traffic_passes_both_ways_without_an_offload(pair: Pair, missing: str) -> None:
    start_again(pair, OFF[missing], {})
    check_traffic(pair.left, pair.right, pair, size=4 * transfer.MIB)
    assert SAYS[missing] in pair.left.must("status")
    assert SAYS[missing] not in pair.right.must("status")


def test_two_nodes_without_any_offload_pass_traffic(pair: Pair) -> None:
    start_again(pair, OFF["all"], OFF["all"])
    check_traffic(pair.left, pair.right, pair, size=4 * transfer.MIB)
