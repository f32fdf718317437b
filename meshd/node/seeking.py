"""Finding nodes that nobody has told this one of: where not everyone knows everyone.

    packet to an overlay address of nobody known -> held -> gossip looks up who owns the address
    records of its owner -> a peer with its certificate -> a session -> the packets leave
    nobody owns it -> the packets are dropped; for some seconds, further ones at once

A peer that was found so, or that gossip had to send something to, is a contact: no neighbour, and
dropped when nothing has passed for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from math import inf

from gossip import GossipProtocol, LookupDone, NodeId, Record, RecordKind
from meshd.node.addresses import lookup_key
from meshd.node.authority import MeshAuthority
from meshd.node.errors import RemoteError
from meshd.node.handshaking import Handshakes
from meshd.node.outputs import LookedUp
from meshd.node.peer import Key, Peer
from meshd.node.records import decode_chain, decode_node_record
from meshd.node.state import NodeState

MAX_SOUGHT = 64
"""Addresses that packets wait for at a time."""
MAX_HELD = 16
"""Packets that wait for one address; the oldest goes first."""
MAX_HELD_BYTES = 256 * 1024
"""Bytes of all packets that wait."""
HELD_FOR = 5.0
"""Seconds that they wait at most."""
MAX_MISSING, MISSING_FOR = 256, 3.0
"""Keys that nobody owns are remembered for so many seconds."""
MAX_CONTACTS = 512
"""Peers kept that are no members of gossip's; who was idle for longest goes first."""
IDLE_AFTER = 200.0
"""Seconds without a sign of life after which a contact is dropped: longer than a session lasts."""
PATIENCE = 15.0
"""Seconds in which a contact is to be reached; where it is may be out of date, so that it is then
forgotten, and looked up again when somebody wants it."""
YOUNG = 10.0
"""Seconds from this node's start in which nobody's answer is not the last word: it asks again..."""
ASK_AGAIN = 0.5
"""...after so many seconds, for as long as packets wait."""
MISSING_FOR_FULL = 30.0
"""As `MISSING_FOR`, where everyone knows everyone: who is new is heard of anyway."""
FULL_RATE, FULL_BURST = 1.0, 8.0
"""Addresses looked up there, per second and at once."""
MAX_UNPROVEN = 32
"""Contacts without a known certificate that are called at a time."""
IN_USE = 120.0
"""Seconds after the last packet in which a session with a contact is kept up."""


@dataclass(slots=True)
class _Sought:
    """An address that packets wait for."""

    until: float
    ask_at: float
    packets: list[bytes] = field(default_factory=list)


class Seeking:
    """Holds packets for unknown addresses, follows lookups, and drops idle contacts. Changes
    peers, what they wait for, and outputs."""

    def __init__(
        self,
        state: NodeState,
        gossip: GossipProtocol,
        authority: MeshAuthority,
        handshakes: Handshakes,
        now: float,
    ) -> None:
        self._state = state
        self._gossip = gossip
        self.needs: Callable[[NodeId], bool] = lambda node: False
        """Whether a contact is to stay, though it was idle for long."""
        self.refresh: Callable[[NodeId], None] = lambda node: None
        """Who finds out where such a contact is, when it does not answer."""
        self._young_until = now + YOUNG
        self._tokens, self._tokens_at = FULL_BURST, now
        self._authority = authority
        self._handshakes = handshakes
        mesh = state.identity.mesh
        self._shift = 32 - mesh.cidr.prefixlen
        self._overlay4 = int(mesh.cidr.network_address) >> self._shift
        self._overlay6 = int(mesh.prefix6.network_address) >> 64
        self._sought: dict[bytes, _Sought] = {}
        self._bytes = 0
        self._missing: OrderedDict[bytes, float] = OrderedDict()
        self._asked: dict[bytes, list[int]] = {}
        self._expired_at = -1e9

    # Packets

    def hold(self, address: Key, head: bytes, packet: memoryview, now: float) -> bool:
        """Keep a packet to an address of nobody known, if it may be somebody's.

        A node that has just come does not know how large the mesh is, so it does not matter
        whether everyone knows everyone."""
        if not self._is_overlay(address):
            return False
        key = lookup_key(_address(address))
        if self._missing.get(key, 0.0) > now:
            return False
        sought = self._sought.get(key)
        if sought is None:
            if len(self._sought) >= MAX_SOUGHT or not self._may_ask(now):
                return False
            sought = self._sought[key] = _Sought(now + HELD_FOR, now)
        entry = bytes(head + packet)
        sought.packets.append(entry)
        self._bytes += len(entry)
        while len(sought.packets) > MAX_HELD or self._bytes > MAX_HELD_BYTES:
            if not sought.packets:
                break
            self._bytes -= len(sought.packets.pop(0))
            self._state.drops["queue"] += 1
        return True

    def _is_overlay(self, address: Key) -> bool:
        if isinstance(address, tuple):
            return address[0] == self._overlay6
        ends = (self._overlay4 << self._shift, ((self._overlay4 + 1) << self._shift) - 1)
        return ends[0] < address < ends[1]  # no node has the first or the last one

    def _may_ask(self, now: float) -> bool:
        if self._gossip.is_partial:
            return True
        since, self._tokens_at = now - self._tokens_at, now
        self._tokens = min(FULL_BURST, self._tokens + since * FULL_RATE)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def seek(self, now: float) -> bool:
        """Look up what packets have come for; whether there was anything."""
        fresh = [(key, sought) for key, sought in self._sought.items() if sought.ask_at <= now]
        for key, sought in fresh:
            sought.ask_at = inf
            self._gossip.lookup(key, now)
        return bool(fresh)

    def ask(self, key: bytes, token: int, now: float) -> None:
        """A person's lookup: a `LookedUp` with `token` follows."""
        self._asked.setdefault(key, []).append(token)
        self._gossip.lookup(key, now)

    # Answers

    def done(self, found: LookupDone, now: float) -> Peer | None:
        """A lookup is over; the peer that is new or has changed, so that routes may have."""
        peer = self._take(found.records)
        for token in self._asked.pop(found.key, ()):
            node = peer.id if peer is not None else None
            self._state.outputs.append(LookedUp(token, node, found.answered_by, found.hops))
        sought = self._sought.get(found.key)
        if peer is None and sought is not None and now < min(sought.until, self._young_until):
            sought.ask_at = now + ASK_AGAIN
            return None
        self._sought.pop(found.key, None)
        packets = sought.packets if sought is not None else []
        self._bytes -= sum(map(len, packets))
        if peer is None:
            self._state.drops["no-route"] += len(packets)
            missing = MISSING_FOR if self._gossip.is_partial else MISSING_FOR_FULL
            self._missing[found.key] = now + missing
            self._missing.move_to_end(found.key)
            while len(self._missing) > MAX_MISSING:
                self._missing.popitem(last=False)
            return None
        peer.used_at = now
        for entry in packets:
            self._state.drops["queue"] += peer.hold_packet(entry)
        if packets:
            self._handshakes.begin(peer, now)
        return peer

    def _take(self, records: tuple[Record, ...]) -> Peer | None:
        """The peer that these verified records are of, when its certificate holds."""
        chain: tuple[bytes, ...] = ()
        peer = None
        try:
            for record in records:
                if record.kind == RecordKind.CERTIFICATE:
                    chain = decode_chain(record.body)
                elif record.kind == RecordKind.MEMBER:
                    peer = self._peer(record)
            if peer is not None and chain:
                unix_time = self._authority.unix_time
                trust = self._state.identity.trust
                certificate = trust.verify(chain[0], chain[1:], unix_time)
                if certificate.node != peer.id:
                    return None
                self._authority.learn(certificate, chain)
                held = peer.certificate
                if held is None or held.not_before < certificate.not_before:
                    peer.certify(certificate, chain)
        except RemoteError as error:
            self._state.drops[error.reason] += 1
            return None
        return peer

    def contact(self, node: NodeId, now: float) -> Peer | None:
        """The peer to send to, whom gossip knows by a MEMBER record alone: the handshake is to
        prove its certificate. Few at a time: endpoints are what somebody claims."""
        record = self._gossip.contact(node)
        if record is None or record.withdrawn or node == self._state.identity.id:
            return None
        unproven = sum(
            peer.certificate is None and peer.attempt is not None
            for peer in self._state.peers.values()
        )
        known = self._state.peers.get(node)
        if unproven >= MAX_UNPROVEN and (known is None or known.attempt is None):
            self._state.drops["unreachable"] += 1
            return None
        try:
            peer = self._peer(record)
            if peer is not None:
                peer.used_at = now
            return peer
        except RemoteError as error:
            self._state.drops[error.reason] += 1
            return None

    def _peer(self, record: Record) -> Peer | None:
        if record.subject == self._state.identity.id:
            return None
        told = decode_node_record(record.body)
        peer = self._state.peers.get(record.subject)
        if peer is None:
            peer = self._state.peers[record.subject] = Peer(record.subject, self._state.rng)
        if peer.record is None or self._gossip.member(peer.id) is None:
            peer.record = told
        return peer

    def announce(self, now: float) -> None:
        """Let others find this node by its name and its addresses."""
        own = self._state.identity.certificate
        self._gossip.announce([lookup_key(item) for item in (own.name, *own.addresses)], now)

    # Time

    def neighbours(self) -> frozenset[NodeId] | None:
        """Whom sessions are kept with though nothing asks for one; None: with all members."""
        return frozenset(self._gossip.neighbours()) if self._gossip.is_partial else None

    def wants(self, peer: Peer, now: float) -> bool:
        """Whether a session with `peer` is to be kept up though it is no neighbour."""
        waiting = bool(peer.packets or peer.waiting) and now - peer.used_at < PATIENCE
        return waiting or now - peer.last_data_at < IN_USE

    def expire(self, now: float) -> bool:
        """Drop packets that waited too long, and contacts that nobody needs; whether any peer
        went."""
        for key, sought in list(self._sought.items()):
            if now >= sought.until:
                del self._sought[key]
                self._bytes -= sum(map(len, sought.packets))
                self._state.drops["no-route"] += len(sought.packets)
        if now - self._expired_at < HELD_FOR:
            return False
        self._expired_at = now
        partial = self._gossip.is_partial
        contacts = [
            (peer.used_at if peer.last_seen is None else peer.last_seen, peer.id)
            for peer in self._state.peers.values()
            if (partial or peer.certificate is None)  # in full view, those that were but told of
            and self._gossip.member(peer.id) is None
            and not peer.ready(now)
        ]
        for _, node in contacts:
            if self._state.peers[node].last_error is not None and self.needs(node):
                self.refresh(node)
        contacts = sorted(contact for contact in contacts if not self.needs(contact[1]))
        surplus = len(contacts) - MAX_CONTACTS
        dropped = [
            node
            for index, (used, node) in enumerate(contacts)
            if index < surplus or now - used >= IDLE_AFTER or self._failed(node, now)
        ]
        for node in dropped:
            peer = self._state.peers[node]
            self._handshakes.close(peer)
            self._state.drops["unreachable"] += len(peer.take_packets())
            del self._state.peers[node]
            self._authority.forget(node)
        return bool(dropped)

    def _failed(self, node: NodeId, now: float) -> bool:
        peer = self._state.peers[node]
        return peer.current is None and now - peer.used_at >= PATIENCE and peer.last_seen is None


def _address(key: Key) -> IPv4Address | IPv6Address:
    if isinstance(key, tuple):
        return IPv6Address(key[0] << 64 | key[1])
    return IPv4Address(key)
