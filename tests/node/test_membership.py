"""From gossip to peers and routes, and what a node tells of itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from gossip import NodeId, RecordKind
from gossip.codec import encode
from meshd.node.grants import Grants, parse_route
from meshd.node.membership import (
    CHOOSE_INTERVAL,
    PUBLISH_BURST,
    PUBLISH_INTERVAL,
    TWIN,
    Membership,
)
from meshd.node.outputs import PeerChanged, RoutesChanged, Warned
from meshd.node.places import MAX_REFLEXIVE_TOLD, REFLEXIVE_FRESH
from meshd.node.records import encode_routes
from meshd.node.wire import DATA, INITIATION, Endpoint
from simulations.nat import NatKind
from tests.node.test_authority import certificate, record, whereabouts
from tests.node.virtual import CONFIG, PORT, Host, Mesh

ROUTER = Grants(routes=(parse_route("10.0.0.0/8"),))
ROUTES = replace(CONFIG, routes=("10.0.0.0/8", "11.0.0.0/8"))


def told(host: Host, about: Host) -> tuple[Endpoint, ...]:
    """Where `host` takes `about` to be, by its own record."""
    record = host.peer(about).record
    assert record is not None
    return record.endpoints


def prefixes(host: Host) -> tuple[str, ...]:
    """The routes that the kernel was told last."""
    return host.told(RoutesChanged)[-1].prefixes


# Others


def test_a_node_record_that_comes_before_its_certificate_counts_once_that_is_there() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    beta = mesh.admit(5, "beta")
    now = mesh.world.now
    assert not alpha.node.gossip.accept(whereabouts(beta), now)
    assert beta.id not in alpha.node.state.peers
    assert alpha.node.gossip.accept(certificate(beta), now)
    alpha.settle()
    alpha.node.handle_timer(now)
    peer = alpha.node.state.peers[beta.id]
    assert peer.record is not None
    assert peer.record.endpoints == (("192.0.2.1", 443),)
    assert peer.name == "beta"


def test_junk_beside_a_chain_that_holds_is_counted_and_does_no_harm() -> None:
    mesh = Mesh()
    alpha, _ = mesh.pair()
    stranger = Mesh(seed=5).founder
    beta = mesh.admit(5, "gamma")
    foreign = stranger.trust.issuers[0].der
    beta = replace(beta, issuer_certificates=(*beta.issuer_certificates, foreign))
    body = encode([beta.certificate.der, foreign])
    shown = record(beta, RecordKind.CERTIFICATE, body)
    assert alpha.node.gossip.accept(shown, mesh.world.now)
    alpha.node.handle_timer(mesh.world.now)
    assert alpha.node.state.peers[beta.id].name == "gamma"
    assert alpha.drops["certificate-foreign"] == 1
    gamma = mesh.host("gamma", identity=beta)
    mesh.connect(alpha, gamma)
    assert alpha.identity.trust.issuers == mesh.founder.trust.issuers


def test_records_of_those_who_are_no_members_are_not_admitted() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    stranger = Mesh(seed=5).admit(7, "mallory")
    # Signed for this mesh, by a key that no certificate of it names.
    stranger = replace(stranger, mesh=mesh.founder.mesh)
    for shown in (certificate(stranger), whereabouts(stranger)):
        assert not alpha.node.gossip.accept(shown, mesh.world.now)
    mesh.run(5)
    for host in (alpha, beta):
        assert stranger.id not in host.node.state.peers
        assert host.node.gossip.record(stranger.id, RecordKind.MEMBER) is None


def test_members_known_from_disk_are_dead_until_they_are_heard() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(3)
    beta.kill()
    alpha.kill()
    alpha.start()
    mesh.run(1)
    assert alpha.peer(beta).state == "dead"
    assert alpha.peer(beta).name == "beta"
    beta.start()
    mesh.connect(alpha, beta)
    mesh.run(0.1)
    assert alpha.peer(beta).state == beta.peer(alpha).state == "alive"


def test_a_crash_is_noticed_and_a_return_too() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(5)
    gamma.kill()
    noticed = mesh.until(
        lambda: alpha.peer(gamma).state == beta.peer(gamma).state == "dead", within=15
    )
    assert noticed > 1
    gamma.start()
    mesh.until(lambda: alpha.peer(gamma).state == beta.peer(gamma).state == "alive", within=5)
    mesh.connect(alpha, beta, gamma, within=5)
    events = [e.event for e in alpha.told(PeerChanged) if e.peer == gamma.identity.id]
    assert [e for e in events if e in ("suspect", "dead", "alive")] == ["suspect", "dead", "alive"]


def test_who_leaves_is_gone_at_once_and_left_in_peace() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(3)
    left = mesh.world.now
    gamma.stop()
    mesh.until(lambda: alpha.peer(gamma).state == beta.peer(gamma).state == "left", within=2)
    assert not alpha.ready(gamma)
    assert alpha.peer(gamma).sessions() == []
    mesh.run(30)
    to_gamma = [d for d in mesh.sent if d.destination in gamma.endpoints and d.time > left + 2]
    assert [d for d in to_gamma if d.kind == INITIATION] == []
    gamma.start()
    mesh.connect(alpha, beta, gamma, within=5)
    assert alpha.peer(gamma).state == "alive"


def test_who_was_gone_for_long_is_forgotten_and_welcome_again() -> None:
    mesh = Mesh()
    brief = replace(ROUTES, gossip=replace(CONFIG.gossip, retention=60.0))
    alpha = mesh.alpha(config=brief)
    beta, gamma = mesh.host("beta"), mesh.host("gamma", grants=ROUTER, config=ROUTES)
    mesh.connect(alpha, beta, gamma)
    mesh.run(3)
    assert prefixes(alpha) == ("10.0.0.0/8",)
    gamma.stop()
    mesh.run(50)
    assert alpha.peer(gamma).state == "left"
    mesh.run(20)
    assert gamma.identity.id not in alpha.node.state.peers
    assert alpha.node.find("gamma") is None
    assert (prefixes(alpha), alpha.node.routes()) == ((), [])
    gamma.start()
    mesh.connect(alpha, gamma, within=10)
    mesh.until(lambda: prefixes(alpha) == ("10.0.0.0/8",), within=10)
    assert alpha.ping(gamma)


# Routes


def test_granted_routes_are_offered_and_found() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta", grants=ROUTER, config=ROUTES)
    mesh.connect(alpha, beta)
    mesh.run(2)
    assert prefixes(alpha) == ("10.0.0.0/8",)
    assert prefixes(beta) == ()
    peer, prefix = alpha.node.route(IPv4Address("10.1.2.3"))
    assert (peer, prefix) == (alpha.peer(beta), "10.0.0.0/8")
    assert alpha.node.route(IPv4Address("11.1.2.3")) == (None, None)
    assert alpha.node.routes() == [("10.0.0.0/8", alpha.peer(beta), True)]


def test_routes_of_many_that_come_together_are_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    routers = [mesh.host(f"r{n}", grants=ROUTER, config=ROUTES) for n in range(6)]
    mesh.connect(alpha, *routers)
    mesh.run(2)
    assert len(alpha.node.routes()) == len(routers)
    looked = 0
    rebuild = Membership.rebuild

    def counted(membership: Membership) -> None:
        nonlocal looked
        looked += 1
        rebuild(membership)

    monkeypatch.setattr(Membership, "rebuild", counted)
    now, body = mesh.world.now, encode_routes(["10.128.0.0/9"])
    for router in routers:
        held = alpha.node.gossip.record(router.identity.id, RecordKind.ROUTES)
        assert held is not None
        newer = record(router.identity, RecordKind.ROUTES, body, held.sequence + (1 << 30))
        assert alpha.node.gossip.accept(newer, now)
    alpha.node.handle_timer(now)
    alpha.settle()
    assert looked == 1
    assert prefixes(alpha) == ("10.128.0.0/9",)


def test_routes_go_with_who_leaves_and_come_back_with_it() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta", grants=ROUTER, config=ROUTES)
    mesh.connect(alpha, beta)
    mesh.run(2)
    beta.stop()
    mesh.until(lambda: alpha.peer(beta).state == "left", within=2)
    assert prefixes(alpha) == ()
    beta.start()
    mesh.connect(alpha, beta)
    mesh.run(2)
    assert prefixes(alpha) == ("10.0.0.0/8",)
    assert alpha.node.route(IPv4Address("10.1.2.3"))[0] is alpha.peer(beta)


def test_of_two_that_offer_one_prefix_the_other_carries_it_once_the_first_is_dead() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    routers = [mesh.host(name, grants=ROUTER, config=ROUTES) for name in ("beta", "gamma")]
    first, second = sorted(routers, key=lambda host: host.identity.id)
    mesh.connect(alpha, *routers)
    mesh.run(2)
    address = IPv4Address("10.1.2.3")
    assert alpha.node.route(address)[0] is alpha.peer(first)
    first.kill()
    mesh.until(lambda: alpha.node.route(address)[0] is alpha.peer(second), within=60)
    first.start()
    mesh.until(lambda: alpha.peer(first).path is not None, within=60)
    mesh.run(2 * CHOOSE_INTERVAL)
    assert alpha.node.route(address)[0] is alpha.peer(second), "no quicker, so nothing moves"
    second.kill()
    mesh.until(lambda: alpha.node.route(address)[0] is alpha.peer(first), within=60)


def test_a_node_that_has_become_quicker_takes_a_prefix_over_within_seconds() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    routers = [mesh.host(name, grants=ROUTER, config=ROUTES) for name in ("beta", "gamma")]
    mesh.connect(alpha, *routers)
    mesh.run(2)
    address = IPv4Address("10.1.2.3")
    carrier = alpha.node.route(address)[0]
    assert carrier is not None
    assert carrier.path is not None
    carrier.path.srtt = 1.0  # until the next probe
    mesh.until(lambda: alpha.node.route(address)[0] is not carrier, within=2 * CHOOSE_INTERVAL)


def test_routes_that_were_known_come_back_with_the_first_sign_of_life() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta", grants=ROUTER, config=ROUTES)
    mesh.connect(alpha, beta)
    mesh.run(2)
    beta.stop()
    mesh.until(lambda: alpha.peer(beta).state == "left", within=2)
    assert alpha.node.gossip.accept(whereabouts(beta.identity, 1 << 40), mesh.world.now)
    alpha.node.handle_timer(mesh.world.now)
    alpha.settle()
    assert alpha.peer(beta).state == "alive"
    assert prefixes(alpha) == ("10.0.0.0/8",)


def test_routes_of_which_there_are_two_are_not_used_until_there_is_a_newer_record() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta", grants=ROUTER, config=ROUTES)
    gamma = mesh.host("gamma")
    mesh.connect(alpha, beta, gamma)
    mesh.run(2)
    held = alpha.node.gossip.record(beta.identity.id, RecordKind.ROUTES)
    assert held is not None
    body = encode_routes(["10.128.0.0/9"])
    other = record(beta.identity, RecordKind.ROUTES, body, held.sequence)
    assert not alpha.node.gossip.accept(other, mesh.world.now)
    alpha.node.handle_timer(mesh.world.now)
    alpha.settle()
    assert prefixes(alpha) == ()
    assert alpha.node.routes() == []
    assert alpha.node.route(IPv4Address("10.1.2.3")) == (None, None)
    said = [event.event for event in alpha.told(PeerChanged) if event.peer == beta.identity.id]
    assert said.count("contradicts itself") == 1
    assert beta.node.state.notices == {}

    mesh.until(lambda: prefixes(alpha) == ("10.0.0.0/8",), within=5)
    assert beta.node.state.notices == {"twin": TWIN}
    assert [warning.text for warning in beta.told(Warned)].count(TWIN) == 1
    assert gamma.node.gossip.statistics().equivocations == 1
    assert alpha.node.state.notices == gamma.node.state.notices == {}


# Ourselves


def test_the_endpoint_that_others_see_is_published() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta", NatKind.PORT_RESTRICTED)
    mesh.connect(alpha, beta)
    mesh.run(1)
    inside, outside = told(alpha, beta)
    assert inside == beta.endpoints[0]
    assert outside[0].startswith("203.0.113.")
    path = alpha.peer(beta).path
    assert path is not None
    assert path.endpoint == outside


def test_two_behind_cone_nats_find_each_other_by_what_others_see() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    beta, gamma = (mesh.host(name, NatKind.PORT_RESTRICTED) for name in ("beta", "gamma"))
    mesh.until(lambda: gamma.way(beta) == beta.way(gamma) == "direct", within=2)
    assert alpha.way(beta) == "direct"


def test_two_behind_one_nat_use_their_own_network() -> None:
    mesh = Mesh()
    mesh.alpha()
    nat = mesh.translator(NatKind.SYMMETRIC)
    beta = mesh.host("beta", behind=nat)
    gamma = mesh.host("gamma", behind=nat)
    mesh.until(lambda: gamma.way(beta) == beta.way(gamma) == "direct", within=15)
    path = beta.peer(gamma).path
    assert path is not None
    assert path.endpoint == gamma.endpoints[0]


def test_of_the_endpoints_that_only_one_saw_few_are_told() -> None:
    mesh = Mesh()
    others = [mesh.alpha(), *(mesh.host(f"node-{n}") for n in range(6))]
    beta = mesh.host("beta", NatKind.SYMMETRIC)
    mesh.connect(beta, *others)
    mesh.run(30)
    assert len(beta.node.state.reflexive) == len(others)
    assert len(told(others[0], beta)) == MAX_REFLEXIVE_TOLD + 1
    before = told(others[0], beta)
    mesh.run(60)
    assert told(others[0], beta) == before


def test_what_nobody_sees_any_more_is_not_told_any_more() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta")
    mesh.connect(alpha, beta)
    mesh.run(1)
    state, gone = beta.node.state, ("192.0.2.200", 7)
    state.reflexive[gone] = {alpha.identity.id: mesh.world.now}
    mesh.run(1)
    assert gone in told(alpha, beta)
    mesh.run(REFLEXIVE_FRESH + PUBLISH_INTERVAL)
    assert told(alpha, beta) == tuple(beta.endpoints)


def test_changed_endpoints_are_told_at_once_and_then_not_too_often() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(PUBLISH_INTERVAL + 1)
    before = beta.disk.sequence
    for number in range(100):
        address = f"198.51.100.{100 + number}"
        beta.node.places.set_local([(address, PORT)], mesh.world.now)
        beta.settle()
        mesh.run(0.1)
    assert beta.disk.sequence - before <= PUBLISH_BURST + 10 / PUBLISH_INTERVAL
    mesh.run(2 * PUBLISH_INTERVAL)
    assert ("198.51.100.199", PORT) in told(alpha, beta)


def test_named_endpoints_come_first() -> None:
    mesh = Mesh()
    named = ("192.0.2.44", 4444)
    alpha = mesh.alpha()
    beta = mesh.host("beta", config=replace(CONFIG, endpoints=(named,)))
    mesh.connect(alpha, beta)
    mesh.run(1)
    assert told(alpha, beta) == (named, *beta.endpoints)


def test_a_node_that_does_not_relay_says_so() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    beta = mesh.host("beta", config=replace(CONFIG, relays=False))
    mesh.connect(alpha, beta)
    mesh.run(1)
    (one, other) = (alpha.peer(beta).record, beta.peer(alpha).record)
    assert one is not None
    assert other is not None
    assert (one.relays, other.relays) == (False, True)


def test_nothing_leaves_that_rests_on_a_sequence_or_counter_not_on_disk() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta", start=False)
    beta.disk.full = True
    beta.start()
    mesh.run(3)
    assert [d for d in mesh.sent if d.host == "beta"] == []
    beta.disk.full = False
    mesh.connect(alpha, beta)
    assert mesh.kinds()[DATA]
    assert 0 < alpha.peer(beta).last_counter <= beta.disk.counter


def test_what_comes_with_gossip_counts_as_told_by_who_sent_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    dialogue, told = alpha.node._dialogue, list[NodeId]()
    assert dialogue.telling == alpha.node._authority.hear
    monkeypatch.setattr(dialogue, "telling", told.append)
    mesh.run(5)
    assert told
    assert told == [beta.identity.id, alpha.identity.id] * (len(told) // 2)
