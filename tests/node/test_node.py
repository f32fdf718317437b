"""Whole nodes: packets, crashes, lookups, and what the host tells them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest

from meshd.node import outputs
from meshd.node.grants import Grants
from meshd.node.invitation import Invitation
from meshd.node.node import MAX_OUTPUTS
from meshd.node.outputs import PeerChanged, SendDatagram
from meshd.node.seeking import YOUNG
from meshd.node.wire import BASE_SEGMENT, DATA, INITIATION
from simulations.nat import NatKind
from tests.node.test_membership import ROUTER, ROUTES
from tests.node.virtual import QUIET, Datagram, Host, Mesh, packet


def everybody(mesh: Mesh) -> list[Host]:
    """Two in the open, two in one LAN behind a cone NAT, one behind a symmetric NAT."""
    alpha, beta = mesh.alpha(), mesh.host("beta")
    lan = mesh.translator(NatKind.PORT_RESTRICTED)
    gamma, delta = (mesh.host(name, behind=lan) for name in ("gamma", "delta"))
    return [alpha, beta, gamma, delta, mesh.host("epsilon", NatKind.SYMMETRIC)]


# Everybody together


@pytest.mark.parametrize("seed", range(3))
def test_every_pair_of_five_talks_within_seconds(seed: int) -> None:
    mesh = Mesh(seed)
    hosts = everybody(mesh)
    assert mesh.connect(*hosts) < 3
    for one in hosts:
        for other in hosts:
            if one is not other:
                assert one.ping(other), f"{one.name} to {other.name}"
                one.send(other, f"{one.name} to {other.name}".encode())
    mesh.run(1)
    for host in hosts:
        assert len(host.packets) == len(hosts) - 1
    mesh.run(30)
    assert hosts[2].way(hosts[3]) == "direct"
    states = {one.peer(other).state for one in hosts for other in hosts if one is not other}
    assert states == {"alive"}


def test_a_run_is_decided_by_its_seed() -> None:
    def story(seed: int) -> tuple[str, list[Datagram]]:
        mesh = Mesh(seed, replace(QUIET, loss=0.1, jitter_s=0.01))
        everybody(mesh)
        mesh.run(20)
        return mesh.world.trace.digest(), list(mesh.sent)

    assert story(1) == story(1)
    assert story(1)[0] != story(2)[0]


@pytest.mark.parametrize("number", range(5))
def test_after_kill_9_a_node_is_back_within_seconds(number: int) -> None:
    mesh = Mesh()
    hosts = everybody(mesh)
    mesh.connect(*hosts)
    mesh.run(5)
    victim = hosts[number]
    address = victim.identity.certificate.address4
    sequence, counter = victim.disk.sequence, victim.disk.counter
    victim.kill()
    mesh.run(2)
    victim.start()
    others = [host for host in hosts if host is not victim]
    restarted = mesh.world.now

    def back() -> bool:
        sessions = (other.peer(victim).current for other in others)
        new = all(s is not None and s.created_at >= restarted for s in sessions)
        return new and all(victim.ready(other) and other.ready(victim) for other in others)

    assert mesh.until(back, 10) < 2
    # Who suspected it in its absence hears its denial by gossip, a round after the session.
    mesh.until(lambda: all(other.peer(victim).state == "alive" for other in others), 0.5)
    for other in others:
        assert victim.ping(other)
        assert other.ping(victim)
    assert victim.identity.certificate.address4 == address
    assert victim.disk.sequence > sequence
    assert victim.disk.counter > counter


def test_a_crash_between_any_two_outputs_leaves_a_node_that_comes_back() -> None:
    for moment in range(1, 30):
        mesh = Mesh()
        alpha, beta = mesh.alpha(), mesh.host("beta", start=False)
        left = [moment]

        def crash(datagram: Datagram, left: list[int] = left) -> bytes | None:
            left[0] -= datagram.host == "beta"
            return datagram.payload if left[0] > 0 else None

        mesh.filters.append(crash)
        beta.start()
        mesh.until(lambda left=left: left[0] <= 0, 20)  # type: ignore[misc]
        beta.kill()
        mesh.filters.clear()
        beta.start()
        mesh.connect(alpha, beta)
        assert beta.ping(alpha)


# Packets


def test_packets_go_to_their_addressee_and_nobody_else() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    sizes = [0, 1, 500, 1400, 9000, 40_000]
    for size in sizes:
        alpha.send(beta, bytes(size))
    mesh.run(1)
    assert [len(data) - 20 for data in beta.packets] == sizes
    assert gamma.packets == []


def test_packets_wait_for_the_session_in_order() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(2)
    beta.kill()
    alpha.kill()
    alpha.start()
    for number in range(50):
        alpha.send(beta, b"%d" % number)
    assert beta.packets == []
    beta.start()
    mesh.connect(alpha, beta)
    mesh.run(1)
    assert [data[20:] for data in beta.packets] == [b"%d" % number for number in range(50)]


def test_a_peer_sends_from_its_own_address_to_ours_and_no_other() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    own, other, ours = (h.identity.certificate.address4 for h in (beta, gamma, alpha))
    beta.write(packet(own, ours, b"sound"))
    mesh.run(0.1)
    peer = beta.peer(alpha)
    assert peer.path is not None
    beta.write(packet(other, ours, b"spoofed"))
    mesh.run(0.1)
    assert alpha.drops["source"] == 1
    assert [data[20:] for data in alpha.packets] == [b"sound"]


def test_packets_to_nobody_are_counted() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    own = alpha.identity.certificate.address4
    mesh.run(YOUNG)
    alpha.write(packet(own, IPv4Address("100.64.99.99"), b"x"))
    alpha.write(packet(own, IPv4Address("224.0.0.1"), b"x"))
    alpha.write(bytes(40))
    mesh.run(1)
    assert alpha.drops == {"no-route": 1, "multicast": 1, "malformed": 1}


# Inputs of the host


def test_bootstrap_endpoints_help_when_the_known_ones_are_stale() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(3)
    beta.kill()
    alpha.kill()
    mesh.run(1)
    beta.start()
    alpha.move("198.51.100.99")
    mesh.filters.append(lambda d: None if d.host == "alpha" and d.kind == INITIATION else d.payload)
    alpha.start()
    mesh.run(10)
    assert not beta.ready(alpha)
    beta.node.places.set_bootstrap([("198.51.100.99", 443)], mesh.world.now)
    mesh.connect(alpha, beta, within=40)


def test_segments_too_large_for_the_interface_become_small() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(5)
    path = alpha.peer(beta).path
    assert path is not None
    assert path.segment > BASE_SEGMENT
    now, fail = mesh.world.now, alpha.node.send_failed
    fail(path.endpoint, "Message too long", packets=True, too_large=True, now=now)
    assert path.segment == BASE_SEGMENT
    assert alpha.drops["too-large"] == 1
    fail(path.endpoint, "Network unreachable", packets=False, too_large=False, now=now)
    assert path.last_error == "Network unreachable"
    assert alpha.drops["send"] == 0


def test_the_wall_clock_may_jump_and_sessions_do_not_mind() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(3)
    begun = mesh.kinds()[INITIATION]
    for jump in (3600.0, -3600.0, 86_400.0 * 365 * 10, 0.0):
        alpha.node.set_clock(1.8e9 + mesh.world.now + jump, mesh.world.now)
        mesh.run(5)
        assert alpha.ping(beta)
    assert mesh.kinds()[INITIATION] == begun
    mesh.run(300)
    assert alpha.ready(beta)


def test_early_and_late_calls_do_no_harm() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    for _ in range(100):
        alpha.node.handle_timer(mesh.world.now)
    alpha.settle()
    mesh.run(5)
    wakeup = alpha.node.next_wakeup()
    assert wakeup is not None
    assert mesh.world.now <= wakeup.at < mesh.world.now + 5
    assert wakeup.reason
    assert alpha.ping(beta)


def test_outputs_come_out_once_and_are_bounded() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    assert not alpha.node.pending
    waiting = alpha.node.state.outputs
    waiting += [SendDatagram(b"x", beta.endpoints[0])] * (MAX_OUTPUTS + 5)
    assert alpha.node.pending
    assert len(alpha.node.drain()) == MAX_OUTPUTS
    assert alpha.node.drain() == []


def test_outputs_that_must_be_on_disk_come_before_what_rests_on_them() -> None:
    mesh = Mesh()
    mesh.alpha()
    beta = mesh.host("beta", start=False)
    kinds: list[type] = []
    perform = Host._perform

    def watch(host: Host, output: outputs.Output) -> None:
        kinds.append(type(output))
        perform(host, output)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Host, "_perform", watch)
        beta.start()
    first = kinds.index(outputs.SendDatagram)
    assert outputs.PersistCounter in kinds[:first]
    assert outputs.PersistSequence in kinds[:first]


def test_a_closed_node_says_goodbye_to_all() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(2)
    alpha.stop()
    mesh.run(0.1)
    for host in (beta, gamma):
        assert host.peer(alpha).state == "left"
        assert host.peer(alpha).sessions() == []
        assert not host.ready(alpha)
    mesh.run(30)
    assert all(d.kind == DATA for d in mesh.sent if d.time > mesh.world.now - 25)
    alpha.start()
    mesh.connect(alpha, beta, gamma, within=3)
    assert beta.peer(alpha).state == "alive"


# Views


def test_a_peer_is_found_by_name_id_and_address() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(1)
    peer = alpha.peer(beta)
    certificate = beta.identity.certificate
    texts = ("beta", peer.id.hex(), peer.id.hex().upper(), *map(str, certificate.addresses))
    assert [alpha.node.find(text) for text in texts] == [peer] * 5
    spelt = ("Beta", certificate.address6.exploded, str(certificate.address6).upper())
    assert [alpha.node.find(text) for text in spelt] == [peer] * 3
    assert alpha.node.find("alpha") is None
    assert alpha.node.find("") is None


def test_an_address_leads_to_its_owner_and_a_route_to_who_offers_it() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta", grants=ROUTER, config=ROUTES)
    mesh.connect(alpha, beta)
    mesh.run(2)
    peer = alpha.peer(beta)
    for address in beta.identity.certificate.addresses:
        assert alpha.node.route(address) == (peer, None)
    assert alpha.node.route(ip_address("10.9.8.7")) == (peer, "10.0.0.0/8")
    assert alpha.node.route(ip_address("9.9.9.9")) == (None, None)
    assert alpha.node.route(ip_address("2001:db8::1")) == (None, None)


def test_coming_and_going_is_told_with_nothing_that_a_peer_chose() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(2)
    told = [e for e in alpha.told(PeerChanged) if e.peer == beta.identity.id]
    assert [e.event for e in told] == [f"direct {beta.endpoints[0][0]}:443"]
    assert {e.name for e in told} == {"beta"}


def test_records_can_be_kept_and_given_back() -> None:
    mesh = Mesh()
    alpha, _ = mesh.pair()
    mesh.run(2)
    assert len(alpha.node.records()) == 5
    alpha.kill()
    alpha.start()
    assert len(alpha.node.records()) == 5


def test_expired_invitations_are_not_kept_in_memory() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    now = alpha.node.state.unix_time(0.0)
    sealed, expiry = bytes(48), int(now) + 60
    old = Invitation(bytes(16), sealed, Grants(), expiry)
    new = Invitation(b"n" * 16, sealed, Grants(), expiry + 3600)
    alpha.node.add_invitation(old)
    alpha.node.set_clock(now + 61, 0.0)
    alpha.node.add_invitation(new)
    assert list(alpha.node._handshakes.invitations.values()) == [new]
