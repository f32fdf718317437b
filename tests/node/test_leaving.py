"""Leaving for good, and what is left of who left."""

from __future__ import annotations

from dataclasses import replace

from gossip import RecordKind
from meshd.node.chain import TrustStore
from meshd.node.grants import Grants
from meshd.node.identity import Identity, join
from meshd.node.leaving import has_left
from meshd.node.minting import make_csr
from meshd.node.outputs import AuthFailure, PeerChanged, PersistLedger
from tests.node.meshes import NOW, issuer_of, make_key, make_reply
from tests.node.test_renewer import second_issuer
from tests.node.virtual import CONFIG, Host, Mesh

DAY = 86_400.0


def leave(host: Host, within: float = 5.0) -> bool:
    """What `meshd leave` has the node do: tell it, then stop."""
    told = host.node.leave(host.mesh.world.now)
    host.settle()
    host.mesh.until(lambda: host.node.has_left, within)
    host.stop()
    return told


def refuses(host: Host, certificate_of: Identity) -> bool:
    """Whether `host` takes this certificate for void."""
    return host.identity.trust.is_void(certificate_of.certificate)


def restart(host: Host) -> None:
    """End and start a host; only its disk is left of what it learnt."""
    trust = host.identity.trust
    fresh = TrustStore(trust.root.der, [item.der for item in trust.issuers])
    host.kill()
    host.identity = replace(host.identity, trust=fresh)
    host.start()


def admitted(mesh: Mesh, seed: int, name: str, grants: Grants | None = None) -> Identity:
    """A certificate that the founder's issuer gives to the key of `seed` now."""
    now, key = NOW + mesh.world.now, make_key(seed)
    draw = mesh.world.stream(f"admitted/{mesh.next_token()}").randbytes
    issuer = issuer_of(mesh.founder)
    certificate = issuer.issue(make_csr(key, name), grants or Grants(), (), now, draw)
    return join(key, mesh.founder.mesh.mesh_id, make_reply(mesh.founder, certificate), now)


def test_who_leaves_is_out_everywhere_and_shown_as_left() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(3)
    assert leave(gamma)
    for host in (alpha, beta):
        assert refuses(host, gamma.identity)
        assert host.peer(gamma).state == "left"
        assert host.peer(gamma).name == "gamma"
        assert host.peer(gamma).sessions() == []
        assert host.node.route(gamma.identity.certificate.address4) == (None, None)
        held = host.node.gossip.record(gamma.identity.id, RecordKind.CERTIFICATE)
        assert held is not None
        assert held.withdrawn
        assert [e.event for e in host.told(PeerChanged) if e.event == "left"] == ["left"]


def test_who_left_gets_no_session_with_the_certificate_it_left_with() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(3)
    leave(gamma)
    gamma.start()
    mesh.run(30)
    assert not gamma.ready(alpha)
    assert not gamma.ready(beta)
    assert alpha.peer(gamma).state == beta.peer(gamma).state == "left"
    assert alpha.drops["certificate-left"] > 0
    assert AuthFailure("certificate-left", None) in beta.told(AuthFailure)


def test_a_departure_outlasts_restarts_and_the_memory_of_the_member() -> None:
    mesh = Mesh()
    config = replace(CONFIG, gossip=replace(CONFIG.gossip, retention=600.0))
    alpha, beta = mesh.alpha(config), mesh.host("beta", config=config)
    gamma = mesh.host("gamma", config=config)
    mesh.connect(alpha, beta, gamma)
    mesh.run(3)
    leave(gamma)
    restart(alpha)
    mesh.connect(alpha, beta)
    mesh.run(1)
    assert refuses(alpha, gamma.identity)
    assert alpha.peer(gamma).state == "left"
    assert alpha.peer(gamma).name == "gamma"
    mesh.run(1300)
    assert gamma.identity.id not in alpha.node.state.peers
    restart(alpha)
    mesh.connect(alpha, beta)
    assert refuses(alpha, gamma.identity)
    assert gamma.identity.id not in alpha.node.state.peers
    late = mesh.host("late", config=config)
    mesh.until(lambda: refuses(late, gamma.identity), within=60)
    assert gamma.identity.id not in late.node.state.peers


def test_a_departure_is_forgotten_when_its_certificate_would_have_ended() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(3)
    record = gamma.identity.id, RecordKind.DEPARTURE
    leave(gamma)
    assert alpha.node.gossip.record(*record) is not None
    for host in (alpha, beta):
        # Its own certificate has ended, too, by then: nothing is tried but to forget.
        host.node.set_clock(NOW + 100 * DAY, mesh.world.now)
    mesh.run(3700)
    for host in (alpha, beta):
        assert host.node.gossip.record(*record) is None
        assert len(host.identity.trust.departed) == 0


def test_who_was_cut_off_hears_of_the_departure_after_healing() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(3)
    mesh.network.split([["198.51.100.1", "198.51.100.3"], ["198.51.100.2"]])
    mesh.run(60)
    leave(gamma)
    assert refuses(alpha, gamma.identity)
    mesh.run(600)
    assert not refuses(beta, gamma.identity)
    mesh.network.heal()
    mesh.until(lambda: refuses(beta, gamma.identity), within=90)
    assert beta.peer(gamma).state == "left"


def test_a_certificate_issued_later_brings_the_same_key_back_at_once() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(3)
    leave(gamma)
    mesh.run(5)
    again = admitted(mesh, 3, "gamma")
    assert again.id == gamma.identity.id
    gamma.identity = again
    gamma.start()
    mesh.connect(alpha, beta, gamma, within=5)
    mesh.run(2)
    assert alpha.peer(gamma).state == beta.peer(gamma).state == "alive"
    assert gamma.ping(alpha) is not None
    alpha.send(gamma, b"welcome")
    mesh.run(1)
    assert gamma.packets
    # The departure is still known, and still makes void what it made void.
    assert alpha.node.gossip.record(again.id, RecordKind.DEPARTURE) is not None
    restart(beta)
    mesh.connect(beta, gamma, alpha)
    mesh.until(lambda: beta.peer(gamma).state == "alive", within=5)


def test_the_same_key_comes_back_though_its_state_was_lost_with_it() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(3)
    leave(gamma)
    mesh.run(5)
    gamma.identity = admitted(mesh, 3, "gamma")
    gamma.disk.sequence = 0
    gamma.disk.records = mesh.first_records()
    gamma.start()
    mesh.connect(alpha, beta, gamma, within=20)
    mesh.until(lambda: alpha.peer(gamma).state == beta.peer(gamma).state == "alive", within=20)


def test_the_departure_may_come_after_the_new_certificate() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(3)
    beta.kill()
    leave(gamma)
    mesh.run(5)
    gamma.identity = admitted(mesh, 3, "gamma")
    gamma.start()
    beta.start()
    mesh.connect(alpha, beta, gamma, within=30)
    held = RecordKind.DEPARTURE
    mesh.until(lambda: beta.node.gossip.record(gamma.identity.id, held) is not None, within=60)
    mesh.run(60)
    assert beta.peer(gamma).state == "alive"
    assert beta.ready(gamma)


def test_an_issuer_that_left_keeps_its_name_so_that_its_ca_can_be_revoked_by_it() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    second = mesh.host("second", identity=second_issuer(mesh.founder))
    mesh.connect(alpha, beta, second)
    mesh.run(3)
    leave(second)
    assert refuses(alpha, second.identity)
    ledger = issuer_of(mesh.founder).ledger
    assert ledger.get(second.identity.id) is not None
    assert admitted(mesh, 70, "second").name == "second-2"
    planned = alpha.node.credentials.plan_revocation("second", mesh.world.now)
    authority = issuer_of(second.identity).certificate
    assert authority.node in planned.lists[0].nodes
    alpha.node.credentials.revoke(planned, mesh.world.now)
    assert alpha.identity.trust.is_revoked(authority)


def test_name_and_address_are_free_and_the_invitation_that_was_used_is_void() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    token, _ = mesh.invite(alpha, Grants(name="gamma"))
    candidate = mesh.candidate(token, 30)
    mesh.until(lambda: candidate.joiner.done, within=5)
    gamma = mesh.host("gamma", identity=candidate.identity())
    mesh.connect(alpha, beta, gamma)
    mesh.run(3)
    address = gamma.identity.certificate.address4
    leave(gamma)
    assert issuer_of(mesh.founder).ledger.get(gamma.identity.id) is None
    assert alpha.told(PersistLedger) == []  # it went to the disk
    assert alpha.disk.ledgers == 2
    again = mesh.candidate(token, 30)
    mesh.run(12)
    assert again.joiner.reply is None
    other, _ = mesh.invite(alpha, Grants(name="gamma"))
    successor = mesh.candidate(other, 30)
    mesh.until(lambda: successor.joiner.done, within=5)
    certificate = successor.identity().certificate
    assert (certificate.name, certificate.address4) == ("gamma", address)
    assert not alpha.identity.trust.is_void(certificate)


def test_a_node_knows_by_its_own_records_that_it_left_until_it_is_admitted_again() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(3)
    assert not has_left(beta.identity, beta.node.records())
    beta.node.leave(mesh.world.now)
    records = beta.node.records()
    assert has_left(beta.identity, records)
    assert not has_left(alpha.identity, records)
    mesh.run(3)
    assert not has_left(admitted(mesh, 2, "beta"), records)


def test_a_departure_that_proves_nothing_is_not_admitted() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    for body in (b"junk", b"\x80", b""):
        record = beta.node.gossip.record(beta.identity.id, RecordKind.MEMBER)
        assert record is not None
        beta.node.gossip.publish(RecordKind.DEPARTURE, body, mesh.world.now)
        beta.settle()
        mesh.run(2)
        assert alpha.node.gossip.record(beta.identity.id, RecordKind.DEPARTURE) is None
    stolen = alpha.node.gossip.record(alpha.identity.id, RecordKind.CERTIFICATE)
    assert stolen is not None
    beta.node.gossip.publish(RecordKind.DEPARTURE, stolen.body, mesh.world.now)
    mesh.run(2)
    assert not refuses(beta, alpha.identity)
    assert alpha.ready(beta)
