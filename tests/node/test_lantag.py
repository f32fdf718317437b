"""Words by which members recognize each other on a LAN, and how many of them are believed."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import NodeId
from meshd.node.allowance import UNPROVEN_BURST, UNPROVEN_RATE
from meshd.node.lantag import (
    AGAIN,
    HINTS_PER_MINUTE,
    HOUR,
    MAX_ENDPOINTS,
    MAX_HEARD,
    MAX_TOLD,
    Neighbourhood,
    endpoint_tag,
    is_near,
    node_tag,
)
from meshd.node.wire import Endpoint
from tests.node.virtual import Host, Mesh

NEAR: Endpoint = ("192.168.7.2", 443)
SECRET = bytes(range(32))


class Lan:
    """A neighbourhood of alpha's, and the hints that it gave."""

    def __init__(self, alpha: Host) -> None:
        self.alpha = alpha
        self.given: list[tuple[NodeId, Sequence[Endpoint]]] = []
        self.made = Neighbourhood(alpha.node.state, self._hint)
        self.now = 1000.0

    def _hint(self, node: NodeId, endpoints: Sequence[Endpoint], now: float) -> bool:
        self.given.append((node, endpoints))
        return True

    @property
    def hour(self) -> int:
        return int(self.alpha.node.state.unix_time(self.now)) // HOUR

    def words_of(self, node: NodeId, *endpoints: Endpoint, later: int = 0) -> dict[str, str]:
        """What `node` advertises, by a clock that is so many hours ahead."""
        secret, hour = self.alpha.identity.mesh_secret, self.hour + later
        tag = node_tag(secret, node, hour)
        told = [_shown(secret, tag, endpoint, hour) for endpoint in endpoints[:MAX_TOLD]]
        return {"n": tag.hex(), "e": b"".join(told).hex()}

    def hear(
        self, node: NodeId, *endpoints: Endpoint, name: str = "x", later: int = 0
    ) -> list[tuple[NodeId, Sequence[Endpoint]]]:
        """Hear of `node`; the hints that follow."""
        self.given.clear()
        at = endpoints or (NEAR,)
        self.made.heard(name, self.words_of(node, *at, later=later), at, self.now)
        return list(self.given)


def _shown(secret: bytes, tag: bytes, endpoint: Endpoint, hour: int) -> bytes:
    try:
        return endpoint_tag(secret, tag, endpoint, hour)
    except ValueError:  # nobody can be there
        return bytes(8)


def lan(others: int = 1) -> tuple[Lan, list[NodeId]]:
    """A LAN, and members that alpha knows but has not reached."""
    mesh = Mesh()
    alpha = mesh.alpha()
    hosts = [mesh.host(f"b{number}") for number in range(others)]
    for host in hosts:
        mesh.connect(alpha, host)
    for host in hosts:
        host.kill()
        alpha.peer(host).current = None
    return Lan(alpha), [host.identity.id for host in hosts]


def test_what_a_node_advertises_is_known_to_members_alone_and_changes_every_hour() -> None:
    made, _ = lan()
    at: list[Endpoint] = [NEAR, ("fd00::7", 443)]
    own, unix_time = made.alpha.identity.id, made.alpha.node.state.unix_time(made.now)
    said = made.made.words(unix_time, at)
    assert said == made.words_of(own, *at)
    assert sorted(map(len, said.values())) == [16, 32]
    later = made.made.words(unix_time + HOUR, at)
    assert not set(said.values()) & set(later.values())
    for other in (bytes(32), SECRET):
        assert node_tag(other, own, made.hour).hex() not in said.values()


def test_the_words_of_an_example_are_these() -> None:
    tag = node_tag(SECRET, NodeId(bytes(16)), 500_000)
    assert tag.hex() == "2f52a5fd599ee962"
    assert endpoint_tag(SECRET, tag, NEAR, 500_000).hex() == "82b911885f90a6da"


def test_so_many_endpoints_are_told_that_the_words_fit_into_their_record() -> None:
    made, _ = lan()
    words = made.made.words(0.0, [(f"10.0.0.{number}", 443) for number in range(1, 99)])
    assert len(words["e"]) == 16 * MAX_TOLD < 250


@pytest.mark.parametrize("later", [-1, 0, 1])
def test_clocks_may_be_an_hour_apart(later: int) -> None:
    made, (node,) = lan()
    assert made.hear(node, later=later) == [(node, (NEAR,))]


@pytest.mark.parametrize("later", [-2, 2, 24])
def test_what_was_advertised_long_ago_is_nothing(later: int) -> None:
    made, (node,) = lan()
    assert made.hear(node, later=later) == []


def test_other_meshes_and_strangers_are_nothing() -> None:
    made, (node,) = lan()
    ours = made.words_of(node, NEAR)
    foreign = node_tag(SECRET, node, made.hour)
    for words in (
        {},
        {"n": ours["n"]},
        {"e": ours["e"]},
        {"n": foreign.hex(), "e": ours["e"]},
        {"n": foreign.hex(), "e": endpoint_tag(SECRET, foreign, NEAR, made.hour).hex()},
        {"n": "x" * 16, "e": ours["e"]},
        {"n": ours["n"] * 1000, "e": ours["e"]},
        {"n": ours["n"], "e": ours["e"] * 1000},
        {"n": ours["n"], "e": ours["e"][:-1]},
        {"n": ours["n"], "e": ours["e"][:8]},
        made.words_of(made.alpha.identity.id, NEAR),
    ):
        made.made.heard("x", words, [NEAR], made.now)
    assert made.given == []


def test_words_that_are_repeated_lead_nowhere_else() -> None:
    made, (node,) = lan()
    words = made.words_of(node, NEAR)
    elsewhere: list[Endpoint] = [("192.168.7.3", 443), ("192.168.7.2", 444), ("10.0.0.1", 443)]
    made.made.heard("spoofer", words, elsewhere, made.now)
    assert made.given == []
    made.made.heard("spoofer", words, [*elsewhere, NEAR], made.now)
    assert made.given == [(node, (NEAR,))]


def test_who_repeats_the_words_of_many_hides_nobody() -> None:
    """Three hundred a second, of eleven members, in capitals too: each is tried in its turn."""
    made, nodes = lan(others=12)
    *old, newcomer = nodes
    number = 0
    for second in range(60):
        for _ in range(300):
            number += 1
            words = made.words_of(old[number % 11], NEAR)
            if number % 2:
                words = {key: word.upper() for key, word in words.items()}
            made.made.heard(f"spoofer {number}", words, (NEAR,), made.now)
        if second == 40:
            before = len(made.given)
            made.made.heard("x", made.words_of(newcomer, NEAR), (NEAR,), made.now)
            assert made.given[before:] == [(newcomer, (NEAR,))]
        made.made.run(made.now)
        made.now += 1.0
    assert len(made.made._heard) == 12
    assert len(made.given) <= 2 * HINTS_PER_MINUTE
    assert {node for node, _ in made.given} == set(nodes)


FAR: list[Endpoint] = [
    ("8.8.8.8", 443),
    ("2001:db8::1", 443),
    ("127.0.0.1", 443),
    ("::1", 443),
    ("0.0.0.0", 443),
    ("224.0.0.251", 443),
    ("255.255.255.255", 443),
    ("ff02::fb", 443),
    ("fe80::1", 443),
    ("::ffff:192.168.7.2", 443),
    ("192.168.7.2", 0),
    ("192.168.7.2", 65536),
    ("192.168.7.2.", 443),
    ("laptop.local", 443),
    ("", 443),
]


@pytest.mark.parametrize("endpoint", FAR, ids=str)
def test_only_what_is_near_is_tried(endpoint: Endpoint) -> None:
    made, (node,) = lan()
    assert made.hear(node, endpoint) == []
    assert not is_near(endpoint, ())


def test_the_networks_that_the_host_is_attached_to_are_near_and_come_first() -> None:
    made, (node,) = lan()
    made.made.networks = (ip_network("203.0.113.0/24"), ip_network("2001:db8:5::/64"))
    given = made.hear(node, NEAR, ("2001:db8:5::9", 443), ("203.0.113.9", 443), ("203.0.114.9", 1))
    assert given == [(node, (("2001:db8:5::9", 443), ("203.0.113.9", 443), NEAR))]


def test_neither_the_meshs_own_addresses_nor_this_hosts_are_tried() -> None:
    made, (node,) = lan()
    identity = made.alpha.identity
    made.made.networks = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    own, _ = made.alpha.endpoints[0]
    overlay4, overlay6 = identity.certificate.address4 + 1, identity.certificate.address6 + 1
    assert made.hear(node, (str(overlay4), 443), (str(overlay6), 443), (own, 9)) == []


def test_few_endpoints_of_one_are_tried() -> None:
    made, (node,) = lan()
    ((_, endpoints),) = made.hear(node, *[(f"10.0.0.{n}", 443) for n in range(1, 99)])
    assert len(endpoints) == MAX_ENDPOINTS


def test_only_so_many_hints_a_minute_are_given() -> None:
    made, nodes = lan(others=12)
    first = sum(bool(made.hear(node, name=node.hex())) for node in nodes)
    assert first == HINTS_PER_MINUTE
    assert made.hear(nodes[-1], name="again") == []
    made.given.clear()
    for _ in range(60):
        made.now += 1.0
        made.made.run(made.now)
    tried = [node for node, _ in made.given]
    assert set(nodes[HINTS_PER_MINUTE:]) <= set(tried)
    assert len(tried) <= HINTS_PER_MINUTE + 1


def test_who_is_not_reached_is_tried_again_and_who_is_is_left_alone() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    made = Lan(alpha)
    made.now = mesh.world.now
    known = beta.endpoints[0]
    made.made.networks = (ip_network(f"{known[0]}/32"),)
    assert made.hear(beta.identity.id, known) == []
    assert made.hear(beta.identity.id, NEAR) == [(beta.identity.id, (NEAR,))]
    beta.kill()
    mesh.run(250)
    made.now = mesh.world.now
    made.given.clear()
    made.made.run(made.now)
    made.made.run(made.now + AGAIN - 1)
    assert len(made.given) == 1
    made.made.run(made.now + AGAIN + 0.1)
    assert len(made.given) == 2
    made.made.gone("x")
    made.made.run(made.now + 3 * AGAIN)
    assert len(made.given) == 2


def test_a_member_that_is_met_later_is_recognized_then() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    beta = mesh.host("beta")
    made = Lan(alpha)
    made.now = mesh.world.now
    assert made.hear(beta.identity.id) == []
    mesh.connect(alpha, beta)
    beta.kill()
    alpha.peer(beta).current = None
    made.made.run(mesh.world.now)
    assert made.given == [(beta.identity.id, (NEAR,))]


def test_few_nodes_are_kept_and_the_oldest_goes() -> None:
    made, _ = lan()
    for number in range(MAX_HEARD + 1):
        made.hear(NodeId(number.to_bytes(16, "big")), name=str(number))
    assert len(made.made._heard) == MAX_HEARD
    assert "0" not in [heard.name for heard in made.made._heard.values()]


def test_a_node_has_one_entry_whatever_its_name_and_a_name_one_node() -> None:
    made, nodes = lan(others=2)
    for node, name in ((nodes[0], "a"), (nodes[0], "b"), (nodes[1], "b")):
        made.hear(node, name=name)
    assert [heard.name for heard in made.made._heard.values()] == ["b"]


def test_spoofed_multicast_makes_a_node_send_little() -> None:
    """What a whole node sends in two minutes, while words are repeated with whatever address."""
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta")
    mesh.connect(alpha, beta)
    beta.kill()
    mesh.run(250)
    made = Lan(alpha)
    real = Neighbourhood(alpha.node.state, alpha.node.places.hint)
    begun, count = mesh.world.now, 0
    for _ in range(1200):
        made.now = mesh.world.now
        for _ in range(20):
            count += 1
            victim = ("192.168.7.200", count % 60_000 + 1)
            real.heard(f"s{count}", made.words_of(beta.identity.id, NEAR), [victim, NEAR], made.now)
            real.heard(f"t{count}", {"n": "00" * 8, "e": "11" * 8}, [victim], made.now)
        alpha.settle()
        mesh.run(0.1)
    sent = [d for d in mesh.sent if d.time >= begun and d.destination[0].startswith("192.168.")]
    assert {d.destination for d in sent} == {NEAR}
    assert sum(len(d.payload) for d in sent) <= UNPROVEN_BURST + 120 * UNPROVEN_RATE


@given(
    words=st.dictionaries(st.text(max_size=3), st.text(max_size=20), max_size=4),
    endpoints=st.lists(st.tuples(st.text(max_size=20) | st.ip_addresses().map(str), st.integers())),
)
def test_whatever_is_said_without_the_secret_gives_no_hint(
    words: dict[str, str], endpoints: list[Endpoint]
) -> None:
    QUIET.given.clear()
    QUIET.made.heard("x", words, endpoints, QUIET.now)
    assert QUIET.given == []


QUIET, _ = lan()
