"""A long way that loses packets: what is sent arrives, and status says what that took."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from simulations.lab import transfer
from simulations.lab.host import Host
from simulations.lab.mesh import admit, found, wait_connected
from simulations.lab.namespaces import Lab
from simulations.lab.waiting import wait_until
from simulations.lab.wan import Line, Wan

pytestmark = pytest.mark.e2e

LIMIT_S = 20.0


def way(host: Host) -> dict[str, Any]:
    """The path to the only peer, as status has it."""
    status = host.status()
    assert status is not None
    return dict(status["peers"][0]["path"])


def test_a_transfer_over_a_lossy_way_arrives_and_status_tells_of_parity(lab: Lab) -> None:
    wan = Wan(lab, "far", Line(delay_ms=10.0))
    near, far = hosts = [Host(lab, namespace) for namespace in wan.hosts]
    found(near)
    admit(near, [far])
    addresses = wait_connected(hosts)[far.name]
    payload = transfer.Payload(32 * transfer.MIB)

    def send(payload: transfer.Payload) -> list[dict[str, Any]]:
        """Move it; what status said meanwhile, and at last."""
        moved: list[transfer.Transfer] = []
        source, target = near.namespace, far.namespace
        thread = threading.Thread(
            target=lambda: moved.append(
                transfer.tcp(source, target, addresses[0], payload, LIMIT_S)
            )
        )
        thread.start()
        seen = []
        while thread.is_alive():
            thread.join(0.2)
            seen.append(way(near))
        assert [each.intact and each.seconds < LIMIT_S for each in moved] == [True]
        return seen

    send(transfer.Payload(4 * transfer.MIB))
    wait_until(lambda: way(near)["parity"] == 0, "the clean way to be known", 5.0)
    assert {(each["parity"], each["frames_saved"]) for each in send(payload)} == {(0, 0)}
    saved = 0
    for percent in (1.0, 5.0):
        wan.change(Line(delay_ms=10.0, loss_percent=percent))
        seen = send(payload)
        # It is tried now and then whether parity makes the loss, so not all of them have some.
        assert max(each["parity"] for each in seen) > percent / 100
        assert seen[-1]["loss"] > 0.4 * percent / 100
        assert seen[-1]["frames_saved"] > saved
        saved = seen[-1]["frames_saved"]
