from __future__ import annotations

from itertools import permutations
from random import Random

import pytest

from gossip import NodeId
from meshd.node.path import Path, PathKind
from meshd.node.peer import Key, Peer
from meshd.node.session import Session
from meshd.node.state import MAX_RESOLVED, OverlayTable
from tests.node.couples import couple, founder, key_of, make_peer, make_state, member

ALPHA, BETA, GAMMA = (NodeId(letter * 16) for letter in (b"a", b"b", b"c"))


def bare(node: NodeId, *keys: Key) -> Peer:
    """A peer with these addresses."""
    peer = Peer(node, Random(1))
    peer.keys4 = frozenset(key for key in keys if isinstance(key, int))
    peer.keys6 = frozenset(key for key in keys if not isinstance(key, int))
    return peer


def key4(text: str) -> int:
    return int.from_bytes(bytes(map(int, text.split("."))), "big")


def table(*routes: tuple[str, Peer], peers: tuple[Peer, ...] = ()) -> OverlayTable:
    made = OverlayTable()
    made.rebuild(iter(peers), list(routes))
    return made


def test_a_certificates_addresses_lead_to_their_owner() -> None:
    beta = make_peer(member("beta", 2))
    made = table(peers=(beta,))
    assert beta.certificate is not None
    for address in beta.certificate.addresses:
        assert made.find(key_of(address)) is beta
    assert made.find(key_of(founder().certificate.address4)) is None
    assert made.find(key_of(founder().certificate.address6)) is None


def test_two_certificates_with_one_address_have_the_same_winner_everywhere() -> None:
    key = key4("100.64.0.9")
    peers = [bare(ALPHA, key), bare(BETA, key, 5), bare(GAMMA, key)]
    for order in permutations(peers):
        made = table(peers=order)
        assert made.find(key) is peers[0]
        assert made.find(5) is peers[1]


def test_the_longest_prefix_carries_a_packet() -> None:
    one, two, three = bare(ALPHA), bare(BETA), bare(GAMMA)
    routes = [("0.0.0.0/0", one), ("10.0.0.0/8", two), ("10.1.2.0/24", three)]
    for order in permutations(routes):
        made = table(*order)
        assert made.find(key4("10.1.2.255")) is three
        assert made.find(key4("10.1.3.0")) is two
        assert made.find(key4("11.0.0.1")) is one


def test_an_address_wins_over_every_prefix() -> None:
    owner, router = bare(BETA, key4("10.1.2.3")), bare(ALPHA)
    made = table(("10.1.2.3/32", router), ("10.1.2.0/24", router), peers=(owner,))
    assert made.find(key4("10.1.2.3")) is owner
    assert made.find(key4("10.1.2.4")) is router


def test_the_families_do_not_mix() -> None:
    four, six = bare(ALPHA), bare(BETA)
    made = table(("0.0.0.0/0", four), ("::/0", six))
    assert made.find(5) is four
    assert made.find((0, 5)) is six
    assert table(("::/0", six)).find(5) is None
    assert table(("0.0.0.0/0", four)).find((0, 5)) is None


@pytest.mark.parametrize(
    ("prefix", "inside", "outside"),
    [
        ("2001:db8::/32", (0x20010DB8FFFFFFFF, 1), (0x20010DB900000000, 1)),
        ("2001:db8::/64", (0x20010DB800000000, 7), (0x20010DB800000001, 7)),
        ("2001:db8::/96", (0x20010DB800000000, 7), (0x20010DB800000000, 1 << 32)),
        ("2001:db8::7/128", (0x20010DB800000000, 7), (0x20010DB800000000, 8)),
    ],
)
def test_prefixes_of_ipv6_end_at_any_bit(
    prefix: str, inside: tuple[int, int], outside: tuple[int, int]
) -> None:
    router = bare(ALPHA)
    made = table((prefix, router))
    assert made.find(inside) is router
    assert made.find(outside) is None


def test_one_prefix_of_two_nodes_has_the_same_winner_everywhere() -> None:
    peers = [bare(node) for node in (ALPHA, BETA, GAMMA)]
    for order in permutations(peers):
        made = table(*(("10.0.0.0/8", peer) for peer in order))
        assert made.find(key4("10.0.0.1")) is peers[0]
        assert made.carrier("10.0.0.0/8") is peers[0]


def test_the_carrier_of_a_prefix_is_asked_for_exactly() -> None:
    one, two = bare(ALPHA), bare(BETA)
    made = table(("10.0.0.0/8", one), ("10.1.0.0/16", two), ("::/0", two))
    assert made.carrier("10.0.0.0/8") is one
    assert made.carrier("10.1.0.0/16") is two
    assert made.carrier("10.2.0.0/16") is None
    assert made.carrier("0.0.0.0/0") is None
    assert made.carrier("::/0") is two


def test_a_prefix_of_a_dead_node_is_anothers_while_there_is_one() -> None:
    one, two = bare(ALPHA), bare(BETA)
    one.state = "dead"
    both = [("10.0.0.0/8", one), ("10.0.0.0/8", two)]
    assert table(*both).find(key4("10.0.0.1")) is two
    assert table(*both).carrier("10.0.0.0/8") is two
    assert table(both[0]).find(key4("10.0.0.1")) is one
    assert table(*both, ("10.1.0.0/16", one)).find(key4("10.1.0.1")) is one


def way(peer: Peer, kind: PathKind = PathKind.DIRECT, srtt: float | None = None) -> Peer:
    """Gives `peer` a path."""
    peer.paths.current = Path(kind, ("192.0.2.1", 1), valid=True, srtt=srtt)
    return peer


def contested(*peers: Peer) -> OverlayTable:
    return table(*(("10.0.0.0/8", peer) for peer in peers))


def test_of_those_who_offer_a_prefix_the_best_way_carries_it() -> None:
    dead, none, relayed, direct = (bare(NodeId(letter * 16)) for letter in (b"a", b"b", b"c", b"d"))
    way(dead).state = "dead"
    way(relayed, PathKind.RELAY, 0.001)
    way(direct, srtt=0.2)
    ranked = [direct, relayed, none, dead]
    for order in permutations(ranked):
        assert contested(*order).carrier("10.0.0.0/8") is direct
    for first, winner in enumerate(ranked):
        assert contested(*reversed(ranked[first:])).carrier("10.0.0.0/8") is winner


def test_whoever_carries_a_prefix_goes_on_until_its_way_is_worse() -> None:
    one, two = bare(ALPHA), way(bare(BETA), srtt=0.05)
    made = contested(one, two)
    assert made.find(key4("10.0.0.1")) is two
    way(one, srtt=0.04)
    made.choose()
    assert made.find(key4("10.0.0.1")) is two
    made.rebuild(iter(()), [("10.0.0.0/8", one), ("10.0.0.0/8", two)])
    assert made.carrier("10.0.0.0/8") is two
    two.paths.current = None
    made.choose()
    assert made.find(key4("10.0.0.1")) is one
    way(two, srtt=0.04)
    made.choose()
    assert made.find(key4("10.0.0.1")) is one
    made.rebuild(iter(()), [("10.0.0.0/8", two)])
    assert made.find(key4("10.0.0.1")) is two


@pytest.mark.parametrize(
    ("kind", "before", "after", "moves"),
    [
        (PathKind.DIRECT, 0.100, 0.067, True),
        (PathKind.DIRECT, 0.100, 0.068, False),
        (PathKind.DIRECT, 0.020, 0.0105, False),
        (PathKind.DIRECT, 0.020, 0.0099, True),
        (PathKind.DIRECT, 0.100, None, False),
        (PathKind.DIRECT, None, 0.001, False),
        (PathKind.RELAY, 0.100, 0.001, False),
    ],
)
def test_a_clearly_quicker_direct_way_takes_a_prefix_over(
    kind: PathKind, before: float | None, after: float | None, moves: bool
) -> None:
    one, two = way(bare(ALPHA), kind, before), way(bare(BETA), kind, before)
    made = contested(one, two)
    assert made.find(key4("10.0.0.1")) is one
    way(two, kind, after)
    made.choose()
    assert made.find(key4("10.0.0.1")) is (two if moves else one)


def test_rebuilding_forgets_what_was_resolved() -> None:
    one, two = bare(ALPHA), bare(BETA)
    made = table(("10.0.0.0/8", one))
    assert made.find(key4("10.0.0.1")) is one
    assert made.find(key4("11.0.0.1")) is None
    made.rebuild(iter(()), [("11.0.0.0/8", two)])
    assert made.find(key4("10.0.0.1")) is None
    assert made.find(key4("11.0.0.1")) is two


def test_a_scan_of_many_addresses_is_answered_right_and_not_all_remembered() -> None:
    one, two = bare(ALPHA), bare(BETA)
    made = table(("10.0.0.0/8", one), ("10.0.1.0/24", two))
    base = key4("10.0.0.0")
    for turn in range(2):
        for offset in range(turn, MAX_RESOLVED + 1000):
            assert made.find(base + offset) is (two if offset >> 8 == 1 else one)
    # The bound itself cannot be seen from outside but in memory.
    assert len(made._resolved) <= MAX_RESOLVED


def test_unix_time_follows_the_monotonic_clock() -> None:
    state = make_state(founder())
    assert state.unix_time(10.0) == state.unix_offset + 10.0


def test_an_index_in_use_is_not_drawn_again() -> None:
    alpha, _ = couple()
    session: Session = alpha.session
    draws = iter([session.local_index, session.local_index, 77])
    alpha.state.random_bytes = lambda size: next(draws).to_bytes(size, "big")
    assert alpha.state.new_index() == 77


def test_members_are_the_peers_with_a_certificate() -> None:
    state = make_state(founder())
    stranger, beta = Peer(GAMMA, Random(1)), make_peer(member("beta", 2))
    state.peers = {stranger.id: stranger, beta.id: beta}
    assert list(state.members()) == [beta]
