from __future__ import annotations

import pytest

from simulations.lab.enrolled import NAMES, enrol_once
from simulations.lab.mesh import wait_connected
from simulations.lab.namespaces import Lab
from simulations.lab.topology import Internet

pytestmark = pytest.mark.e2e


def test_a_mesh_enrolled_once_can_be_played_again_and_again() -> None:
    with Lab() as first:
        mesh = enrol_once(first)
        for _ in range(2):
            with Lab() as lab:
                internet = Internet(lab, ipv6=True)
                hosts = [mesh.wake(lab, internet.host(name)) for name in NAMES]
                for host in hosts:
                    host.start()
                known = wait_connected(hosts)
                assert {name: four for name, (four, _) in known.items()} == mesh.addresses
