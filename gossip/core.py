"""What the parts of one node's gossip share: who and what is known, and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from gossip import messages
from gossip.authority import Authority
from gossip.config import GossipConfig
from gossip.contacts import Contacts
from gossip.coordinates import MAX_PLACES, Vivaldi
from gossip.directory import Directory, KeyIndex, keys_of
from gossip.dissemination import NewsClass, NewsQueue, transmit_limit
from gossip.events import Output, SendMessage
from gossip.ids import NodeId
from gossip.isolation import IsolationGuard
from gossip.items import MAX_ITEMS, Equivocation, accuse, encode_item, encode_record
from gossip.members import MemberState, MemberTable, Peer
from gossip.messages import Ack, Body
from gossip.records import LOCAL_KINDS, Record, RecordKind
from gossip.rotation import Rotation
from gossip.statistics import Counters
from gossip.store import RecordStore
from gossip.timers import Timer, Timers


class Core:
    """State only, and the few things that every part does with it."""

    def __init__(
        self,
        identity: NodeId,
        key: bytes,
        config: GossipConfig,
        authority: Authority,
        rng: Random,
    ) -> None:
        self.identity = identity
        self.key = key
        self.config = config
        self.authority = authority
        self.rng = rng
        self.members = MemberTable()
        self.store = RecordStore(config.max_members)
        self.keys = KeyIndex()
        self.directory = Directory(authority, config.expire_after)
        self.contacts = Contacts(identity, config.kademlia_k, self.members, self.store)
        self.partial = False
        """Whether this node keeps only a few neighbours; once it does, it does so for ever."""
        self.in_parts = False
        """Whether some node is partial: then not everyone knows everyone."""
        self.links: dict[NodeId, bool] = {}
        """Those with whom a link was made. All neighbours of a partial node are among its members,
        and so are those that it hopes to keep."""
        self._nodes = 1
        self.vivaldi = Vivaldi(rng, MAX_PLACES)
        self.news = NewsQueue(config.queue_limit)
        self.timers = Timers()
        self.guard = IsolationGuard(config, self.members)
        self.counters = Counters()
        self.outputs: list[Output] = []
        self.health = 0
        """Lifeguard's local health multiplier: 0 is healthy."""
        self.sequence = 0
        """Of this node's own MEMBER record; 0 before it has one."""
        stable = 2 * config.retransmit_multiplier
        self._rotation = Rotation(self.members, rng, stable, self._is_told)
        self._last_round = float("-inf")

    def send(self, to: NodeId, body: Body, items: Sequence[bytes] = (), news: bool = False) -> None:
        """Queue one message; with `news`, its free room is filled with what is to be spread."""
        if len(self.outputs) >= self.config.max_outputs:
            self.counters.outputs_dropped += 1
            return
        payload = messages.encode(self.sequence, body, items)
        if news and self.news and self.tells(to):
            limit = transmit_limit(self.config.retransmit_multiplier, self.nodes)
            room = self.config.packet_size - len(payload)
            payload += b"".join(self.news.fill(room, limit, MAX_ITEMS - len(items)))
        self.counters.messages_sent += 1
        self.counters.bytes_sent += len(payload)
        self.outputs.append(tuple.__new__(SendMessage, (to, payload)))

    @property
    def nodes(self) -> int:
        """How many nodes there are, this one too, as far as it knows."""
        return max(self._nodes, self.members.live + 1) if self.in_parts else self.members.live + 1

    def measure(self) -> None:
        """Estimate anew how many nodes there are."""
        self._nodes = self.contacts.estimate()

    def tells(self, node: NodeId) -> bool:
        """Whether news is spent on `node`: not on those who would not pass it on."""
        peer = self.members.get(node)
        return not self.partial if peer is None else self._is_told(peer)

    def _is_told(self, peer: Peer) -> bool:
        return self.partial or not peer.partial or peer.id in self.links

    def ack(self, nonce: int, to: NodeId) -> Ack:
        """An answer for `to`, with a digest that both can compare."""
        peer = self.members.get(to)
        only_global = self.partial or (peer is not None and peer.partial)
        digest = self.store.global_digest if only_global else self.store.digest
        linked = to in self.links
        place = self.vivaldi.coordinate
        return tuple.__new__(Ack, (nonce, digest, place, self.partial, linked, only_global))

    def concerns(self, record: Record) -> bool:
        """Whether `record` is for this node to keep: a partial one leaves most to others."""
        if not self.partial or record.kind not in LOCAL_KINDS:
            return True
        known = record.subject in self.links or self.members.get(record.subject) is not None
        return known or record.subject == self.identity

    def adjust_health(self, change: int) -> None:
        """Move the local health multiplier within its bounds."""
        if self.health or change > 0:
            self.health = min(self.config.health_limit, max(0, self.health + change))

    def state_of(self, node: NodeId) -> MemberState:
        """How this node sees `node`; itself, and whom it does not know, it takes to be alive."""
        peer = self.members.get(node)
        return MemberState.ALIVE if peer is None else peer.state

    def record_item(self, record: Record) -> bytes:
        """The item that carries `record` and this node's view of its subject."""
        return encode_record(record, self.state_of(record.subject))

    def keep(self, record: Record) -> None:
        """Take in a verified record that supersedes what is held."""
        self.store.put(record)
        if record.kind == RecordKind.CERTIFICATE:
            self.keys.put(record.subject, keys_of(self.authority, record))

    def forget(self, subject: NodeId) -> None:
        """Drop what is held of `subject`, except what must last."""
        self.vivaldi.forget(subject)
        self.store.forget(subject)
        self.keys.drop(subject)

    def release(self, subject: NodeId) -> None:
        """Drop what only neighbours keep of `subject`; it may come again."""
        self.store.release(subject)
        self.keys.drop(subject)
        for kind in LOCAL_KINDS:
            self.news.discard((kind, subject))

    def spread_record(self, record: Record, now: float) -> None:
        """Queue a record as news."""
        news = NewsClass.OTHER
        if record.kind == RecordKind.MEMBER:
            news = NewsClass.MEMBERSHIP
        elif record.kind == RecordKind.ROUTES:
            news = NewsClass.ROUTES
        self._spread(news, (record.kind, record.subject), self.record_item(record), now)

    def spread_proof(self, proof: Equivocation, now: float) -> None:
        """Queue the proof of an equivocation as news."""
        key = (proof.subject, proof.kind)
        self._spread(NewsClass.OTHER, key, encode_item(proof), now)

    def drop_record_news(self) -> None:
        """Forget what is queued about records that all keep; accusations stay."""
        for key in self.news.queued():
            if not isinstance(key, tuple) or not isinstance(key[0], int):
                continue
            if not self.partial or key[0] not in LOCAL_KINDS:
                self.news.discard(key)

    def spread_accusation(self, subject: NodeId, accuser: NodeId, item: bytes, now: float) -> None:
        """Queue an accusation as news."""
        self._spread(NewsClass.MEMBERSHIP, (subject, accuser), item, now)

    def spread_verdict(self, peer: Peer, now: float) -> None:
        """Queue "it is dead", as plain SWIM tells it: its record, with the state that we see."""
        record = self.store.get(peer.id, RecordKind.MEMBER)
        if record is not None:
            self._spread(NewsClass.MEMBERSHIP, (peer.id, peer.id), self.record_item(record), now)

    def charge(self, peer: Peer) -> bytes:
        """This node's own accusation of `peer`, at its current sequence, as an item."""
        if peer.charge is None:
            accusation = accuse(self.authority, self.identity, peer.id, peer.sequence)
            peer.charge = encode_item(accusation)
        return peer.charge

    def buddy_items(self, peer: Peer) -> list[bytes]:
        """Lifeguard's buddy system: what is held against `peer` goes first into a probe of it."""
        if peer.state is MemberState.ALIVE and not peer.condemned:
            return []
        return self.charges(peer) if self.config.policy.buddy else []

    def charges(self, peer: Peer) -> list[bytes]:
        """What is held against `peer`, for it to refute; under our own name.

        The accusers may be strangers to a peer that begins anew.
        """
        accused = peer.state is MemberState.SUSPECT or peer.condemned
        if not accused or peer.state is MemberState.LEFT:
            return []
        return [self.charge(peer)]

    def gossip_round(self, now: float) -> None:
        """Send news to the next few members, and perhaps to one of the recently dead."""
        self._last_round = now
        targets = self._rotation.take(self.config.gossip_fanout)
        dead = self._recently_dead(now)
        if dead and self.rng.random() < len(dead) / (len(dead) + self.members.live):
            targets.append(self.rng.choice(dead))
        for target in targets:
            if not len(self.news):
                return
            self.send(target, messages.Gossip(), news=True)
        if targets and len(self.news):
            self.timers.schedule(Timer.GOSSIP, now + self.config.gossip_interval)

    def _spread(self, news: NewsClass, key: object, item: bytes, now: float) -> None:
        self.news.add(news, key, item)
        self.wake_gossip(now)

    def wake_gossip(self, now: float) -> None:
        """See that a round comes, if there is news and somebody to tell."""
        if len(self.news) and self.members.live and not self.timers.pending(Timer.GOSSIP):
            at = max(now, self._last_round + self.config.gossip_interval)
            self.timers.schedule(Timer.GOSSIP, at)

    def _recently_dead(self, now: float) -> list[NodeId]:
        if not self.members.count(MemberState.DEAD):
            return []
        since = now - self.config.gossip_to_dead
        return [
            peer.id
            for peer in self.members.in_state(MemberState.DEAD)
            if peer.condemned and peer.since >= since
        ]
