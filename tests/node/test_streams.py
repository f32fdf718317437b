"""When streams are dialled, used, left and closed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshd.node.node import Node
from meshd.node.path import PathKind
from meshd.node.streams import MAX_ADDRESSES, TRY_AFTER, UNUSED
from meshd.node.wire import STREAM, Endpoint
from simulations.nat import NatKind
from tests.node.virtual import CONFIG, Host, Mesh

OPEN = replace(CONFIG, accepts_streams=True, relays=False)
SHUT = replace(CONFIG, relays=False)


def block(mesh: Mesh, one: Host, other: Host) -> None:
    """Let no UDP pass between two hosts."""
    for here, there in ((one, other), (other, one)):
        mesh.network.block(here.endpoints[0][0], there.endpoints[0][0])


def pair(mesh: Mesh) -> tuple[Host, Host]:
    return mesh.alpha(OPEN), mesh.host("beta", config=OPEN)


def streams_of(host: Host, other: Host) -> list[Endpoint]:
    paths = host.peer(other).paths
    return [path.endpoint for path in paths if path.kind is PathKind.STREAM]


def test_without_udp_a_stream_carries_within_three_seconds() -> None:
    mesh = Mesh()
    alpha = mesh.alpha(OPEN)
    beta = mesh.host("beta", config=OPEN, start=False)
    block(mesh, alpha, beta)
    beta.start()
    assert mesh.connect(alpha, beta) < 3.0
    assert (alpha.way(beta), beta.way(alpha)) == ("stream", "stream")
    alpha.send(beta, b"over TCP")
    mesh.run(1)
    assert beta.packets[-1].endswith(b"over TCP")


def test_who_reaches_nobody_by_udp_dials_sooner() -> None:
    mesh = Mesh()
    alpha, gamma = mesh.alpha(OPEN), mesh.host("gamma", config=OPEN)
    mesh.connect(alpha, gamma)
    took = []
    for name, blocked in (("beta", (alpha, gamma)), ("delta", (gamma,))):
        host = mesh.host(name, config=OPEN, start=False)
        for other in blocked:
            block(mesh, other, host)
        host.start()
        took.append(mesh.connect(gamma, host))
        assert host.way(gamma) == "stream"
    assert took[0] < TRY_AFTER < took[1] < TRY_AFTER + 0.5


def test_with_udp_nobody_dials() -> None:
    mesh = Mesh()
    alpha, beta = pair(mesh)
    mesh.connect(alpha, beta)
    mesh.run(60)
    assert not mesh.pipes.dials


def test_udp_that_ceases_under_traffic_is_replaced_within_three_seconds() -> None:
    mesh = Mesh()
    alpha, beta = pair(mesh)
    mesh.connect(alpha, beta)
    for number in range(200):
        mesh.world.after(number * 0.05, lambda: alpha.send(beta, b"alpha's"))
        mesh.world.after(number * 0.05, lambda: beta.send(alpha, b"beta's"))
    mesh.run(5)
    block(mesh, alpha, beta)
    count = len(beta.packets)
    mesh.until(lambda: len(beta.packets) > count + 2, 3.0)
    assert alpha.way(beta) == "stream"


def test_udp_is_taken_again_soon_and_the_stream_closed_when_nobody_needs_it() -> None:
    mesh = Mesh()
    alpha, beta = pair(mesh)
    block(mesh, alpha, beta)
    mesh.connect(alpha, beta)
    mesh.run(100)
    assert alpha.way(beta) == "stream"
    mesh.network.heal()
    mesh.until(lambda: alpha.way(beta) == beta.way(alpha) == "direct", 15.0)
    mesh.run(UNUSED / 2)
    assert mesh.pipes.ends
    mesh.run(2 * UNUSED + 5)  # a session that is renewed meanwhile is renewed by all ways
    assert not mesh.pipes.ends
    assert not streams_of(alpha, beta) + streams_of(beta, alpha)
    dials = mesh.pipes.dials.total()
    mesh.run(60)
    assert mesh.pipes.dials.total() == dials


def test_of_two_streams_that_of_the_lower_id_stays() -> None:
    mesh = Mesh()
    alpha, beta = pair(mesh)
    block(mesh, alpha, beta)
    mesh.connect(alpha, beta)
    mesh.run(30)
    assert len(mesh.pipes.ends) == 2  # both ends of one
    low = min(alpha, beta, key=lambda host: host.identity.id)
    high = beta if low is alpha else alpha
    assert (low.name, (STREAM + high.endpoints[0][0], 443)) in mesh.pipes.ends
    assert low.way(high) == high.way(low) == "stream"


@pytest.mark.parametrize("name", ["beta", "delta"])
def test_of_two_that_come_about_one_after_the_other_one_stays(name: str) -> None:
    mesh = Mesh()
    addresses = ["198.51.100.50", "198.51.100.51"]
    alpha, beta = mesh.alpha(OPEN, addresses=addresses), mesh.host(name, config=SHUT)
    mesh.connect(alpha, beta)
    for here in addresses:
        mesh.network.block(here, beta.endpoints[0][0])
        mesh.network.block(beta.endpoints[0][0], here)
    send = mesh.pipes.send

    def slowly(host: Host, payload: bytes, endpoint: Endpoint) -> None:
        late = endpoint[0].endswith(".51") and (host.name, endpoint) not in mesh.pipes.ends
        mesh.world.after(0.5 if late else 0.0, lambda: send(host, payload, endpoint))

    mesh.pipes.send = slowly  # type: ignore[method-assign]
    mesh.run(30)
    assert mesh.pipes.dials[name] >= 2
    assert len(mesh.pipes.ends) == 2  # both ends of one
    assert len(streams_of(beta, alpha)) == 1
    assert alpha.way(beta) == beta.way(alpha) == "stream"


def test_where_only_one_accepts_the_other_dials() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(OPEN), mesh.host("beta", config=SHUT)
    block(mesh, alpha, beta)
    mesh.connect(alpha, beta)
    assert not mesh.pipes.dials["alpha"]
    assert beta.way(alpha) == "stream"


def test_where_nobody_accepts_nobody_dials() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(SHUT), mesh.host("beta", config=SHUT)
    block(mesh, alpha, beta)
    mesh.run(60)
    assert not mesh.pipes.dials
    assert not beta.ready(alpha)


def test_what_is_refused_is_dialled_again_ever_more_seldom() -> None:
    mesh = Mesh()
    alpha, beta = pair(mesh)
    mesh.connect(alpha, beta)
    mesh.run(5)
    block(mesh, alpha, beta)
    mesh.pipes.blocked |= {host.endpoints[0][0] for host in (alpha, beta)}
    mesh.run(60)
    first = mesh.pipes.dials.total()
    mesh.run(600)
    assert first >= 4
    assert mesh.pipes.dials.total() - first < 60


def test_a_stream_that_breaks_is_dialled_anew_at_once() -> None:
    mesh = Mesh()
    alpha, beta = pair(mesh)
    block(mesh, alpha, beta)
    mesh.connect(alpha, beta)
    mesh.run(30)
    for name, endpoint in list(mesh.pipes.ends):
        mesh.pipes.close(mesh.hosts[name], endpoint)
        mesh.pipes._tell(mesh.hosts[name], endpoint, "broken")
    assert not alpha.ready(beta)
    assert mesh.connect(alpha, beta) < 1.0


def test_the_node_record_says_whether_streams_are_accepted() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(OPEN), mesh.host("beta", config=SHUT)
    mesh.connect(alpha, beta)
    mesh.run(5)
    here, there = beta.peer(alpha).record, alpha.peer(beta).record
    assert here is not None
    assert there is not None
    assert here.accepts_streams
    assert not there.accepts_streams


def test_a_relay_that_is_reached_by_stream_leads_to_who_accepts_none() -> None:
    mesh = Mesh()
    relay = mesh.alpha(replace(CONFIG, accepts_streams=True))
    inside = mesh.host("inside", NatKind.SYMMETRIC, config=SHUT)
    walled = mesh.host("walled", config=SHUT, start=False)
    for other in (relay, inside):
        block(mesh, walled, other)
    walled.start()
    mesh.connect(walled, inside, within=15.0)
    path = walled.peer(inside).path
    assert path is not None
    assert path.kind is PathKind.RELAY
    assert path.rank == 3
    walled.send(inside, b"by two ways")
    mesh.run(1)
    assert inside.packets[-1].endswith(b"by two ways")


def test_a_stream_is_preferred_to_a_relay_that_has_but_a_stream_itself() -> None:
    mesh = Mesh()
    relay = mesh.alpha(replace(CONFIG, accepts_streams=True))
    beta = mesh.host("beta", config=OPEN)
    mesh.connect(relay, beta)
    walled = mesh.host("walled", config=SHUT, start=False)
    for other in (relay, beta):
        block(mesh, walled, other)
    walled.start()
    mesh.connect(walled, relay, beta, within=15.0)
    mesh.run(30)
    assert (walled.way(beta), beta.way(walled)) == ("stream", "stream")


def test_where_we_are_seen_by_stream_is_no_place_of_ours() -> None:
    mesh = Mesh()
    alpha, beta = pair(mesh)
    block(mesh, alpha, beta)
    mesh.connect(alpha, beta)
    mesh.run(30)
    assert not beta.node.state.reflexive
    assert not alpha.node.state.reflexive


# Balancers


@pytest.mark.parametrize("answers", ["alpha", "gamma"])
def test_behind_a_balancer_whoever_answers_is_met(answers: str) -> None:
    mesh = Mesh()
    alpha, gamma = mesh.alpha(OPEN), mesh.host("gamma", config=OPEN)
    mesh.connect(alpha, gamma)
    beta = mesh.host("beta", config=SHUT, start=False)
    for other in (alpha, gamma):
        block(mesh, beta, other)
        mesh.pipes.blocked.add(other.endpoints[0][0])
    # Of all it knew, only alpha's record is left.
    own = alpha.identity.id
    records = [r for r in alpha.node.records() if r.subject == own]
    beta.disk.records = tuple(record.encode() for record in records)
    mesh.pipes.behind["198.51.100.200"] = mesh.hosts[answers]
    beta.start()
    beta.node.places.set_bootstrap([("198.51.100.200", 443)], mesh.world.now)
    assert mesh.until(lambda: beta.ready(mesh.hosts[answers]), 8.0) > 1.0
    assert beta.way(mesh.hosts[answers]) == "stream"


def test_a_balancer_that_leads_back_to_us_is_left() -> None:
    mesh = Mesh()
    alpha = mesh.alpha(OPEN)
    beta = mesh.host("beta", config=OPEN, start=False)
    block(mesh, alpha, beta)
    mesh.pipes.blocked.add(alpha.endpoints[0][0])
    mesh.pipes.behind["198.51.100.200"] = beta
    beta.start()
    beta.node.places.set_bootstrap([("198.51.100.200", 443)], mesh.world.now)
    mesh.run(20)
    assert mesh.pipes.closed["beta"]
    assert not beta.drops["introduction"]


def test_nobody_is_introduced_that_was_not_dialled() -> None:
    mesh = Mesh()
    alpha, beta = pair(mesh)
    mesh.connect(alpha, beta)
    for source in (("tls:192.0.2.9", 443), ("192.0.2.9", 443)):
        alpha.receive(b"\x06" + bytes(40), source)
    assert alpha.drops["introduction"] == 2


# Bounds


@pytest.mark.parametrize("member", [True, False])
def test_a_stream_that_came_in_and_that_nobody_uses_is_closed(member: bool) -> None:
    mesh = Mesh()
    alpha, beta = pair(mesh)
    mesh.connect(alpha, beta)
    stranger: Endpoint = ("tls:203.0.113.9", 50_000)
    mesh.pipes.ends["alpha", stranger] = beta, ("tls:203.0.113.1", 443)
    alpha.node.streams.admitted(stranger, member, mesh.world.now)
    mesh.run(UNUSED - 1)
    assert not mesh.pipes.closed
    mesh.run(10)
    assert mesh.pipes.closed["alpha"] == 1


def test_of_those_that_came_in_and_that_nobody_has_used_the_oldest_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meshd.node.streams.MAX_UNUSED", 3)
    mesh = Mesh()
    alpha, beta = pair(mesh)
    block(mesh, alpha, beta)
    mesh.connect(alpha, beta)
    mesh.run(5)
    assert alpha.way(beta) == "stream"
    closed: list[Endpoint] = []
    for number in range(6):
        alpha.node.streams.admitted(("tls:203.0.113.9", number), True, mesh.world.now)
    monkeypatch.setattr(mesh.pipes, "close", lambda host, endpoint: closed.append(endpoint))
    alpha.settle()
    assert closed == [("tls:203.0.113.9", number) for number in range(3)]
    assert alpha.way(beta) == "stream"


def test_no_address_is_dialled_where_no_other_node_can_be() -> None:
    mesh = Mesh()
    alpha = mesh.alpha(OPEN)
    beta = mesh.host("beta", config=SHUT, start=False)
    block(mesh, alpha, beta)
    overlay = str(alpha.identity.certificate.address4)
    lies: list[Endpoint] = [("127.0.0.1", 6379), (overlay, 443), (beta.endpoints[0][0], 443)]
    alpha.node.places.set_local([*lies, *alpha.endpoints], mesh.world.now)
    mesh.run(1)
    beta.disk.records = mesh.first_records()
    beta.start()
    record = beta.peer(alpha).record
    assert record is not None
    assert set(lies) < set(record.endpoints)
    assert mesh.connect(alpha, beta) < 3.0
    assert beta.way(alpha) == "stream"
    assert mesh.pipes.dials["beta"] == 1


def test_so_many_are_dialled_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshd.node.streams.MAX_DIALLED", 3)
    mesh = Mesh()
    alpha = mesh.alpha(OPEN)
    others = [mesh.host(f"m{number}", config=OPEN) for number in range(6)]
    mesh.connect(alpha, *others)
    mesh.run(5)
    for other in others:
        block(mesh, alpha, other)
    asked: list[tuple[float, Endpoint]] = []

    def unanswered(host: Host, payload: bytes, endpoint: Endpoint) -> None:
        if host is alpha:
            asked.append((mesh.world.now, endpoint))

    monkeypatch.setattr(mesh.pipes, "send", unanswered)
    began = mesh.world.now
    mesh.run(10)
    assert len({endpoint for _, endpoint in asked}) == 3
    mesh.run(60)
    assert len({endpoint for _, endpoint in asked}) > 3
    assert asked[0][0] > began


def test_of_one_peer_few_addresses_are_dialled() -> None:
    mesh = Mesh()
    many = [f"198.51.100.{number}" for number in range(50, 59)]
    alpha = mesh.alpha(OPEN, addresses=many)
    beta = mesh.host("beta", config=SHUT)
    for here in many:
        mesh.network.block(here, beta.endpoints[0][0])
        mesh.network.block(beta.endpoints[0][0], here)
    mesh.pipes.blocked.update(many)
    mesh.run(0.9)
    assert 0 < mesh.pipes.dials["beta"] <= MAX_ADDRESSES
    assert isinstance(alpha.node, Node)
