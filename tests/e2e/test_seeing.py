"""`meshd why`, `netcheck` and `ping --until-direct`, as a person types them, behind real NATs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from simulations.lab.cell import way
from simulations.lab.enrolled import LEFT, PUBLIC, RIGHT, Enrolled, enrol_once
from simulations.lab.host import Host
from simulations.lab.namespaces import Lab
from simulations.lab.sites import Site, settle
from simulations.lab.topology import Internet
from simulations.lab.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.patient]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Enrolled]:
    with Lab() as first:
        yield enrol_once(first)


def three(mesh: Enrolled, lab: Lab, site: Site, kind: str) -> tuple[Host, Host, Host]:
    """The public node, and two at sites of one kind that reach each other by `kind`."""
    internet = Internet(lab)
    public = mesh.wake(lab, internet.host(PUBLIC))
    left, right = (mesh.wake(lab, place) for place in settle(internet, site, site))
    hosts = public, left, right
    for host in hosts:
        host.start()
    for host in hosts:
        host.wait_up(20.0)
    wait_until(
        lambda: (
            left.meshd("ping", RIGHT, "-c", "1").code == 0
            and (way(left, RIGHT), way(right, LEFT)) == (kind, kind)
        ),
        f"{kind} between left and right",
        30.0,
    )
    return hosts


def test_behind_random_nats_a_person_learns_why_it_is_a_relay(mesh: Enrolled, lab: Lab) -> None:
    public, left, _ = three(mesh, lab, Site.RANDOM, "relay")
    done = left.meshd("ping", RIGHT, "--until-direct", "--timeout", "2", "-i", "0.5")
    assert done.code == 1
    assert 'via relay "public"' in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[-1].startswith("no direct way to right yet")
    why = json.loads(left.must("why", RIGHT, "--json"))
    assert why["path"]["kind"] == "relay"
    for end in (why["here"], why["there"]):
        assert end["told"]
        assert end["tried"][0]["kind"] == "relay"
        assert any(tried["error"] for tried in end["tried"] if tried["kind"] == "direct")
    text = left.must("why", RIGHT)
    assert 'reached by relay "public"' in text
    assert "seen by peers" in text
    checked = json.loads(left.must("netcheck", "--json"))
    assert checked["udp"] is True
    assert checked["ipv4"]["seen"]
    assert checked["mapping"] != "none"
    assert [relay["name"] for relay in checked["relays"]] == ["public"]
    assert "mapping" in public.must("netcheck")


def test_behind_cones_a_ping_says_when_it_is_direct(mesh: Enrolled, lab: Lab) -> None:
    _, left, _ = three(mesh, lab, Site.PORT_RESTRICTED, "direct")
    done = left.meshd("ping", RIGHT, "--until-direct", "--timeout", "20")
    assert done.code == 0
    assert "via direct 198.51.100." in done.stdout.splitlines()[-1]
    assert "direct ways go first" in left.must("why", RIGHT)
