"""One node, composed: what goes in, what comes out, and when it wants to be called next.

    inputs   receive (datagrams), outbound (packets), handle_timer, join, ping, leave, close
    outputs  the packet path returns its results; everything else is queued, see `outputs`

Drain after every input. Nothing here sleeps, reads a clock or opens anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from random import Random

from gossip import GossipProtocol, Record, Wakeup
from meshd.node import control, finding
from meshd.node.authority import MeshAuthority
from meshd.node.channels import Channels
from meshd.node.credentials import Credentials
from meshd.node.dialogue import Dialogue
from meshd.node.enroller import Enroller
from meshd.node.errors import RemoteError
from meshd.node.explaining import Explaining
from meshd.node.handshaking import Handshakes
from meshd.node.holding import keys_of
from meshd.node.identity import Identity
from meshd.node.inbound import Inbound, Receipt
from meshd.node.invitation import Invitation
from meshd.node.membership import Membership
from meshd.node.outbound import Outbound
from meshd.node.outputs import ForwardBatch, Output
from meshd.node.path import Path
from meshd.node.peer import Peer
from meshd.node.places import Places
from meshd.node.punching import Punching
from meshd.node.reassembly import ByteBudget
from meshd.node.relay import Relay, runs
from meshd.node.state import NodeConfig, NodeState, OverlayTable
from meshd.node.streams import Streams
from meshd.node.upkeep import Upkeep
from meshd.node.ways import refused
from meshd.node.wire import DATA, RELAY_SIZE, RELAYED, Buffer, Endpoint

MAX_OUTPUTS = 8192
"""Outputs waiting at most; further control frames are dropped, as a network would."""


class Node:
    """A member of a mesh. `outbound` takes packets from the TUN (see there)."""

    def __init__(
        self,
        identity: Identity,
        config: NodeConfig,
        rng: Random,
        random_bytes: Callable[[int], bytes],
        now: float,
        unix_time: float,
        sequence: int = 1,
        counter: int = 0,
        records: Sequence[Record] = (),
        invitations: Sequence[Invitation] = (),
    ) -> None:
        """`sequence`: gossip's first one never used before; `counter`: the highest handshake
        counter persisted; `records`: what was persisted of gossip's."""
        state = NodeState(
            identity, config, rng, random_bytes, unix_time - now, ByteBudget(), counter=counter
        )
        self._state = state
        self.stirred = False
        """Set when a datagram did more than carry packets: `next_wakeup` may be another. The
        host clears it."""
        self._authority = MeshAuthority(identity, unix_time)
        self._gossip = GossipProtocol(
            identity.id,
            identity.certificate.public_key,
            config.gossip,
            self._authority,
            rng,
            now,
            sequence,
        )
        self._table = OverlayTable()
        self.outbound = Outbound(state, self._table)
        self._inbound = Inbound(state, keys_of(identity.certificate))
        self._relay = Relay(state)
        self._handshakes = Handshakes(state, now)
        for invitation in invitations:
            self.add_invitation(invitation)
        enroller = Enroller(state, self._gossip)
        self._dialogue = Dialogue(state, self._handshakes, self._gossip, self.outbound, enroller)
        self._channels = Channels(
            state, self._handshakes, self._gossip, self._relay, self._dialogue
        )
        self.streams = streams = Streams(state, self._handshakes, self._dialogue, self._gossip)
        self._membership = Membership(
            state, self._gossip, self._authority, self._table, self._dialogue, self._handshakes, now
        )
        membership = self._membership
        streams.settle = membership.drain
        self.credentials = Credentials(
            state, self._gossip, self._authority, self._dialogue, self._relay, membership.rebuild
        )
        membership.places.changed = self._places_changed
        self.explaining = Explaining(state, self._dialogue, membership.places.own)
        membership.addresses_changed = self._inbound.own
        membership.revocations_changed = self.credentials.lists.record_changed
        self.outbound.unknown = membership.seeking.hold
        self._punching = Punching(state, self._dialogue)
        parts = state, self._handshakes, self._dialogue, self._channels, self._relay
        self._upkeep = Upkeep(*parts, membership.seeking, streams, self._punching, now)
        membership.start(records, now)
        self.credentials.lists.publish(now)
        membership.drain(now)

    # Inputs: the network and the TUN

    def receive(
        self, buffer: memoryview, segment: int, source: Endpoint, now: float
    ) -> list[Buffer]:
        """Datagrams of `segment` bytes each (the last maybe shorter) from `source`.

        Returns packets for the TUN, valid until the next call. Bad input is counted and dropped.
        """
        inbound = self._inbound
        inbound.begin()
        kinds = bytes(buffer[::segment])
        if kinds.count(DATA) == len(kinds):
            packets = inbound.receive(buffer, segment, source, now)
        else:
            packets = self._receive_mixed(buffer, segment, source, now)
        if inbound.arrivals:
            self._take_arrivals(now)
            self.stirred = True
        return packets

    def receive_split(
        self,
        headers: memoryview,
        body: memoryview,
        segment: int,
        size: int,
        source: Endpoint,
        now: float,
    ) -> list[Buffer] | None:
        """As `receive`, of `size` bytes whose 16-byte headers lie in `headers` and whose slices
        in `body`. None: these are to be received in one piece; nothing was done."""
        inbound = self._inbound
        inbound.begin()
        receipt = Receipt(source, None, now)
        if not inbound.receive_split(headers, body, segment, size, receipt):
            return None
        if inbound.arrivals:
            self._take_arrivals(now)
            self.stirred = True
        return receipt.packets

    def _receive_mixed(
        self,
        buffer: memoryview,
        segment: int,
        source: Endpoint,
        now: float,
        via: Path | None = None,
    ) -> list[Buffer]:
        """Runs of datagrams of one kind each: GRO joins whatever has one size and one sender.
        `via`: the relayed path they came by, its prefix still before each."""
        packets: list[Buffer] = []
        base = 0 if via is None else RELAY_SIZE
        size, start, kinds = len(buffer), 0, bytes(buffer[base::segment])
        while start < len(kinds):
            kind, end = kinds[start], start + 1
            while end < len(kinds) and kinds[end] == kind:
                end += 1
            run = buffer[start * segment : min(end * segment, size)]
            if kind == DATA:
                packets += self._inbound.receive(run, segment, source, now, via, base)
            elif kind == RELAYED and via is None:
                packets += self._receive_relayed(run, segment, source, now)
            else:
                for offset in range(0, len(run), segment):
                    datagram = bytes(run[offset + base : offset + segment])
                    self._receive_handshake(datagram, source, via, now)
            start = end
        return packets

    def _receive_relayed(
        self, buffer: memoryview, segment: int, source: Endpoint, now: float
    ) -> list[Buffer]:
        packets: list[Buffer] = []
        for number, start, end in runs(buffer, segment):
            run = buffer[start:end]
            if number is None:
                self._state.drops["malformed"] += 1
            elif self._relay.carries(number):
                batch = self._relay.forward(run, segment, number, source, now)
                if batch is not None:
                    self._state.outputs.append(ForwardBatch(batch))
            else:
                path = self._channels.find(number, source)
                if path is None:
                    self._state.drops["relay-channel"] += 1
                else:
                    packets += self._receive_mixed(run, segment, source, now, path)
        return packets

    def _receive_handshake(
        self, datagram: bytes, source: Endpoint, via: Path | None, now: float
    ) -> None:
        self.stirred = True
        try:
            match datagram[0]:
                case 1:
                    self._handshakes.receive_initiation(datagram, source, via, now)
                case 2:
                    done = self._handshakes.receive_response(datagram, source, via, now)
                    self._dialogue.established(done, len(datagram), now)
                    self._upkeep.touch(now)
                case 3:
                    self._handshakes.receive_cookie(datagram, source, now)
                case 6:
                    self.streams.introduced(datagram, source, now)
                    self._settle(now)
                case _:
                    self._state.drops["unknown-kind"] += 1
        except RemoteError as error:
            self._handshakes.refused(error, source)

    def _take_arrivals(self, now: float) -> None:
        arrivals, self._inbound.arrivals = self._inbound.arrivals, []
        for arrival in arrivals:
            try:
                self._dialogue.take(arrival, now)
            except RemoteError as error:
                self._handshakes.refused(error, arrival.source)
        self._settle(now)

    def connect_waiting(self, now: float) -> None:
        """A packet waits for a session (`outbound.waiting`): begin a handshake."""
        peer, self.outbound.waiting = self.outbound.waiting, None
        if self._membership.seeking.seek(now):
            self._settle(now)
        if not isinstance(peer, Peer):
            return
        peer.used_at = now
        if not peer.ready(now):
            self._handshakes.begin(peer, now)
            self._upkeep.touch(now)
        else:
            self._dialogue.ready(peer, now)

    # Inputs: time and the person

    def handle_timer(self, now: float) -> None:
        """Do what is due. Early or late calls do no harm."""
        self._dialogue.backlog.work(now)
        wakeup = self._gossip.next_wakeup()
        if wakeup is not None and wakeup.at <= now:
            self._authority.unix_time = self._state.unix_time(now)
            self._gossip.handle_timer(now)
        self._punching.run(now)
        self._upkeep.run(now)
        self._membership.run(now)
        self.credentials.run(now)
        self._membership.publish(now)
        self._settle(now)

    def _places_changed(self, now: float) -> None:
        self._membership.publish(now)
        self._upkeep.touch(now)
        self._settle(now)

    def _settle(self, now: float) -> None:
        """Carry what gossip wants to say, until nothing new comes of it."""
        self._membership.drain(now)
        if self._dialogue.touched:
            self._dialogue.touched = False
            self._upkeep.touch(now)

    def next_wakeup(self) -> Wakeup | None:
        """When to call `handle_timer` next, and why."""
        ways_at = min(self._upkeep.next_at, self._punching.next_at)
        own = Wakeup(min(ways_at, self._membership.leaving.next_at), "upkeep")
        theirs = self._dialogue.backlog.wakeup or self._gossip.next_wakeup()
        return own if theirs is None or own.at <= theirs.at else theirs

    def set_clock(self, unix_time: float, now: float) -> None:
        """The wall clock's word, now and then: certificates are judged by it."""
        self._state.unix_offset = unix_time - now
        self._authority.unix_time = unix_time

    def add_invitation(self, invitation: Invitation) -> None:
        """Admit whoever comes with it."""
        invitations, unix_time = self._handshakes.invitations, self._authority.unix_time
        for known in list(invitations.values()):
            if known.expiry < unix_time:
                del invitations[known.locator]
        invitations[invitation.locator] = invitation

    def send_failed(
        self, endpoint: Endpoint, reason: str, *, packets: bool, too_large: bool, now: float
    ) -> None:
        """The kernel refused packets, or control messages: these try ways that may not exist."""
        if packets:
            self._state.drops["too-large" if too_large else "send"] += 1
        refused(self._state, endpoint, reason, too_large, now)

    def ping(self, peer: Peer, token: int, now: float) -> None:
        """Measure the round trip to a peer; a `Pong` with `token` follows."""
        self._dialogue.ping(peer, token, now)
        self._settle(now)

    def look_up(self, key: bytes, token: int, now: float) -> None:
        """Ask the mesh who answers for `key`; a `LookedUp` with `token` follows."""
        self._membership.seeking.ask(key, token, now)
        self._settle(now)

    def leave(self, now: float) -> bool:
        """Begin to leave the mesh for good, until `has_left`: see `Leaving.leave`."""
        final = self._membership.leaving.leave(now)
        self._settle(now)
        return final

    @property
    def has_left(self) -> bool:
        """Whether all is told that is to be told of our leaving."""
        return self._membership.leaving.told

    def close(self, now: float) -> None:
        """Say goodbye: members hear that we left, and sessions end at once."""
        self._gossip.leave(now)
        self._membership.drain(now)
        for peer in self._state.peers.values():
            if peer.ready(now):
                self._dialogue.send(peer, control.Close(), now)

    # Outputs

    def drain(self) -> list[Output]:
        """What the host is to do, in order; each output once."""
        outputs = self._state.outputs
        if not outputs:
            return []
        self._state.outputs = []
        return outputs if len(outputs) <= MAX_OUTPUTS else outputs[:MAX_OUTPUTS]

    @property
    def pending(self) -> bool:
        """Whether `drain` would return anything."""
        return bool(self._state.outputs)

    def records(self) -> list[Record]:
        """What to persist of gossip's."""
        return self._gossip.records()

    # Views

    @property
    def state(self) -> NodeState:
        """For `status`: to read, not to change."""
        return self._state

    @property
    def places(self) -> Places:
        """What the host tells of the network around it."""
        return self._membership.places

    @property
    def gossip(self) -> GossipProtocol:
        """For `status`: to read, not to change."""
        return self._gossip

    @property
    def relay(self) -> Relay:
        """For `status`: to read, not to change."""
        return self._relay

    def routes(self) -> list[tuple[str, Peer, bool]]:
        """Every prefix on offer, who offers it, and whether its packets go there."""
        return [
            (
                prefix,
                self._state.peers[node],
                self._table.carrier(prefix) is self._state.peers[node],
            )
            for prefix, node in self._membership.routes()
            if node in self._state.peers
        ]

    def route(self, address: IPv4Address | IPv6Address) -> tuple[Peer | None, str | None]:
        """Who carries packets to `address`, and by which prefix when it is not its own."""
        return finding.route(address, self._table, self.routes())

    def find(self, text: str) -> Peer | None:
        """A peer by name, id or overlay address."""
        return finding.find(text, self._state.peers.values(), self._state.identity.trust)
