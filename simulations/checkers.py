"""What must hold in every run, judged as it happens."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from gossip.config import GossipConfig
from gossip.events import MemberDown, MemberForgotten, RecordChanged, SequenceChanged
from gossip.ids import NodeId
from gossip.records import MAX_KINDS
from simulations.cluster import Cluster, Host, Observer
from simulations.injector import FaultInjector
from simulations.machine import Seen, Send
from simulations.nat import Endpoint

EXAMPLES_MAX = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One verdict on a run; `detail` says what was found, for a person."""

    name: str
    ok: bool
    detail: str


class Checker(Observer):
    """An observer that counts violations and keeps the first few as examples."""

    name = ""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.violations = 0
        self._examples: list[str] = []

    def violated(self, text: str) -> None:
        """Count one violation, at the present virtual time."""
        self.violations += 1
        if len(self._examples) < EXAMPLES_MAX:
            self._examples.append(f"{self.cluster.world.now:.3f} s: {text}")

    def finish(self) -> None:
        """Look at the end state; the default is content with it."""

    def result(self) -> Check:
        """The verdict so far."""
        more = self.violations - len(self._examples)
        examples = [*self._examples, f"and {more} more"] if more else self._examples
        return Check(self.name, not self.violations, "; ".join(examples) or "held")


class SequencesOnlyRise(Checker):
    """A host never goes back to an older record, and only the subject makes newer ones.

    A host that was started with less on its disk than it had may use a sequence again, until
    others show it what it said before. Who has forgotten a member, as partial views do, may take
    what it then hears of it.
    """

    name = "sequences only rise"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._issued: dict[NodeId, int] = {}
        self._used: dict[NodeId, int] = {}  # in this life
        self._forgetful: dict[NodeId, bool] = {}
        self._held: dict[tuple[int, NodeId, int], int] = {}

    def started(self, host: Host) -> None:
        """A restarted host learns anew; what it issued stands, if its disk was not lost."""
        if host.forgetful:
            self._used[host.identity] = 0
            self._forgetful[host.identity] = True
        for key in [key for key in self._held if key[0] == host.number]:
            del self._held[key]

    def saw(self, host: Host, seen: Seen) -> None:
        """Judge a new sequence of its own, or a record."""
        if isinstance(seen, MemberForgotten):
            for kind in range(MAX_KINDS):
                self._held.pop((host.number, seen.id, kind), None)
        if isinstance(seen, SequenceChanged):
            identity, sequence = host.identity, seen.sequence
            if sequence <= self._used.get(identity, 0):
                self.violated(f"host {host.number} went back to its sequence {sequence}")
            self._used[identity] = sequence
            self._issued[identity] = max(sequence, self._issued.get(identity, 0))
        elif isinstance(seen, RecordChanged):
            record = seen.record
            key = (host.number, record.subject, record.kind)
            subject = self.cluster.by_identity.get(record.subject)
            if not host.honest or (subject is not None and not subject.honest):
                return
            held = self._held.get(key, 0)
            partial = host.machine is not None and host.machine.is_partial
            again = record.sequence == held and (partial or record.subject in self._forgetful)
            if record.sequence <= held and not again:
                self.violated(f"host {host.number} took an older record of {record.subject.hex()}")
            if record.sequence > self._issued.get(record.subject, 0):
                self.violated(f"nobody issued {record.sequence} of {record.subject.hex()}")
            self._held[key] = record.sequence


class NobodyDiesWithoutCause(Checker):
    """No host declares dead one that runs, that it can reach, and to which nothing happened.

    Neither of the two may be ill: no fault of its own is upon it (`injector` knows). `grace_s` is
    how long a suspicion that had a cause may outlive it.
    """

    name = "nobody dies without cause"

    def __init__(
        self, cluster: Cluster, grace_s: float, injector: FaultInjector | None = None
    ) -> None:
        super().__init__(cluster)
        self._grace_s = grace_s
        self._injector = injector

    def saw(self, host: Host, seen: Seen) -> None:
        """Judge a verdict of death."""
        if not isinstance(seen, MemberDown) or seen.id not in self.cluster.by_identity:
            return
        other = self.cluster.by_identity[seen.id]
        if not (host.honest and other.honest):
            return
        calm = self.cluster.undisturbed_s(host, other) > self._grace_s
        if (
            calm
            and not (self._ill(host) or self._ill(other))
            and self.cluster.reachable(host, other)
        ):
            self.violated(f"host {host.number} declared the healthy host {other.number} dead")

    def _ill(self, host: Host) -> bool:
        if self._injector is None:
            return False
        ended_at = self._injector.ended_at.get(host.number, -inf)
        recently = self.cluster.world.now - ended_at <= self._grace_s
        return recently or self._injector.is_ill(host)


class MessagesFit(Checker):
    """No datagram is larger than the configuration allows."""

    name = "messages fit"

    def sent(self, host: Host, send: Send) -> None:
        """Judge a datagram's size."""
        if host.machine is not None and len(send.payload) > host.machine.packet_size:
            self.violated(f"host {host.number} sent {len(send.payload)} bytes")


class NothingIsRefused(Checker):
    """Honest hosts never refuse each other's datagrams."""

    name = "nothing is refused"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.tolerated: tuple[str, ...] = ()
        """Reasons that do not count."""
        self._hosts = {host.endpoint: host for host in cluster.hosts}

    def refused(self, host: Host, reason: str, source: Endpoint) -> None:
        """Count a refusal; what adversaries send, and are sent, may be refused."""
        sender = self._hosts.get(source)
        honest = host.honest and (sender is None or sender.honest)
        if honest and reason not in self.tolerated:
            self.violated(f"host {host.number} refused a datagram: {reason}")


class StaysBounded(Checker):
    """No host sends without measure, whatever is done to it and by it.

    The bound is what answers to comparisons may take (`sync_rate`), and 200 messages a second for
    all else: probes, answers to the probes of others, gossip rounds. It is judged over 10 s. What
    a host relays was counted where it was sent.
    """

    name = "traffic is bounded"
    window_s = 10.0

    def __init__(self, cluster: Cluster, config: GossipConfig) -> None:
        super().__init__(cluster)
        self.limit = int(self.window_s * (config.sync_rate + 200) * config.packet_size)
        self._windows: dict[int, tuple[float, int]] = {}

    def sent(self, host: Host, send: Send) -> None:
        """Look at what was sent since the last look, every 10 s."""
        since, before = self._windows.setdefault(
            host.number, (self.cluster.world.now, host.own_bytes)
        )
        if self.cluster.world.now - since < self.window_s:
            return
        sent = host.own_bytes - before
        if host.honest and sent > self.limit:
            self.violated(f"host {host.number} sent {sent} bytes within {self.window_s:g} s")
        self._windows[host.number] = (self.cluster.world.now, host.own_bytes)
