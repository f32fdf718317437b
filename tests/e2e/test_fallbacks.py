"""A node whose kernel lacks an offload talks to one that has them all."""

from __future__ import annotations

import pytest

from simulations.lab.namespaces import Lab
from tests.e2e.meshes import check_traffic, open_pair

pytestmark = pytest.mark.e2e

OFF = {
    "tun": {"offload.tun": False},
    "gso": {"offload.gso": False},
    "gro": {"offload.gro": False},
    "all": {"offload.tun": False, "offload.gso": False, "offload.gro": False},
}
SAYS = {"tun": "TUN device", "gso": "sent one by one", "gro": "received one by one", "all": "sent"}


@pytest.mark.parametrize("missing", OFF)
def test_traffic_passes_both_ways_without_an_offload(lab: Lab, missing: str) -> None:
    pair = open_pair(lab, left=OFF[missing])
    check_traffic(pair.left, pair.right, pair)
    assert SAYS[missing] in pair.left.must("status")
    assert SAYS[missing] not in pair.right.must("status")


def test_two_nodes_without_any_offload_pass_traffic(lab: Lab) -> None:
    pair = open_pair(lab, left=OFF["all"], right=OFF["all"])
    check_traffic(pair.left, pair.right, pair, size=4 << 20)
