"""Handshakes between whole nodes: begun, lost, crossed, replayed, forged, under load."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from itertools import pairwise

import pytest

from meshd.node.chain import TrustStore
from meshd.node.cookies import COOKIE_REPLY_SIZE
from meshd.node.errors import RemoteError
from meshd.node.grants import Grants
from meshd.node.handshake import HANDSHAKE_SIZE, Initiator, Purpose
from meshd.node.handshaking import MAX_SENDS
from meshd.node.identity import found, join
from meshd.node.minting import make_csr
from meshd.node.noise import suite_by_name
from meshd.node.outputs import AuthFailure
from meshd.node.payloads import MemberPayload
from meshd.node.session import REJECT_AFTER, REKEY_AFTER
from meshd.node.unproven import LastCounters
from meshd.node.wire import COOKIE, INITIATION, RELAY_SIZE, RESPONSE, Endpoint
from simulations.nat import NatKind
from tests.node.handshakes import resealed
from tests.node.meshes import NOW, Forgery, admit, bytes_of, issuer_of, make_key, make_reply, raw
from tests.node.meshes import names as alternative_names
from tests.node.virtual import QUIET, Datagram, Host, Mesh, lose, many_routes

STRANGER: Endpoint = ("192.0.2.66", 4000)


def initiations(mesh: Mesh, host: Host) -> list[Datagram]:
    return [d for d in mesh.sent if d.kind == INITIATION and d.host == host.name]


def reconnect(mesh: Mesh, one: Host, other: Host) -> None:
    """Run until both send in a session that neither had before."""
    old = one.peer(other).current, other.peer(one).current
    mesh.until(
        lambda: (
            one.peer(other).current not in (None, old[0])
            and other.peer(one).current not in (None, old[1])
        ),
        20,
    )


def junk(receiver: Host, number: int = 0) -> bytes:
    """An initiation with the right mac1 and nothing else: all that a stranger can make."""
    body = bytes((1, 1, 0, 0)) + number.to_bytes(4, "big") + bytes(HANDSHAKE_SIZE - 8)
    return resealed(body, receiver.identity.static_public)


def forged(receiver: Host, payload: MemberPayload, secret: bytes, seed: int = 9) -> bytes:
    """An initiation that a liar with any static key can make."""
    identity, rng = receiver.identity, bytes_of(seed)
    static = Mesh(seed=99).admit(seed, "mallory").static
    return Initiator(
        suite_by_name(identity.mesh.cipher),
        identity.mesh.mesh_id,
        Purpose.MEMBER,
        static,
        identity.static_public,
        secret,
        rng(32),
        7,
    ).message(payload)


# Two honest nodes


@pytest.mark.parametrize("cipher", ["aes256gcm", "chacha20poly1305"])
def test_one_round_trip_connects_and_the_first_packet_arrives(cipher: str) -> None:
    mesh = Mesh(cipher=cipher)
    alpha, beta = mesh.alpha(), mesh.host("beta")
    assert mesh.connect(alpha, beta) < 0.035
    assert (mesh.kinds()[INITIATION], mesh.kinds()[RESPONSE]) == (1, 1)
    alpha.send(beta, b"to beta")
    beta.send(alpha, b"to alpha")
    mesh.run(0.1)
    assert beta.packets[0].endswith(b"to beta")
    assert alpha.packets[0].endswith(b"to alpha")
    assert (alpha.drops.total(), beta.drops.total()) == (0, 0)


def test_both_may_begin_at_once() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(2)
    alpha.kill()
    beta.kill()
    mesh.run(5)
    restarted = mesh.world.now
    alpha.start()
    beta.start()
    mesh.connect(alpha, beta)
    begun = [d.host for d in mesh.sent if d.kind == INITIATION and d.time == restarted]
    assert begun == ["alpha", "beta"]
    alpha.send(beta, b"one")
    beta.send(alpha, b"two")
    mesh.run(1)
    assert (len(alpha.packets), len(beta.packets)) == (1, 1)
    began = len(initiations(mesh, alpha)) + len(initiations(mesh, beta))
    mesh.run(60)
    assert len(initiations(mesh, alpha)) + len(initiations(mesh, beta)) == began
    assert alpha.drops["decrypt"] == beta.drops["decrypt"] == 0


@pytest.mark.parametrize(("kind", "count"), [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2)])
def test_a_lost_message_is_made_good(kind: int, count: int) -> None:
    mesh = Mesh()
    mesh.filters.append(lose(kind, count))
    alpha, beta = mesh.alpha(), mesh.host("beta")
    mesh.connect(alpha, beta)
    assert mesh.world.now < (5 if count > 1 or kind == 4 else 2)
    assert alpha.ping(beta)


def test_nodes_connect_though_a_third_of_everything_is_lost() -> None:
    mesh = Mesh(conditions=replace(QUIET, loss=0.33, duplicate=0.1, reorder=0.2))
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma, within=60)


def test_an_unreachable_member_is_tried_ever_more_seldom() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.network.block("198.51.100.1", "198.51.100.2")
    mesh.network.block("198.51.100.2", "198.51.100.1")
    beta.kill()
    beta.start()
    began = mesh.world.now
    mesh.run(60)
    times = [d.time - began for d in initiations(mesh, beta) if d.time >= began]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) < 12
    assert max(pauses) > 8
    assert beta.peer(alpha).last_error == "no answer to the handshake"


# Sessions end and follow one another


def test_traffic_goes_on_through_a_rekey_and_nothing_is_lost() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    began, first = mesh.world.now, alpha.peer(beta).current
    assert first is not None
    sent = 0
    while mesh.world.now < began + REKEY_AFTER + 20:
        alpha.send(beta, b"a%d" % sent)
        beta.send(alpha, b"b%d" % sent)
        sent += 1
        mesh.run(0.02 if abs(mesh.world.now - began - REKEY_AFTER) < 20 else 1.0)
    mesh.run(1)
    assert [p[20:] for p in beta.packets] == [b"a%d" % n for n in range(sent)]
    assert [p[20:] for p in alpha.packets] == [b"b%d" % n for n in range(sent)]
    second = alpha.peer(beta).current
    assert second is not None
    assert second is not first
    assert first.created_at + REKEY_AFTER <= second.created_at < first.created_at + REKEY_AFTER + 6
    mesh.run(REJECT_AFTER - REKEY_AFTER)
    assert first.local_index not in alpha.node.state.sessions
    assert len(alpha.node.state.sessions) <= 3


def test_a_session_that_could_not_be_renewed_ends() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.filters.append(lambda d: None if d.kind == INITIATION else d.payload)
    mesh.run(REJECT_AFTER - 1)
    assert alpha.ready(beta)
    mesh.run(10)
    assert not alpha.ready(beta)
    assert alpha.node.state.sessions == {}


# Replays


def test_a_replayed_initiation_changes_neither_session_nor_endpoint() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    first = initiations(mesh, beta)[0]
    mesh.run(3)
    session, path = alpha.peer(beta).current, alpha.peer(beta).path
    for source in (first.source, STRANGER):
        assert alpha.receive(first.payload, source) == []
    assert alpha.drops["handshake-replay"] == 2
    mesh.run(3)
    assert alpha.peer(beta).current is session
    assert alpha.peer(beta).path is path
    assert alpha.peer(beta).next_session is None
    assert all(d.destination != STRANGER for d in mesh.sent)


def test_a_replay_is_refused_before_its_chain_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    initiation = initiations(mesh, beta)[0].payload

    def verify(*_: object) -> object:
        raise AssertionError("a replay cost a verification")

    monkeypatch.setattr(TrustStore, "verify", verify)
    alpha.receive(initiation, STRANGER)
    assert alpha.drops["handshake-replay"] == 1


def test_a_replay_is_refused_though_its_key_was_forgotten() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    alpha.node._handshakes._members = LastCounters()
    assert alpha.receive(initiations(mesh, beta)[0].payload, STRANGER) == []
    assert alpha.drops["handshake-replay"] == 1


def test_a_replay_to_a_restarted_responder_takes_nothing_over() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    old = initiations(mesh, beta)[0]
    mesh.run(3)
    alpha.kill()
    alpha.start()
    mesh.until(lambda: alpha.ready(beta) and alpha.peer(beta).last_counter == 0, 10)
    mesh.run(1)
    session, path = alpha.peer(beta).current, alpha.peer(beta).path
    answers = alpha.receive(old.payload, STRANGER)
    # It was made by beta, and this alpha has never seen it: it is answered, at its own size.
    assert [(d.kind, len(d.payload)) for d in answers] == [(RESPONSE, len(old.payload))]
    assert alpha.receive(old.payload, STRANGER) == []
    mesh.run(5)
    assert alpha.peer(beta).current is session
    assert alpha.peer(beta).path is path
    assert alpha.ping(beta)
    assert alpha.peer(beta).paths.direct(STRANGER) is None


def test_a_replay_does_not_bring_back_an_older_certificate() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    old = initiations(mesh, beta)[0].payload
    newer = issuer_of(mesh.founder).issue(
        make_csr(beta.identity.node_key, "beta"),
        Grants(name="beta", groups=("web",)),
        (),
        NOW + 60,
        bytes_of(77),
    )
    reply = make_reply(mesh.founder, newer)
    beta.kill()
    beta.identity = join(beta.identity.node_key, mesh.founder.mesh.mesh_id, reply, NOW + 60)
    alpha.kill()
    mesh.run(60)
    beta.start()
    alpha.start()
    mesh.connect(alpha, beta)
    mesh.run(2)
    assert alpha.peer(beta).certificate == newer
    alpha.peer(beta).last_counter = 0
    alpha.node._handshakes._members.take(beta.identity.static_public, 0)
    assert len(alpha.receive(old, STRANGER)) == 1
    assert alpha.peer(beta).certificate == newer


def test_counters_grow_though_the_clock_went_back() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(1)
    before = alpha.peer(beta).last_counter
    assert before > 0
    beta.kill()
    beta.skew = -3600.0
    beta.start()
    reconnect(mesh, alpha, beta)
    assert alpha.peer(beta).last_counter == before + 1


# Under load


def flood(host: Host, count: int = 150) -> list[Datagram]:
    """Initiations with the right mac1 from spoofed addresses; what they were answered with."""
    answers = []
    for number in range(count):
        answers += host.receive(junk(host, number), (f"192.0.2.{number % 250}", 1000 + number))
    return answers


def test_under_load_only_the_right_mac1_is_answered_and_only_with_a_cookie() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    answers = flood(alpha)
    assert len(answers) == alpha.drops["handshake-load"] > 40
    assert {(d.kind, len(d.payload)) for d in answers} == {(COOKIE, COOKIE_REPLY_SIZE)}
    wrong = bytearray(junk(alpha))
    wrong[-32] ^= 1
    assert alpha.receive(bytes(wrong), STRANGER) == []
    assert alpha.drops["handshake-mac1"] == 1
    mesh.run(3)
    assert alpha.receive(junk(alpha), STRANGER) == []
    assert alpha.drops["handshake-load"] == len(answers)


def test_an_initiator_comes_again_with_the_cookie() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta", start=False)
    flood(alpha)
    beta.start()
    assert mesh.connect(alpha, beta) < 0.055
    first, second = initiations(mesh, beta)
    assert first.payload[:-16] == second.payload[:-16]
    assert first.payload[-16:] == bytes(16) != second.payload[-16:]


def test_cookies_without_end_bring_few_initiations() -> None:
    mesh = Mesh()
    mesh.filters.append(lose(RESPONSE, 1000))
    alpha, beta = mesh.alpha(), mesh.host("beta", start=False)
    flood(alpha)
    beta.start()
    mesh.run(0.1)
    cookie = next(d for d in mesh.sent if d.kind == COOKIE and d.destination in beta.endpoints)
    for _ in range(50):
        beta.receive(cookie.payload, cookie.source)
    mesh.run(0.1)
    assert 2 < len(initiations(mesh, beta)) <= MAX_SENDS
    mesh.run(2)
    assert len(initiations(mesh, beta)) > MAX_SENDS


def test_a_cookie_is_good_for_one_address_and_not_for_a_flood() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta", start=False)
    flood(alpha)
    beta.start()
    mesh.connect(alpha, beta)
    shown = initiations(mesh, beta)[1]
    before = alpha.drops["handshake-load"]
    assert [d.kind for d in alpha.receive(shown.payload, STRANGER)] == [COOKIE]
    assert alpha.drops["handshake-load"] == before + 1
    for _ in range(20):
        assert alpha.receive(shown.payload, shown.source) == []
    assert alpha.drops["handshake-rate"] >= 15


def relayed_pair(mesh: Mesh) -> tuple[Host, Host, Host]:
    alpha = mesh.alpha()
    gamma, delta = (mesh.host(name, NatKind.SYMMETRIC) for name in ("gamma", "delta"))
    mesh.connect(alpha, gamma, delta)
    mesh.run(2)
    return alpha, gamma, delta


def test_a_relayed_path_has_a_rate_of_its_own() -> None:
    mesh = Mesh()
    _, gamma, delta = relayed_pair(mesh)
    path = delta.peer(gamma).path
    assert path is not None
    session = delta.peer(gamma).current
    for number in range(200):
        assert delta.receive(path.prefix + junk(delta, number), path.endpoint) == []
    assert delta.drops["handshake-rate"] > 180
    assert delta.drops["handshake-load"] == 0
    assert delta.peer(gamma).current is session


def test_under_load_relayed_initiations_are_dropped() -> None:
    mesh = Mesh()
    _, gamma, delta = relayed_pair(mesh)
    path = delta.peer(gamma).path
    assert path is not None
    flood(delta)
    before = delta.drops["handshake-load"]
    assert delta.receive(path.prefix + junk(delta), path.endpoint) == []
    assert delta.drops["handshake-load"] == before + 1


# Those who are no members


def test_an_initiation_for_another_mesh_or_another_key_is_not_answered() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    other = found("alpha", "other", IPv4Network("100.64.0.0/16"), "aes256gcm", NOW, bytes_of(8))
    payload = MemberPayload.of(1, 0, beta.identity.static_signature, beta.identity.chain)
    suite = suite_by_name("aes256gcm")
    for mesh_id, static, reason in (
        (other.mesh.mesh_id, alpha.identity.static_public, "handshake-decrypt"),
        (alpha.identity.mesh.mesh_id, other.static_public, "handshake-mac1"),
    ):
        own, secret = beta.identity.static, beta.identity.mesh_secret
        side = Initiator(suite, mesh_id, Purpose.MEMBER, own, static, secret, b"e" * 32, 7)
        assert alpha.receive(side.message(payload), STRANGER) == []
        assert alpha.drops[reason] == 1


def test_who_lacks_the_meshs_secret_gets_no_session() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta", start=False)
    beta.identity = replace(beta.identity, mesh_secret=bytes(32))
    beta.start()
    mesh.run(10)
    assert not beta.ready(alpha)
    assert not alpha.ready(beta)
    assert beta.drops["handshake-decrypt"] > 1
    assert mesh.kinds()[4] == 0


def refused(certificate: bytes, key_seed: int, reason: str, mesh: Mesh) -> None:
    """A liar with his own static key, vouched for by his own key, shows this certificate."""
    alpha = mesh.alpha()
    static = Mesh(seed=99).admit(9, "mallory").static.public_key().public_bytes_raw()
    signature = make_key(key_seed).sign(b"aegisray static\0" + mesh.founder.mesh.mesh_id + static)
    payload = MemberPayload.of(NOW_NS, 0, signature, (certificate, *mesh.founder.chain[1:]))
    assert alpha.receive(forged(alpha, payload, mesh.founder.mesh_secret), STRANGER) == []
    assert alpha.drops[reason] == 1
    assert alpha.node.state.sessions == {}
    assert alpha.told(AuthFailure) == [AuthFailure(reason, None)]
    assert alpha.node.state.auth_failures[reason] == 1


NOW_NS = int(NOW * 1e9)


def test_a_certificate_that_has_expired_is_refused() -> None:
    mesh = Mesh()
    issuer = issuer_of(mesh.founder)
    sound = admit(mesh.founder, 5)
    listed = alternative_names("mallory", str(sound.address4), sound.address6)
    der = Forgery(
        issuer.key, issuer.certificate, raw(make_key(5)), names=listed, not_after=NOW - 1
    ).sign()
    refused(der, 5, "certificate-expired", mesh)


def test_a_certificate_of_another_mesh_is_refused() -> None:
    mesh = Mesh()
    refused(admit(Mesh(seed=2).founder, 5).der, 5, "certificate-foreign", mesh)


def test_another_nodes_certificate_is_refused() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    beta = mesh.admit(5, "beta")
    payload = MemberPayload.of(NOW_NS, 0, beta.static_signature, beta.chain)
    assert alpha.receive(forged(alpha, payload, beta.mesh_secret), STRANGER) == []
    assert alpha.drops["handshake-signature"] == 1
    assert alpha.node.state.sessions == {}


def test_a_certificate_that_expires_meanwhile_ends_the_next_rekey() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(5)
    alpha.node.set_clock(NOW + 91 * 86_400, mesh.world.now)
    mesh.run(REJECT_AFTER + 10)
    assert not alpha.ready(beta)
    assert alpha.drops["certificate-expired"] > 1
    assert AuthFailure("certificate-expired", None) in alpha.events


# Chains too large for a handshake


def test_a_large_chain_follows_inside_the_session() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta", grants=many_routes())
    assert beta.node._handshakes.chain_follows
    assert not alpha.node._handshakes.chain_follows
    mesh.connect(alpha, beta)
    assert alpha.peer(beta).certificate == beta.identity.certificate
    assert len(alpha.node._handshakes.unproven) == 0
    mesh.run(5)
    alpha.send(beta, b"to beta")
    beta.send(alpha, b"to alpha")
    mesh.run(1)
    assert (len(alpha.packets), len(beta.packets)) == (1, 1)
    assert alpha.peer(beta).state == beta.peer(alpha).state == "alive"


def test_nothing_counts_before_the_chain_has_followed() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta", grants=many_routes())
    certificate = [False]

    def hide(datagram: Datagram) -> bytes | None:
        chain = datagram.host == "beta" and datagram.kind == 4 and len(datagram.payload) > 1000
        return None if chain and not certificate[0] else datagram.payload

    mesh.filters.append(hide)
    mesh.until(lambda: beta.ready(alpha), 5)
    beta.send(alpha, b"too early")
    mesh.run(0.5)
    assert alpha.packets == []
    assert alpha.drops["unproven"] == 1
    certificate[0] = True
    mesh.connect(alpha, beta, within=20)


def test_a_large_chain_is_known_to_who_begins_later() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta", grants=many_routes(12))
    mesh.connect(alpha, beta)
    mesh.run(3)
    alpha.kill()
    alpha.start()
    mesh.filters.append(lambda d: None if d.host == "beta" and d.kind == INITIATION else d.payload)
    reconnect(mesh, alpha, beta)


def test_a_hash_that_the_chain_does_not_fit_proves_nothing() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    beta = mesh.admit(5, "beta", many_routes())
    payload = MemberPayload.of(NOW_NS, 0, beta.static_signature, beta.chain)
    replaced = replace(payload, leaf_hash=bytes(32))
    assert len(alpha.receive(forged(alpha, replaced, beta.mesh_secret), STRANGER)) == 1
    handshakes = alpha.node._handshakes
    (unproven,) = (handshakes.unproven.get(index) for index in alpha.node.state.sessions)
    assert unproven is not None
    with pytest.raises(RemoteError, match="handshake-unknown-certificate"):
        handshakes.prove(unproven, beta.chain, mesh.world.now)
    assert alpha.receive(forged(alpha, replaced, beta.mesh_secret), STRANGER) == []
    assert alpha.drops["handshake-replay"] == 1


# Responses and cookies that nobody asked for


def test_responses_and_cookies_nobody_waits_for_are_counted() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    response = next(d for d in mesh.sent if d.kind == RESPONSE)
    answered = beta if response.host == "alpha" else alpha
    assert answered.receive(response.payload, response.source) == []
    assert answered.receive(bytes((COOKIE, 1, 0, 0)) + bytes(60), STRANGER) == []
    assert answered.drops["handshake-index"] == 2


def test_a_peer_with_two_ways_gets_one_initiation_by_each() -> None:
    mesh = Mesh()
    alpha = mesh.alpha(addresses=("198.51.100.1", "2001:db8::1"))
    beta = mesh.host("beta", addresses=("198.51.100.2", "2001:db8::2"))
    mesh.connect(alpha, beta)
    sent = initiations(mesh, beta)
    assert {d.destination[0] for d in sent} == {"198.51.100.1", "2001:db8::1"}
    assert alpha.drops["handshake-replay"] == 1
    assert len(sent[0].payload) + RELAY_SIZE <= 1232
