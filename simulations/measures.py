"""What runs are measured by: observers that note when things were noticed, and where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from gossip.events import MemberDown, MemberUp, RecordChanged
from gossip.ids import NodeId
from simulations.cluster import Cluster, Host, Observer
from simulations.machine import Seen


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that a scenario must reach; `target` is the limit as a person would say it."""

    name: str
    target: str
    measured: float
    unit: str
    ok: bool


class DeathCount(Observer):
    """How many verdicts of death there were."""

    def __init__(self) -> None:
        self.deaths = 0

    def saw(self, host: Host, seen: Seen) -> None:
        """Count a verdict."""
        self.deaths += isinstance(seen, MemberDown)


class FirstSight(Observer):
    """When each host first saw something, in seconds since this observer was made."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._begun = cluster.world.now
        self.times: dict[int, float] = {}

    def note(self, host: Host) -> None:
        """`host` saw it now, if not before."""
        self.times.setdefault(host.number, self._cluster.world.now - self._begun)

    def curve(self) -> list[tuple[float, float]]:
        """Pairs: seconds, and the share of all running hosts that had seen it by then."""
        count = max(1, len(self._cluster.running))
        times = sorted(self.times.values())
        return [(round(time, 3), (at + 1) / count) for at, time in enumerate(times)]

    def within(self, hosts: Iterable[Host], share: float) -> float:
        """Seconds until this share of `hosts` had seen it; infinite if fewer did."""
        return share_within([self.times.get(host.number, inf) for host in hosts], share)


class Infection(FirstSight):
    """How a record spreads: who has this one of `subject`, or a newer one, and since when."""

    def __init__(self, cluster: Cluster, subject: NodeId, kind: int, sequence: int) -> None:
        super().__init__(cluster)
        self._wanted = (subject, kind)
        self._sequence = sequence

    def saw(self, host: Host, seen: Seen) -> None:
        """Note a record that is new to `host`."""
        if isinstance(seen, RecordChanged):
            record = seen.record
            wanted = (record.subject, record.kind) == self._wanted
            if wanted and record.sequence >= self._sequence:
                self.note(host)


class Verdicts(FirstSight):
    """Who saw one of `subjects` dead, or alive, and when first; `delays` has every one of them."""

    def __init__(
        self, cluster: Cluster, subjects: Iterable[NodeId], kind: type[MemberUp | MemberDown]
    ) -> None:
        super().__init__(cluster)
        self._subjects = frozenset(subjects)
        self._kind = kind
        self.delays: list[float] = []

    def saw(self, host: Host, seen: Seen) -> None:
        """Note a verdict about a subject."""
        if isinstance(seen, self._kind) and seen.id in self._subjects:
            self.note(host)
            self.delays.append(round(self._cluster.world.now - self._begun, 3))


def share_within(times: Sequence[float], share: float) -> float:
    """The time by which `share` (0 to 1) of `times` had passed; infinite if there are none."""
    if not times:
        return inf
    ordered = sorted(times)
    wanted = max(1, -(-len(ordered) * share // 1))
    return ordered[int(wanted) - 1]
