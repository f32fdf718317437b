"""Certificates renew by themselves, between whole nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossip import RecordKind
from meshd.node.control import Renewed
from meshd.node.errors import RemoteError
from meshd.node.grants import Grants
from meshd.node.holding import Lost
from meshd.node.identity import Identity, join
from meshd.node.minting import DAY, ISSUER_LIFETIME, make_csr, make_node
from meshd.node.outputs import RenewalEnded, Warned
from meshd.node.renewal import ANSWER_WITHIN, MAX_TOKENS, ROUND_AGAIN, SETTLED
from tests.node.meshes import NOW, admit, bytes_of, issuer_of, make_key, make_reply
from tests.node.test_lists import revoke
from tests.node.test_renewer import second_issuer
from tests.node.virtual import Host, Mesh

HOUR = 3600.0


def aged(mesh: Mesh, number: int, name: str, left: float) -> Identity:
    """A member whose certificate ends in `left` seconds."""
    founder = mesh.founder
    fresh = admit(founder, number, name)
    issuer = issuer_of(founder)
    made_at = NOW + left - 90 * DAY
    old = make_node(
        issuer.key,
        issuer.certificate,
        fresh.public_key,
        fresh.grants,
        (fresh.address4, fresh.address6),
        made_at,
        bytes_of(number + 500),
    )
    issuer.ledger.record(old, NOW)
    reply = make_reply(founder, old)
    return join(make_key(number), founder.mesh.mesh_id, reply, NOW)


def host_of(mesh: Mesh, name: str, left: float) -> Host:
    number = len(mesh.hosts) + 1
    return mesh.host(name, identity=aged(mesh, number, name, left))


def until_of(host: Host) -> float:
    """Seconds from the beginning of the test until its certificate ends."""
    return host.identity.certificate.not_after - NOW


def test_a_certificate_in_its_last_third_renews_by_itself_and_sessions_go_on() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    beta, gamma = host_of(mesh, "beta", 20 * DAY), mesh.host("gamma")
    before = beta.identity
    mesh.connect(alpha, beta, gamma)
    session = alpha.peer(beta).current
    # Whoever asks before an issuer is met asks once more, after a round's pause.
    mesh.until(lambda: until_of(beta) > 89 * DAY, 1.25 * ROUND_AGAIN + 1)
    after = beta.identity.certificate
    assert after.serial != before.certificate.serial
    assert (after.name, after.addresses) == (before.name, before.certificate.addresses)
    assert beta.node.state.identity is beta.identity
    assert alpha.peer(beta).current is session
    for host in (alpha, gamma):
        mesh.until(lambda host=host: host.peer(beta).certificate == after, 10)  # type: ignore[misc]
    assert alpha.disk.ledgers
    assert [w.text for w in beta.told(Warned) if "renewed, until" in w.text]
    begun = mesh.world.now
    mesh.run(200)  # sessions are made anew, by the new certificate
    current = alpha.peer(beta).current
    assert current is not None
    assert current.created_at > begun
    assert beta.ping(gamma)
    beta.kill()
    beta.start()
    mesh.connect(alpha, beta)
    assert beta.identity.certificate == after


def test_a_certificate_in_its_first_two_thirds_is_left_alone() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    beta = host_of(mesh, "beta", 31 * DAY)
    mesh.connect(alpha, beta)
    mesh.run(120)
    assert until_of(beta) == 31 * DAY


def test_another_issuer_does_where_the_first_is_gone() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    second = mesh.host("second", identity=second_issuer(mesh.founder))
    mesh.connect(alpha, second)
    beta = host_of(mesh, "beta", 20 * DAY)
    alpha.kill()
    mesh.until(lambda: until_of(beta) > 89 * DAY, 200)
    authority = issuer_of(second.identity).certificate
    assert beta.identity.certificate.authority == authority.node
    assert beta.identity.issuer_certificates == (authority.der,)
    assert second.disk.ledgers == 1


def test_without_an_issuer_it_is_tried_again_and_told() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    beta = host_of(mesh, "beta", 20 * DAY)
    alpha.kill()
    mesh.run(60)
    (notice,) = beta.node.credentials.notices(mesh.world.now)
    assert "ends on" in notice
    assert "alpha: no answer" in notice or "no member with the role issuer" in notice
    mesh.run(16 * ROUND_AGAIN)
    assert until_of(beta) == 20 * DAY
    assert beta.node.credentials.renewal._failures in (4, 5)
    alpha.start()
    mesh.until(lambda: until_of(beta) > 89 * DAY, 32 * ROUND_AGAIN)
    assert beta.node.credentials.notices(mesh.world.now) == []


def test_the_revoked_are_not_renewed() -> None:
    mesh = Mesh()
    alpha, gamma = mesh.alpha(), mesh.host("gamma")
    beta = host_of(mesh, "beta", 20 * DAY)
    revoke(alpha, "beta")
    mesh.run(300)
    assert until_of(beta) == 20 * DAY
    assert not beta.ready(alpha)
    assert not gamma.ready(beta)


def test_nothing_is_used_that_is_not_on_disk() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    beta = host_of(mesh, "beta", 20 * DAY)
    mesh.connect(alpha, beta)
    beta.disk.full = True
    old = beta.identity.certificate
    mesh.run(300)
    assert beta.node.state.identity.certificate == old
    assert alpha.peer(beta).certificate == old
    assert any("disk" in text for text in beta.node.credentials.notices(mesh.world.now))
    beta.disk.full = False
    mesh.until(lambda: beta.identity.certificate != old, 600)
    mesh.until(lambda: alpha.peer(beta).certificate == beta.identity.certificate, 60)


def test_an_issuer_renews_itself_when_the_clock_has_said_so_for_long_enough() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    old = alpha.identity.certificate
    alpha.node.set_clock(NOW + mesh.world.now + 80 * DAY, mesh.world.now)
    mesh.run(SETTLED / 2)
    assert alpha.identity.certificate == old
    alpha.node.set_clock(NOW + mesh.world.now, mesh.world.now)
    mesh.run(SETTLED)
    assert alpha.identity.certificate == old
    for host in (alpha, beta):
        host.node.set_clock(NOW + mesh.world.now + 80 * DAY, mesh.world.now)
    mesh.run(SETTLED + 90)
    assert alpha.identity.certificate.not_after > old.not_after
    mesh.until(lambda: beta.peer(alpha).certificate == alpha.identity.certificate, 60)


def test_where_the_roots_key_is_the_issuers_certificate_renews_itself() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    authority = issuer_of(alpha.identity).certificate
    late = ISSUER_LIFETIME * 0.8
    now = mesh.world.now
    fresh = replace(
        alpha.identity.certificate, not_before=int(NOW + late), not_after=int(NOW + late + 60 * DAY)
    )
    alpha.node.state.identity = replace(alpha.identity, certificate=fresh)
    alpha.node.set_clock(NOW + now + late, now)
    mesh.run(SETTLED + 90)
    issuer = issuer_of(alpha.identity)
    assert issuer.certificate.not_after > authority.not_after
    assert issuer.certificate.node == authority.node
    assert issuer.certificate in alpha.identity.trust.issuers
    without = replace(issuer, certificate=authority, root_key=None)
    alpha.node.state.identity = replace(alpha.identity, certificate=fresh, issuer=without)
    (notice,) = alpha.node.credentials.notices(mesh.world.now)
    assert "put root.key" in notice


# A person's wish


def test_a_person_may_have_it_now() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    old = beta.identity.certificate
    mesh.run(2)
    beta.node.credentials.renew(7, mesh.world.now)
    beta.settle()
    mesh.until(lambda: bool(beta.told(RenewalEnded)), 10)
    assert beta.told(RenewalEnded) == [RenewalEnded(7, None)]
    assert beta.identity.certificate.serial != old.serial
    alpha.node.credentials.renew(8, mesh.world.now)
    alpha.settle()
    assert alpha.told(RenewalEnded) == [RenewalEnded(8, None)]


def test_a_person_is_told_why_not() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    alpha.kill()
    for token in range(MAX_TOKENS + 1):
        beta.node.credentials.renew(token, mesh.world.now)
    beta.settle()
    (ended,) = beta.told(RenewalEnded)
    assert (ended.token, ended.problem) == (MAX_TOKENS, "too many ask for it at once")
    mesh.until(lambda: len(beta.told(RenewalEnded)) > 1, ANSWER_WITHIN + 10)
    _, *ended_ = beta.told(RenewalEnded)
    assert [item.token for item in ended_] == list(range(MAX_TOKENS))
    assert all("alpha: no answer" in str(item.problem) for item in ended_)


def test_who_is_revoked_is_told_so() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    revoke(alpha, "gamma")
    mesh.until(lambda: gamma.node.credentials.lists.revoked, 5)
    gamma.node.credentials.renew(7, mesh.world.now)
    gamma.settle()
    (ended,) = gamma.told(RenewalEnded)
    assert "revoked" in str(ended.problem)


def test_another_address_is_asked_for_and_taken() -> None:
    mesh = Mesh()
    _, beta = mesh.pair()
    old = beta.identity.certificate
    beta.node.state.lost = Lost(address4=mesh.founder.id)
    beta.node.handle_timer(mesh.world.now)
    beta.settle()
    mesh.until(lambda: beta.identity.certificate != old, 10)
    made = beta.identity.certificate
    assert made.address4 != old.address4
    assert made.address6 == old.address6


# Answers that are none


@pytest.mark.parametrize("change", ["key", "name", "address", "older"])
def test_an_answer_that_was_not_asked_for_changes_nothing(change: str) -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    issuer, held = issuer_of(mesh.founder), beta.identity.certificate
    number = {"key": 9, "name": 2, "address": 2, "older": 2}[change]
    key = make_key(number).public_key().public_bytes_raw()
    grants = replace(held.grants, name="other") if change == "name" else held.grants
    address4 = held.address4 + 1 if change == "address" else held.address4
    address6 = held.address6
    if change == "key":
        address6 = admit(mesh.founder, 9, "nine").address6
    when = NOW - 60 if change == "older" else NOW + 60
    made = make_node(
        issuer.key, issuer.certificate, key, grants, (address4, address6), when, bytes_of(3)
    )
    renewal = beta.node.credentials.renewal
    with pytest.raises(RemoteError, match="control"):
        renewal._answered(beta.peer(alpha), Renewed((made.der,)), mesh.world.now)
    renewal._asked, renewal._asked_until = alpha.identity.id, mesh.world.now + 5
    renewal._answered(beta.peer(alpha), Renewed((made.der,)), mesh.world.now)
    beta.settle()
    assert beta.drops["renewal-mismatch"] == 1
    assert beta.identity.certificate == held
    assert beta.node.gossip.record(beta.identity.id, RecordKind.CERTIFICATE) is not None


def test_reasons_of_others_cannot_steer_a_terminal() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    renewal = beta.node.credentials.renewal
    renewal._tokens.append(1)
    renewal._tried.append(alpha.identity.id)
    renewal._asked, renewal._asked_until = alpha.identity.id, mesh.world.now + ROUND_AGAIN
    renewal._answered(beta.peer(alpha), Renewed((), "no\x1b[2J"), mesh.world.now)
    beta.settle()
    assert beta.told(RenewalEnded) == [RenewalEnded(1, "alpha: no?[2J")]
    assert make_csr(beta.identity.node_key, "beta")
    assert Grants().name == ""
