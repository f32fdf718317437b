"""What must hold in every run, judged as it happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import inf

from gossip.events import MemberDown, RecordChanged, SequenceChanged
from gossip.ids import NodeId
from simulations.cluster import Cluster, Host, Observer
from simulations.injector import FaultInjector
from simulations.machine import Seen, Send

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
    """A host never goes back to an older record, and only the subject makes newer ones."""

    name = "sequences only rise"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._issued: dict[NodeId, int] = {}
        self._held: dict[tuple[int, NodeId, int], int] = {}

    def started(self, host: Host) -> None:
        """A restarted host learns anew; what it issued stands."""
        for key in [key for key in self._held if key[0] == host.number]:
            del self._held[key]

    def saw(self, host: Host, seen: Seen) -> None:
        """Judge a new sequence of its own, or a record."""
        if isinstance(seen, SequenceChanged):
            if seen.sequence <= self._issued.get(host.identity, 0):
                self.violated(f"host {host.number} went back to its sequence {seen.sequence}")
            self._issued[host.identity] = seen.sequence
        elif isinstance(seen, RecordChanged):
            record = seen.record
            key = (host.number, record.subject, record.kind)
            if record.sequence <= self._held.get(key, 0):
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

    def refused(self, host: Host, reason: str) -> None:
        """Count a refusal."""
        self.violated(f"host {host.number} refused a datagram: {reason}")


class ViewsAgree(Checker):
    """In the end, all who run see exactly each other alive, and hold the same records of them.

    A scenario that loses datagrams must stop that some time before its end: a refutation may be on
    its way until then.
    """

    name = "views agree"

    def finish(self) -> None:
        """Compare what every machine says with the truth, and its records with the owners'."""
        for text in self.disagreements():
            self.violated(text)

    def disagreements(self, limit: float = inf) -> list[str]:
        """What is wrong now, in words; the first `limit` of it are enough."""
        return list(islice(self._disagreements(), None if limit == inf else int(limit)))

    def _disagreements(self) -> Iterator[str]:
        running = {host.identity: host for host in self.cluster.running}
        for host in running.values():
            if host.machine is None:
                continue
            states = host.machine.states()
            for identity, other in running.items():
                if other is not host and states.get(identity) != "alive":
                    state = states.get(identity, "unknown")
                    yield f"host {host.number} sees host {other.number} as {state}"
            for identity, state in states.items():
                if state == "alive" and identity not in running:
                    yield f"host {host.number} sees {identity.hex()} alive, which is not"
        yield from _differing_records(running)


def _differing_records(running: dict[NodeId, Host]) -> Iterator[str]:
    truth: dict[tuple[NodeId, int], int] = {}
    held = {h.number: h.machine.sequences() for h in running.values() if h.machine is not None}
    for identity, host in running.items():
        own = held[host.number]
        truth.update({key: value for key, value in own.items() if key[0] == identity})
    for number, sequences in held.items():
        for key, sequence in truth.items():
            if sequences.get(key) != sequence:
                found = sequences.get(key)
                yield f"host {number} holds {found}, not {sequence}, of {key[0].hex()}"
