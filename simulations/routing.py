"""Routes over gossip: what hosts would install, and two checkers that look at it.

A ROUTES body is a list of prefixes with spaces between. A host installs what the grants allow of
those who are alive, as `meshd` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network

from gossip.events import MemberDown, MemberLeft, MemberUp, RecordChanged
from gossip.ids import NodeId
from gossip.records import Record, RecordKind
from gossip.routes import RouteTable
from simulations.authority import FakeAuthority
from simulations.checkers import Checker
from simulations.cluster import Cluster, Host
from simulations.machine import Seen

Grants = Mapping[int, Sequence[str]]
"""The prefixes of each host, by its number; a host may offer these and their parts."""


class GrantingAuthority(FakeAuthority):
    """Grants to each host what `grants` says."""

    def __init__(self, cluster: Cluster, grants: Grants) -> None:
        super().__init__(bytes(32))
        self._granted = {
            cluster.hosts[number].identity: [ip_network(prefix) for prefix in prefixes]
            for number, prefixes in grants.items()
        }

    def grants(self, node: NodeId, prefix: str) -> bool:
        """Whether `prefix` is a granted one of `node`, or lies within one."""
        asked = ip_network(prefix)
        return any(
            asked.version == own.version and own.supernet_of(asked)  # type: ignore[arg-type]
            for own in self._granted.get(node, ())
        )


class Routers(Checker):
    """Every host's route table; nothing in it may lie outside the grants.

    Nor may what was withdrawn come back: whoever has seen a withdrawal holds no older offer again.
    """

    name = "routes are granted, and gone when withdrawn"

    def __init__(self, cluster: Cluster, grants: Grants) -> None:
        super().__init__(cluster)
        self.tables: dict[int, RouteTable] = {}
        self._authority = GrantingAuthority(cluster, grants)
        self._offered: dict[int, dict[NodeId, Record]] = {}
        self._withdrawn: dict[tuple[int, NodeId], int] = {}

    def started(self, host: Host) -> None:
        """A restarted host learns anew."""
        self.tables[host.number] = RouteTable(self._authority)
        self._offered[host.number] = {}
        for key in [key for key in self._withdrawn if key[0] == host.number]:
            del self._withdrawn[key]

    def saw(self, host: Host, seen: Seen) -> None:
        """Install what a host would, and look at what it has."""
        if not host.honest:
            return
        if isinstance(seen, RecordChanged) and seen.record.kind == RecordKind.ROUTES:
            self._judge(host, seen.record)
            self._offered[host.number][seen.record.subject] = seen.record
            self._install(host, seen.record.subject)
        elif isinstance(seen, MemberUp):
            self._install(host, seen.id)
        elif isinstance(seen, MemberDown | MemberLeft):
            self.tables[host.number].withdraw(seen.id)

    def finish(self) -> None:
        """In the end, every host has the routes of all who run, and no others."""
        running = [host for host in self.cluster.running if host.honest]
        expected = {
            (prefix, host.identity)
            for host in running
            for prefix in _prefixes(self._offered.get(host.number, {}).get(host.identity))
            if self._authority.grants(host.identity, prefix)
        }
        for host in running:
            offers = {o for o in self.tables[host.number].offers() if self._is_honest(o[1])}
            if offers != expected:
                self.violated(f"host {host.number} has {len(offers)} routes, not {len(expected)}")

    def best(self, host: Host, address: str) -> NodeId | None:
        """Whom a host would send to, for an address."""
        return self.tables[host.number].best(address)

    def _judge(self, host: Host, record: Record) -> None:
        key = (host.number, record.subject)
        if record.withdrawn:
            self._withdrawn[key] = record.sequence
        elif record.sequence <= self._withdrawn.get(key, -1):
            self.violated(f"host {host.number} took back routes that were withdrawn")

    def _install(self, host: Host, origin: NodeId) -> None:
        table, record = self.tables[host.number], self._offered[host.number].get(origin)
        table.offer(origin, _prefixes(record))
        for prefix, node in table.offers():
            if node == origin and not self._authority.grants(node, prefix):
                self.violated(f"host {host.number} installed {prefix} of {node.hex()}")

    def _is_honest(self, node: NodeId) -> bool:
        host = self.cluster.by_identity.get(node)
        return host is not None and host.honest


def _prefixes(record: Record | None) -> list[str]:
    return [] if record is None or record.withdrawn else record.body.decode().split()
