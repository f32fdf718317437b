"""`meshd leave` on real hosts: out everywhere, and back by a new invitation."""

from __future__ import annotations

from functools import partial

import pytest

from simulations.lab.host import Host
from simulations.lab.mesh import admit, found, token, views, wait_connected
from simulations.lab.namespaces import Lab
from simulations.lab.topology import Internet
from simulations.lab.waiting import wait_until

pytestmark = pytest.mark.e2e


def has_left(host: Host, name: str) -> bool:
    status = host.status()
    view = views(status).get(name) if status is not None else None
    return view is not None and view.state == "left"


def test_who_leaves_is_out_for_good_and_comes_back_by_a_new_invitation(lab: Lab) -> None:
    internet = Internet(lab)
    alpha, beta, gamma = (Host(lab, internet.host(name)) for name in ("alpha", "beta", "gamma"))
    found(alpha)
    admit(alpha, [beta, gamma])
    addresses = wait_connected([alpha, beta, gamma])

    done = gamma.meshd("leave")
    assert done.code == 0, done.stderr
    assert "This host has left" in done.stdout
    assert "2 other members were told" in done.stderr
    assert gamma.daemon is not None
    assert gamma.daemon.wait(5) == 0
    for host in (alpha, beta):
        wait_until(partial(has_left, host, "gamma"), "gamma to have left", 5)
    up = gamma.meshd("up")
    assert up.code == 1
    assert "`meshd join TOKEN`" in up.stderr

    # Whoever puts the old files back is refused, over restarts of the others, too.
    for folder in (gamma.certs, gamma.state):
        for path in (folder / "left").iterdir():
            path.rename(folder / path.name)
        (folder / "left").rmdir()
    again = gamma.meshd("up")
    assert again.code == 1
    assert "has left" in again.stderr
    beta.terminate()
    beta.start()
    beta.wait_up()
    wait_until(partial(has_left, beta, "gamma"), "gamma to have left still", 10)

    assert gamma.meshd("leave").code == 0
    gamma.must("join", "-", text=token(alpha, "gamma") + "\n")
    gamma.start()
    assert wait_connected([alpha, beta, gamma])["gamma"] != addresses["gamma"]
    assert (gamma.certs / "left" / "node.key").exists()
