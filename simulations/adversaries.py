"""Members with good keys and bad intentions: each runs gossip as others do, and attacks besides.

An adversary is an insider: its messages are authenticated as its own. What an outsider could send
is dropped below gossip. Each attack is one class; `harm` counts what it sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from gossip import messages, records
from gossip.coordinates import DIMENSIONS, HEIGHT_MIN, Coordinate
from gossip.events import Wakeup
from gossip.ids import MAX_SEQUENCE, NodeId
from gossip.items import MAX_ITEMS, RecordItem, accuse, encode_item
from gossip.members import MemberState
from gossip.messages import Ack
from gossip.queries import Find, Found, Store
from gossip.records import Record, RecordKind
from simulations.cluster import Cluster, Host
from simulations.gossiper import Directory, Gossiper
from simulations.machine import Machine, Seen, Send
from simulations.nat import Endpoint
from simulations.overhead import gossip_overhead

ATTACK_EVERY_S: Final = 1.0
OVERHEARD_MAX: Final = 256
VICTIMS: Final = 8
"""Others who are sent the fruits of one attack."""
LIE_S: Final = 5.0
"""How far off a liar says that it is, in each dimension of its coordinate."""
FELLOWS: Final = 4
"""Whom a Sybil tells of in one answer: as many records as fit a message."""


class Adversary:
    """The machine of a host that attacks every second; the base class attacks with nothing."""

    def __init__(self, inner: Gossiper, number: int, directory: Directory, rng: Random) -> None:
        self.inner = inner
        self.packet_size = inner.packet_size
        self.harm = 0
        self.resting = False
        """Whether it has stopped attacking: the world is healed."""
        self.identity = directory.identities[number]
        self.authority = directory.authorities[number]
        self.rng = rng
        self._directory = directory
        self._others = [n for n in directory.identities if n != number]
        self._attack_at = 0.0
        self._evil: list[Send | Seen] = []

    @property
    def is_partial(self) -> bool:
        """As the gossip inside it."""
        return self.inner.is_partial

    def attack(self, now: float) -> None:
        """Do evil once."""

    def overhear(self, payload: bytes, source: Endpoint) -> None:
        """See what an honest host sent to this one."""

    @property
    def sequence(self) -> int:
        """Of its own MEMBER record."""
        own = self.inner.protocol.record(self.identity, RecordKind.MEMBER)
        return own.sequence if own else 0

    def victims(self) -> list[int]:
        """The numbers of some others, at random."""
        return self.rng.sample(self._others, min(VICTIMS, len(self._others)))

    def held(self, number: int) -> Record | None:
        """The MEMBER record of another, as this host knows it, if only as a contact."""
        return self.inner.protocol.contact(self._directory.identities[number])

    def say(self, number: int, items: Sequence[bytes]) -> None:
        """Send news to another, as gossip does."""
        self.send(number, messages.encode(self.sequence, messages.Gossip(), items))

    def send(self, number: int, payload: bytes) -> None:
        """Send any bytes to another."""
        self.harm += 1
        place = self._directory.endpoint_of[self._directory.identities[number]]
        self._evil.append(Send(place, payload, gossip_overhead(len(payload))))

    def forge(self, record: Record, sequence: int, body: bytes) -> Record:
        """A newer record in the name of another's subject, with a signature by this host."""
        forged = replace(record, sequence=sequence, body=body)
        return replace(forged, signature=self.authority.sign(forged.signed_bytes(b"")))

    # The machine

    def start(self, seeds: Sequence[int], now: float) -> None:
        """Join as others do."""
        self._attack_at = now + ATTACK_EVERY_S * (1 + self.rng.random())
        self.inner.start(seeds, now)

    def receive(self, payload: bytes, source: Endpoint, now: float) -> None:
        """Listen, and go on as others do."""
        self.overhear(payload, source)
        self.inner.receive(payload, source, now)

    def handle_timer(self, now: float) -> None:
        """Attack when it is time."""
        if now >= self._attack_at:
            self._attack_at = now + ATTACK_EVERY_S
            if not self.resting:
                self.attack(now)
        self.inner.handle_timer(now)

    def next_wakeup(self) -> Wakeup | None:
        """Whichever comes first: gossip's, or the next attack."""
        wakeup = self.inner.next_wakeup()
        if wakeup is None or wakeup.at > self._attack_at:
            return Wakeup(self._attack_at, "attack")
        return wakeup

    def next_deadline(self) -> float:
        """The same, without the reason."""
        wakeup = self.next_wakeup()
        return float("inf") if wakeup is None else wakeup.at

    def drain(self) -> list[Send | Seen]:
        """Gossip's outputs, then the attack's."""
        evil, self._evil = self._evil, []
        return self.inner.drain() + evil

    def leave(self, now: float) -> None:
        """Say goodbye as others do."""
        self.inner.leave(now)

    def moved(self, endpoint: Endpoint, now: float) -> None:
        """Move as others do."""
        self.inner.moved(endpoint, now)

    def states(self) -> dict[NodeId, str]:
        """As the gossip inside it."""
        return self.inner.states()

    def sequences(self) -> dict[tuple[NodeId, int], int]:
        """As the gossip inside it."""
        return self.inner.sequences()

    def records(self) -> tuple[bytes, ...]:
        """As the gossip inside it."""
        return self.inner.records()


class Replayer(Adversary):
    """Keeps what it is sent, and sends it to others as its own, much later."""

    def __init__(self, inner: Gossiper, number: int, directory: Directory, rng: Random) -> None:
        super().__init__(inner, number, directory, rng)
        self._overheard: deque[bytes] = deque(maxlen=OVERHEARD_MAX)

    def overhear(self, payload: bytes, source: Endpoint) -> None:
        """Keep it."""
        self._overheard.append(payload)

    def attack(self, now: float) -> None:
        """Send the oldest that was kept, and a few at random."""
        for victim in self.victims():
            if self._overheard:
                self.send(victim, self.rng.choice(self._overheard))


class Forger(Adversary):
    """Writes records in others' names: newer ones, with its own signature or their old one."""

    def attack(self, now: float) -> None:
        """Tell some of a victim's new record, which the victim never made."""
        victims = self.victims()
        record = self.held(victims[0])
        if record is None:
            return
        newer = self.forge(record, record.sequence + 1, b"somewhere else")
        stale = replace(record, sequence=record.sequence + 1)
        wrong_key = replace(newer, key=self.authority.key)
        forged = self.rng.choice((newer, stale, wrong_key))
        for victim in victims[1:]:
            self.say(victim, [encode_item(RecordItem(forged, MemberState.ALIVE))])


class Jumper(Adversary):
    """Jumps sequences: its own to the last there is, others' by accusing what they never were."""

    def attack(self, now: float) -> None:
        """Accuse a far sequence of a victim; later claim the highest sequence of its own."""
        victims = self.victims()
        record = self.held(victims[0])
        if record is None:
            return
        subject = record.subject
        far = self.rng.choice((record.sequence + 1, record.sequence + 1000, MAX_SEQUENCE))
        items = [encode_item(accuse(self.authority, self.identity, subject, far))]
        own = self.inner.protocol.record(self.identity, RecordKind.MEMBER)
        if own is not None and self.harm > 20 * VICTIMS:
            last = records.signed(
                self.authority,
                RecordKind.MEMBER,
                self.authority.key,
                self.identity,
                MAX_SEQUENCE,
                own.body,
            )
            items.append(encode_item(RecordItem(last, MemberState.ALIVE)))
        for victim in victims:
            self.say(victim, items)


class Equivocator(Adversary):
    """Says one thing to some and another to others, under one sequence."""

    def attack(self, now: float) -> None:
        """Two records of its own, of kinds that nobody acts on, alternately to the victims."""
        sequence = 1 + self.harm // (4 * VICTIMS)
        for place, victim in enumerate(self.victims()):
            body = f"version {place % 2} of {sequence}".encode()
            record = records.signed(
                self.authority,
                RecordKind.ROUTES,
                self.authority.key,
                self.identity,
                sequence,
                body,
            )
            self.say(victim, [encode_item(RecordItem(record, MemberState.ALIVE))])


class Accuser(Adversary):
    """Says of everyone that they are dead, again and again."""

    def attack(self, now: float) -> None:
        """Accuse some, to some."""
        accused = [record for record in map(self.held, self.victims()) if record is not None]
        items = [
            encode_item(accuse(self.authority, self.identity, record.subject, record.sequence))
            for record in accused[:MAX_ITEMS]
        ]
        for victim in self.victims():
            self.say(victim, items)


class Hijacker(Adversary):
    """Offers ways to addresses that are others', or everybody's."""

    prefixes: tuple[str, ...] = ("0.0.0.0/0", "::/0", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32")

    def attack(self, now: float) -> None:
        """Publish, in order, what it has no right to."""
        self.harm += 1
        if self.harm % 5 == 1:
            body = " ".join(self.prefixes).encode()
            self.inner.protocol.publish(RecordKind.ROUTES, body, now)


class Liar(Adversary):
    """Says in every ACK that it lies elsewhere, far off, and that it is sure of it."""

    def drain(self) -> list[Send | Seen]:
        """Gossip's outputs, with every coordinate replaced."""
        return [self._lie(out) if isinstance(out, Send) else out for out in super().drain()]

    def _lie(self, send: Send) -> Send:
        envelope = messages.decode(send.payload)
        if not isinstance(envelope.body, Ack) or self.resting:
            return send
        self.harm += 1
        a, b, c, d, e, f, g, h = [self.rng.uniform(-LIE_S, LIE_S) for _ in range(DIMENSIONS)]
        far = (a, b, c, d, e, f, g, h)
        body = envelope.body._replace(coordinate=Coordinate(far, HEIGHT_MIN, 0.0, 0.01))
        items = [encode_item(item) for item in envelope.items]
        return send._replace(payload=messages.encode(envelope.sequence, body, items))


class Babbler(Adversary):
    """Sends what is no message: noise, cut messages, changed bytes, types of another time."""

    def __init__(self, inner: Gossiper, number: int, directory: Directory, rng: Random) -> None:
        super().__init__(inner, number, directory, rng)
        self._overheard: deque[bytes] = deque(maxlen=OVERHEARD_MAX)

    def overhear(self, payload: bytes, source: Endpoint) -> None:
        """Keep it, to be spoiled."""
        self._overheard.append(payload)

    def attack(self, now: float) -> None:
        """Spoil some of what was kept."""
        for victim in self.victims():
            payload = bytearray(self.rng.choice(self._overheard) if self._overheard else b"")
            way = self.rng.randrange(3)
            if way == 0 or not payload:
                payload = bytearray(self.rng.randbytes(self.rng.randrange(1, 200)))
            elif way == 1:
                del payload[self.rng.randrange(len(payload)) :]
            else:
                payload[self.rng.randrange(len(payload))] ^= 1 << self.rng.randrange(8)
            self.send(victim, bytes(payload))


class Sybil(Adversary):
    """One of many around a key: forgets what is stored there, and answers with its fellows only."""

    def __init__(
        self,
        fellows: Sequence[int],
        inner: Gossiper,
        number: int,
        directory: Directory,
        rng: Random,
    ) -> None:
        super().__init__(inner, number, directory, rng)
        self._fellows = [fellow for fellow in fellows if fellow != number]

    def receive(self, payload: bytes, source: Endpoint, now: float) -> None:
        """Drop what is to be kept, lie to those who ask, and go on as others do with the rest."""
        body = messages.decode(payload).body
        if isinstance(body, Store):
            self.harm += 1
        elif isinstance(body, Find) and not self.resting:
            self._mislead(body, source)
        else:
            super().receive(payload, source, now)

    def _mislead(self, find: Find, source: Endpoint) -> None:
        asker = self._directory.node_at.get(source)
        number = next((n for n, i in self._directory.identities.items() if i == asker), None)
        if number is None:
            return
        told = [self.held(fellow) for fellow in self._fellows[:FELLOWS]]
        items = [encode_item(RecordItem(r, MemberState.ALIVE)) for r in told if r is not None]
        self.send(number, messages.encode(self.sequence, Found(find.nonce, 0, 1), items))


MakeAdversary = Callable[[Gossiper, int, Directory, Random], Adversary]


def corrupt(cluster: Cluster, make: MakeAdversary, numbers: Sequence[int]) -> None:
    """Let these hosts, which have not started, be adversaries from their first boot on."""
    honest = cluster.make

    def made(host: Host) -> Machine:
        machine = honest(host)
        if host.honest or not isinstance(machine, Gossiper):
            return machine
        rng = cluster.world.stream(f"adversary/{host.number}/{host.boots}")
        return make(machine, host.number, machine.directory, rng)

    for number in numbers:
        cluster.hosts[number].honest = False
    cluster.make = made
