"""Routes and revocations of nodes that this one never met: believed once their certificate is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from random import Random

import pytest

from gossip import GossipProtocol, NodeId, RecordKind
from meshd.node.authority import MeshAuthority
from meshd.node.chain import TrustStore
from meshd.node.grants import Grants
from meshd.node.handshaking import Handshakes
from meshd.node.identity import join
from meshd.node.inquiry import AGAIN, AGAIN_MAX, GIVE_UP, MAX_STALE, PATIENCE, Inquiry
from meshd.node.minting import make_csr
from meshd.node.records import (
    ListNote,
    decode_node_record,
    encode_chain,
    encode_revocations,
    encode_routes,
)
from meshd.node.revocation import key_entry, make_list
from tests.node.couples import make_peer, make_state
from tests.node.meshes import NOW, bytes_of, issuer_of, make_key, make_mesh, make_reply
from tests.node.test_authority import ALPHA, BETA, certificate, member, record, whereabouts
from tests.node.test_membership import ROUTER, ROUTES
from tests.node.test_renewer import second_issuer
from tests.node.test_seeking import PARTIAL
from tests.node.virtual import Datagram, Host, Mesh, packet

# One node


class Asking:
    """An inquiry of `alpha`'s whose lookups a test answers."""

    def __init__(self) -> None:
        self.state = make_state(ALPHA)
        self.authority = MeshAuthority(ALPHA, NOW)
        self.gossip = GossipProtocol(
            ALPHA.id,
            ALPHA.certificate.public_key,
            self.state.config.gossip,
            self.authority,
            Random(1),
            0.0,
            1,
        )
        self.asked: list[bytes] = []
        self.gossip.lookup = lambda key, now: self.asked.append(key)  # type: ignore[method-assign]
        self.inquiry = Inquiry(self.gossip, self.authority, Handshakes(self.state, 0.0))


@pytest.fixture
def asking() -> Asking:
    return Asking()


def hear(asking: Asking, seed: int) -> NodeId:
    """A ROUTES record comes of a node that nobody told of; its id."""
    router = member(seed, ROUTER)
    told = record(router, RecordKind.ROUTES, encode_routes(["10.0.0.0/8"]))
    assert not asking.gossip.accept(told, 0.0)
    return router.id


def test_the_unknown_are_looked_up_one_at_a_time_and_only_after_a_moment(asking: Asking) -> None:
    first, second = hear(asking, 21), hear(asking, 22)
    asking.inquiry.run(0.0)
    assert asking.asked == []
    asking.inquiry.run(PATIENCE)
    asking.inquiry.run(PATIENCE + 1)
    assert asking.asked == [first]
    asking.inquiry.ended(second, None, PATIENCE + 1)  # somebody else's lookup
    assert asking.asked == [first]
    asking.inquiry.ended(first, None, PATIENCE + 1)
    assert asking.asked == [first, second]


def test_who_is_not_found_is_asked_for_again_ever_more_rarely(asking: Asking) -> None:
    node, now, pauses = hear(asking, 21), 0.0, []
    asking.inquiry.run(now)
    for _ in range(12):
        began = now
        while asking.asked == []:
            now += 0.5
            asking.inquiry.run(now)
        pauses.append(now - began)
        asking.asked.clear()
        asking.inquiry.ended(node, None, now)
    assert pauses[:4] == [PATIENCE, AGAIN, 2 * AGAIN, 4 * AGAIN]
    assert pauses[-1] == AGAIN_MAX


def test_a_lookup_that_is_never_answered_holds_nobody_up_for_long(asking: Asking) -> None:
    first, second = hear(asking, 21), hear(asking, 22)
    asking.inquiry.run(0.0)
    asking.inquiry.run(PATIENCE)
    asking.authority.waiting(first)
    asking.inquiry.run(PATIENCE + GIVE_UP)
    assert asking.asked == [first, second]


def test_nobody_is_looked_up_whose_certificate_came_meanwhile(asking: Asking) -> None:
    hear(asking, 21)
    asking.inquiry.run(0.0)
    router = member(21, ROUTER)
    assert asking.gossip.accept(certificate(router), 0.0)
    for told in asking.authority.waiting(router.id):
        assert asking.gossip.accept(told, 0.0)
    asking.inquiry.run(PATIENCE)
    assert asking.asked == []


def test_who_does_not_answer_is_looked_up_anew_within_bounds(asking: Asking) -> None:
    asking.inquiry.refresh(BETA.id)
    asking.inquiry.run(5.0)
    assert asking.asked == [BETA.id]
    peer = make_peer(BETA)
    peer.last_error = "no answer to the handshake"
    asking.inquiry.ended(BETA.id, peer, 5.0)
    assert peer.last_error is None
    asking.inquiry.run(100.0)
    assert asking.asked == [BETA.id]
    for number in range(MAX_STALE + 5):
        asking.inquiry.refresh(NodeId(bytes([number]) * 16))
    for _ in range(MAX_STALE + 5):
        asking.inquiry.run(200.0)
        asking.inquiry.ended(asking.asked[-1], None, 200.0)
    assert len(asking.asked) == 1 + MAX_STALE


def test_one_whose_certificate_fits_no_record_is_called(asking: Asking) -> None:
    asking.inquiry.refresh(BETA.id)
    asking.inquiry.run(0.0)
    peer = make_peer(BETA)
    peer.certificate, peer.record = None, decode_node_record(whereabouts(BETA).body)
    asking.inquiry.ended(BETA.id, peer, 0.0)
    assert peer.attempt is not None


def test_of_the_publishers_of_lists_the_unknown_wait_and_the_revoked_do_not() -> None:
    issuer = second_issuer(ALPHA, 77)
    authority = MeshAuthority(ALPHA, NOW)
    own = issuer_of(issuer)
    listed = make_list(own.key, own.certificate, 1, {5: NOW}, NOW)
    note = ListNote(listed.authority, 1, listed.digest)
    told = record(issuer, RecordKind.REVOCATIONS, encode_revocations([note]))
    assert not authority.admits(told)
    assert authority.unknown() == [issuer.id]
    assert authority.admits(certificate(issuer))
    assert authority.waiting(issuer.id) == [told]
    assert authority.admits(told)
    assert authority.unknown() == []
    stranger = MeshAuthority(ALPHA, NOW)
    proof = own.prove_holder(ALPHA.mesh.mesh_id, issuer.id)
    whole = replace(note, shown=listed.der, proof=proof)
    assert stranger.admits(record(issuer, RecordKind.REVOCATIONS, encode_revocations([whole])))
    assert stranger.unknown() == [issuer.id]
    named = make_list(own.key, own.certificate, 2, {key_entry(issuer.id): NOW}, NOW)
    ALPHA.trust.add_crl(named.der)
    assert stranger.unknown() == []


def test_a_departure_waits_for_the_ca_of_who_left() -> None:
    mesh = make_mesh(seed=4)
    second = second_issuer(mesh)
    own = issuer_of(second)
    leaver = make_key(60)
    leaf = own.issue(make_csr(leaver, "gamma"), Grants(), (), NOW, bytes_of(61))
    reply = make_reply(mesh, leaf)
    gone = join(leaver, mesh.mesh.mesh_id, reply, NOW)
    alone = replace(gone, trust=TrustStore(mesh.trust.root.der))
    authority = MeshAuthority(replace(mesh, trust=alone.trust), NOW)
    body = encode_chain(gone.chain[:1])
    assert body is not None
    told = record(gone, RecordKind.DEPARTURE, body)
    assert not authority.admits(told)
    assert authority.unknown() == []
    alone.trust.add_issuer(own.certificate.der)
    assert authority.awaiting_ca() == [told]
    assert authority.awaiting_ca() == []
    assert authority.admits(told)


def test_the_lists_of_a_ca_that_is_not_known_wait_for_it() -> None:
    mesh = make_mesh(seed=4)
    second = second_issuer(mesh)
    own = issuer_of(second)
    trust = TrustStore(mesh.trust.root.der)
    authority = MeshAuthority(replace(mesh, trust=trust), NOW)
    listed = make_list(own.key, own.certificate, 1, {5: NOW}, NOW)
    proof = own.prove_holder(mesh.mesh.mesh_id, second.id)
    note = ListNote(listed.authority, 1, listed.digest, listed.der, proof)
    told = record(second, RecordKind.REVOCATIONS, encode_revocations([note]))
    assert not authority.admits(told)
    trust.add_issuer(own.certificate.der)
    assert authority.awaiting_ca() == [told]
    assert authority.admits(told)
    shown = replace(note, shown=listed.der + own.certificate.der)
    told = record(second, RecordKind.REVOCATIONS, encode_revocations([shown]), 2)
    fresh = replace(mesh, trust=TrustStore(mesh.trust.root.der))
    assert MeshAuthority(fresh, NOW).admits(told), "it came along"


# A mesh in which nobody knows everybody

ALONE = replace(PARTIAL, relays=False)
TARGET = IPv4Address("10.1.2.3")


class Apart:
    """A filter that lets two hosts hear nothing of each other, wherever they are."""

    def __init__(self, mesh: Mesh, one: str, other: str) -> None:
        self.hosts = [mesh.hosts[one], mesh.hosts[other]]
        self.on = True
        mesh.filters.append(self.judge)

    def judge(self, datagram: Datagram) -> bytes | None:
        ends = [{address for address, _ in host.endpoints} for host in self.hosts]
        path = (datagram.source[0], datagram.destination[0])
        between = any(path[0] in ends[n] and path[1] in ends[1 - n] for n in (0, 1))
        return None if self.on and between else datagram.payload


@dataclass
class Scene:
    """Nine hosts that keep four neighbours each. `far` never hears who offers a route, nor the
    second issuer: it learns of them by gossip, and their certificates by lookup or not at all."""

    mesh: Mesh
    far: Host
    router: Host
    second: Host
    apart: Apart

    def has_route(self) -> bool:
        """Whether `far` knows where packets to `TARGET` go."""
        peer = self.far.node.route(TARGET)[0]
        return peer is not None and peer.id == self.router.identity.id


@pytest.fixture
def scene() -> Scene:
    mesh = Mesh()
    alpha = mesh.alpha(ALONE)
    own = [r.encode() for r in alpha.node.records() if r.subject == alpha.identity.id]
    routed = replace(ALONE, routes=ROUTES.routes)
    hosts = [mesh.host("router", config=routed, grants=ROUTER, start=False)]
    identity = second_issuer(mesh.founder)
    hosts.append(mesh.host("second", config=ALONE, identity=identity, start=False))
    hosts += [mesh.host(f"host{n}", config=ALONE, start=False) for n in range(5)]
    hosts.append(mesh.host("far", config=ALONE, start=False))
    apart = Apart(mesh, "far", "router")
    Apart(mesh, "far", "second")
    for host in hosts:
        host.disk.records = tuple(own)
        host.start()
        mesh.run(0.5)
    return Scene(mesh, mesh.hosts["far"], mesh.hosts["router"], mesh.hosts["second"], apart)


def test_routes_of_one_that_was_never_met_are_known_and_stay_so_over_a_restart(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshd.node.seeking.IDLE_AFTER", 20.0)
    mesh, far, router = scene.mesh, scene.far, scene.router
    mesh.until(scene.has_route, within=60)
    assert far.node.gossip.is_partial
    assert far.node.gossip.member(router.identity.id) is None
    mesh.run(40)
    assert scene.has_route()
    far.kill()
    far.start()
    mesh.until(scene.has_route, within=30)
    assert not router.packets

    def arrived() -> bool:
        far.write(packet(far.identity.certificate.address4, TARGET, b"through"))
        mesh.run(0.5)
        return any(data.endswith(b"through") for data in router.packets)

    refreshed: list[NodeId] = []
    monkeypatch.setattr(far.node._membership.seeking, "refresh", refreshed.append)
    assert not arrived()
    mesh.run(20)
    assert router.identity.id in refreshed
    assert scene.has_route()
    scene.apart.on = False
    mesh.until(arrived, within=30)


def test_a_list_too_large_for_a_record_is_obeyed_though_its_issuer_was_never_met(
    scene: Scene,
) -> None:
    mesh, far, second = scene.mesh, scene.far, scene.second
    villain = mesh.hosts["host4"]
    mesh.run(20)
    own = issuer_of(second.identity)
    entries = [key_entry(villain.identity.id), *range(1 << 62, (1 << 62) + 60)]
    listed = make_list(own.key, own.certificate, 1, dict.fromkeys(entries, NOW), NOW)
    second.node.credentials.lists.put_in_force(listed, mesh.world.now)
    second.settle()
    mesh.until(lambda: far.identity.trust.list_of(listed.authority) == listed, within=60)
    assert far.identity.trust.is_revoked(villain.identity.certificate)
    assert far.node.gossip.member(second.identity.id) is None
