"""One address or one name in two certificates: who holds it, and what becomes of who does not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import permutations

import pytest

from meshd.node.addresses import assign4, node_id
from meshd.node.certificates import Certificate
from meshd.node.grants import Grants
from meshd.node.holding import Lost, keys_of, settle
from meshd.node.outputs import AddressesChanged
from meshd.node.peer import Peer
from tests.node.couples import founder, make_peer, member
from tests.node.meshes import CIDR, make_key, raw
from tests.node.virtual import Host, Mesh, packet

OWN = founder().certificate


def claiming(seed: int, name: str, address4_of: Certificate | None = None) -> Peer:
    """A peer whose certificate has this name, and the IPv4 address of another one."""
    peer = make_peer(member(f"holder{seed}", seed))
    assert peer.certificate is not None
    certificate = replace(peer.certificate, name=name)
    if address4_of is not None:
        addresses = (address4_of.address4, certificate.address6)
        certificate = replace(certificate, addresses=addresses)
    peer.certify(certificate, peer.chain)
    return peer


# Who holds what


def test_the_lowest_id_holds_an_address_in_whatever_order_the_peers_come() -> None:
    one = claiming(51, "one")
    assert one.certificate is not None
    peers = [one, claiming(52, "two", one.certificate), claiming(53, "three", one.certificate)]
    key = int(one.certificate.address4)
    winner = min(peers, key=lambda peer: peer.id)
    for order in permutations(peers):
        assert not settle(OWN, order, order)
        assert [peer for peer in peers if key in peer.keys4] == [winner]
        assert all(peer.keys6 for peer in peers)


def test_who_does_not_stand_holds_nothing_and_its_address_is_free() -> None:
    one = claiming(51, "one")
    other = claiming(52, "two", one.certificate)
    lower, higher = sorted((one, other), key=lambda peer: peer.id)
    settle(OWN, [higher], [lower, higher])
    assert (lower.keys4, lower.keys6) == (frozenset(), frozenset())
    assert higher.keys4
    assert higher.certificate is not None
    assert not lower.may_send_from(0x0A000001)


def test_we_take_part_ourselves_and_hear_what_we_lost() -> None:
    peers = [claiming(seed, OWN.name, OWN) for seed in range(51, 63)]
    lower = min((peer for peer in peers if peer.id < OWN.node), key=lambda peer: peer.id)
    higher = next(peer for peer in peers if peer.id > OWN.node)
    assert settle(OWN, [higher], [higher]) == Lost()
    assert not higher.keys4
    assert settle(OWN, [lower, higher], peers) == Lost(lower.id, lower.id)
    assert lower.keys4
    named = claiming(51, OWN.name)
    if named.id < OWN.node:
        assert settle(OWN, [named], [named]) == Lost(None, named.id)


def test_addresses_are_known_as_the_packet_path_has_them() -> None:
    six = int(OWN.address6)
    assert keys_of(OWN) == {int(OWN.address4), (six >> 64, six & (1 << 64) - 1)}


# In a mesh


@cache
def colliding() -> tuple[int, int]:
    """Seeds of two keys, the lower id first, to which an issuer gives one address."""
    seen: dict[object, int] = {}
    for seed in range(1000, 3000):
        node = node_id(raw(make_key(seed)))
        address = assign4(node, CIDR, ())
        if address in seen:
            pair = (seen[address], seed)
            low, high = sorted(pair, key=lambda item: node_id(raw(make_key(item))))
            return low, high
        seen[address] = seed
    raise AssertionError("no two keys of one address")


def two_issuers(mesh: Mesh) -> tuple[Host, Host]:
    """Alpha, and beta that alpha made an issuer."""
    alpha = mesh.alpha()
    token, _ = mesh.invite(alpha, Grants(roles=("issuer",)))
    candidate = mesh.candidate(token, 20, "beta")
    mesh.until(lambda: candidate.joiner.done, within=5)
    beta = mesh.host("beta", identity=candidate.identity())
    mesh.connect(alpha, beta)
    mesh.run(2)
    return alpha, beta


def cut(mesh: Mesh, sides: dict[str, list[str]]) -> None:
    """Cut the network in two: each issuer with those that it admitted."""
    mesh.network.split([sides["alpha"], sides["beta"]])


def join_through(
    mesh: Mesh, sides: dict[str, list[str]], issuer: Host, seed: int, name: str
) -> Host:
    """A new member that `issuer` admits, on the issuer's side of a split."""
    token, _ = mesh.invite(issuer)
    candidate = mesh.candidate(token, seed, name)
    sides[issuer.name].append(candidate.endpoint[0])
    cut(mesh, sides)
    mesh.until(lambda: candidate.joiner.done, within=5)
    host = mesh.host(f"{name}/{seed}", identity=candidate.identity(), start=False)
    host.disk.records = candidate.reply.records
    sides[issuer.name].append(host.endpoints[0][0])
    cut(mesh, sides)
    host.start()
    mesh.connect(issuer, host)
    return host


def knows(host: Host, other: Host) -> bool:
    """Whether `host` has the certificate that `other` has now."""
    peer = host.node.state.peers.get(other.identity.id)
    return peer is not None and peer.certificate == other.identity.certificate


def split() -> dict[str, list[str]]:
    return {"alpha": ["198.51.100.1"], "beta": ["198.51.100.2"]}


@pytest.mark.parametrize("names", [("gamma", "delta"), ("gamma", "gamma")])
@pytest.mark.parametrize("first_goes", [False, True])
def test_after_a_split_the_higher_id_gets_another_address_by_itself(
    names: tuple[str, str], first_goes: bool
) -> None:
    mesh = Mesh()
    alpha, beta = two_issuers(mesh)
    sides = split()
    cut(mesh, sides)
    mesh.run(30)
    low, high = colliding()
    winner = join_through(mesh, sides, alpha, low, names[0])
    loser = join_through(mesh, sides, beta, high, names[1])
    address = winner.identity.certificate.address4
    assert loser.identity.certificate.address4 == address
    mesh.run(120)
    if first_goes:
        alpha.stop()
        mesh.run(1)
    mesh.network.heal()
    hosts = [host for host in (alpha, beta, winner, loser) if host.running is not None]
    healed = mesh.world.now
    mesh.until(lambda: loser.identity.certificate.address4 != address, within=60)
    settled = [host for host in hosts if host is not loser]
    mesh.until(lambda: all(knows(host, loser) for host in settled), within=30)
    assert mesh.world.now - healed < 60
    for host in settled:
        if host is not winner:
            assert host.node.route(address)[0] is host.peer(winner)
        assert host.node.route(loser.identity.certificate.address4)[0] is host.peer(loser)
    told = loser.told(AddressesChanged)[-1].addresses
    assert told == tuple(map(str, loser.identity.certificate.addresses))
    expected = "gamma-2" if names[0] == names[1] else names[1]
    assert loser.identity.name == expected
    assert not loser.node.state.lost
    mesh.connect(winner, loser, beta)
    beta.send(loser, b"to the loser")
    beta.send(winner, b"to the winner")
    mesh.run(1)
    assert loser.packets[-1].endswith(b"to the loser")
    assert winner.packets[-1].endswith(b"to the winner")


def test_who_lost_an_address_may_not_send_from_it() -> None:
    mesh = Mesh()
    alpha, beta = two_issuers(mesh)
    sides = split()
    cut(mesh, sides)
    mesh.run(30)
    low, high = colliding()
    winner = join_through(mesh, sides, alpha, low, "gamma")
    loser = join_through(mesh, sides, beta, high, "delta")
    shared = loser.identity.certificate.address4
    beta_at = beta.identity.certificate.address4
    loser.write(packet(shared, beta_at, b"mine"))
    mesh.run(1)
    assert beta.packets[-1].endswith(b"mine")
    mesh.network.heal()
    mesh.until(lambda: int(shared) not in beta.peer(loser).keys4, within=60)
    before = beta.drops["source"]
    loser.write(packet(shared, beta_at, b"not mine"))
    mesh.run(0.1)
    assert not beta.packets[-1].endswith(b"not mine")
    assert beta.drops["source"] > before
    assert winner.identity.id < loser.identity.id
