from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from random import Random

import pytest

from gossip import NodeId
from meshd.node.peer import (
    MAX_WAITING_BYTES,
    MAX_WAITING_MESSAGES,
    MAX_WAITING_PACKETS,
    Peer,
)
from meshd.node.records import NodeRecord
from meshd.node.session import REJECT_AFTER
from tests.node.couples import couple, key_of, make_peer, member

NODE = NodeId(b"n" * 16)
ROUTES = (IPv4Network("10.1.0.0/16"), IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8:1::/48"))


def test_a_peer_is_called_by_its_certificates_name_or_its_id() -> None:
    assert Peer(NODE, Random(1)).name == "6e" * 16
    assert make_peer(member("beta", 2)).name == "beta"


def test_a_certificate_brings_the_addresses() -> None:
    beta = member("beta", 2)
    peer = make_peer(beta)
    assert peer.keys4 == {key_of(beta.certificate.address4)}
    assert peer.keys6 == {key_of(beta.certificate.address6)}
    assert peer.chain == beta.chain


@pytest.mark.parametrize("text", ["10.1.0.0", "10.1.255.255", "192.0.2.7", "2001:db8:1:ffff::1"])
def test_a_peer_may_send_from_its_routes(text: str) -> None:
    peer = make_peer(member("beta", 2, ROUTES))
    address = IPv6Address(text) if ":" in text else IPv4Address(text)
    assert peer.may_send_from(key_of(address))
    assert not make_peer(member("beta", 2)).may_send_from(key_of(address))


@pytest.mark.parametrize("text", ["10.0.255.255", "10.2.0.0", "192.0.3.0", "2001:db8:2::"])
def test_a_peer_may_not_send_from_beside_its_routes(text: str) -> None:
    peer = make_peer(member("beta", 2, ROUTES))
    address = IPv6Address(text) if ":" in text else IPv4Address(text)
    assert not peer.may_send_from(key_of(address))


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("1.0.0.0", True),
        ("223.255.255.255", True),
        ("0.255.255.255", False),
        ("127.1.2.3", False),
        ("224.0.0.0", False),
        ("255.255.255.255", False),
        ("64:ff9b::1", True),
        ("2001:db8::1", True),
        ("::2", False),
        ("::ffff:8.8.8.8", False),
        ("fe80::1", False),
        ("febf:ffff::1", False),
        ("fec0::1", True),
        ("ff00::", False),
    ],
)
def test_a_default_route_covers_addresses_that_hosts_can_have(text: str, allowed: bool) -> None:
    peer = make_peer(member("beta", 2, (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))))
    address = IPv6Address(text) if ":" in text else IPv4Address(text)
    assert peer.may_send_from(key_of(address)) is allowed


def test_a_stranger_may_send_from_nowhere() -> None:
    assert not Peer(NODE, Random(1)).may_send_from(5)


def test_frames_can_leave_with_a_session_and_a_path_until_the_session_expires() -> None:
    peer = couple()[0].peer
    assert peer.ready(0.0)
    assert not peer.ready(REJECT_AFTER + 1)
    session, peer.current = peer.current, None
    assert not peer.ready(0.0)
    peer.current = session
    peer.paths.lose_all()
    assert not peer.ready(0.0)


def test_packets_wait_in_order_and_are_taken_once() -> None:
    peer = Peer(NODE, Random(1))
    assert [peer.hold_packet(entry) for entry in (b"a", b"b", b"c")] == [0, 0, 0]
    assert peer.take_packets() == [b"a", b"b", b"c"]
    assert peer.take_packets() == []


def test_many_waiting_packets_push_the_oldest_out() -> None:
    peer = Peer(NODE, Random(1))
    entries = [bytes([number]) for number in range(MAX_WAITING_PACKETS + 5)]
    assert sum(peer.hold_packet(entry) for entry in entries) == 5
    assert peer.take_packets() == entries[5:]


def test_large_waiting_packets_push_out_as_many_as_it_takes() -> None:
    peer = Peer(NODE, Random(1))
    size = 60_000
    dropped = sum(peer.hold_packet(bytes(size)) for _ in range(20))
    kept = peer.take_packets()
    assert len(kept) == MAX_WAITING_BYTES // size
    assert dropped == 20 - len(kept)
    assert sum(peer.hold_packet(bytes(size)) for _ in range(len(kept))) == 0


def test_waiting_messages_are_bounded() -> None:
    peer = Peer(NODE, Random(1))
    for number in range(MAX_WAITING_MESSAGES + 1):
        peer.waiting.append(bytes([number]))
    assert len(peer.waiting) == MAX_WAITING_MESSAGES
    assert peer.waiting[0] == b"\x01"


def test_a_peer_is_active_for_ten_seconds_after_a_packet() -> None:
    peer = Peer(NODE, Random(1))
    assert not peer.active(0.0)
    peer.last_data_at = 100.0
    assert peer.active(109.9)
    assert not peer.active(110.0)


def test_a_peer_may_be_where_its_record_says_and_where_we_know_of_once_each() -> None:
    peer = Peer(NODE, Random(1))
    here, there = ("192.0.2.1", 443), ("192.0.2.2", 443)
    assert peer.candidates() == ()
    assert peer.candidates((here,)) == (here,)
    peer.record = NodeRecord(bytes(32), (there, here))
    assert peer.candidates((here,)) == (there, here)


def test_sessions_come_with_the_current_one_first() -> None:
    alpha, beta = couple()
    peer, other = alpha.peer, beta.session
    assert peer.sessions() == [alpha.session]
    peer.previous = other
    assert peer.sessions() == [alpha.session, other]
