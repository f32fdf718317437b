"""A daemon that dies without a word, one that says goodbye, and both coming back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulations.lab.host import Host, addresses
from simulations.lab.mesh import admit, found, views, wait_connected
from simulations.lab.namespaces import Lab
from simulations.lab.topology import Internet
from simulations.lab.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.patient]


@pytest.fixture(scope="module")
def three() -> Iterator[list[Host]]:
    """Each test leaves all of them running and connected."""
    with Lab() as lab:
        internet = Internet(lab)
        hosts = [Host(lab, internet.host(name)) for name in ("one", "two", "three")]
        found(hosts[0])
        admit(hosts[0], hosts[1:])
        wait_connected(hosts)
        yield hosts


def state_of(host: Host, other: Host) -> str | None:
    status = host.status()
    return views(status)[other.name].state if status else None


def all_say(hosts: list[Host], of: Host, state: str, deadline_s: float = 15.0) -> None:
    others = [host for host in hosts if host is not of]
    wait_until(
        lambda: all(state_of(host, of) == state for host in others),
        f"all to call {of.name} {state}",
        deadline_s,
    )


@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_daemon_is_declared_dead_and_comes_back(three: list[Host], victim: int) -> None:
    host = three[victim]
    status = host.status()
    assert status is not None
    host.kill()
    all_say(three, host, "dead")
    host.start()
    assert addresses(host.wait_up()) == addresses(status)
    all_say(three, host, "alive")
    wait_connected(three)


def test_a_stopped_daemon_has_left_and_comes_back(three: list[Host]) -> None:
    assert three[1].stop() == 0
    all_say(three, three[1], "left", 5.0)
    three[1].start()
    wait_connected(three)


def test_a_terminated_daemon_leaves_nothing_behind(three: list[Host]) -> None:
    assert three[1].terminate() == 0
    assert "aegis0" not in three[1].namespace.ip("-o", "link")
    assert not (three[1].directory / "meshd.sock").exists()
    three[1].start()
    wait_connected(three)


def test_all_killed_at_once_find_each_other_again(three: list[Host]) -> None:
    for host in three:
        host.kill()
    for host in three:
        host.start()
    wait_connected(three, 30.0)
