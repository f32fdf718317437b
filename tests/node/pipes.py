"""TCP between the hosts of a `virtual.Mesh`: streams that come about in three round trips."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from meshd.node.wire import STREAM, Endpoint, address_of

if TYPE_CHECKING:
    from tests.node.virtual import Host, Mesh

LATENCY = 0.010
OPENING = 6 * LATENCY
"""TCP, TLS, and the first flight."""


class Pipes:
    """Carries what goes to stream endpoints. Attributes:

    blocked: addresses that TCP does not reach.
    behind: address -> the host that answers there, where it is not its own (a balancer's).
    dials, closed: by the host's name.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self.blocked: set[str] = set()
        self.behind: dict[str, Host] = {}
        self.dials: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.ends: dict[tuple[str, Endpoint], tuple[Host, Endpoint]] = {}
        """(host, endpoint that it sends to) -> (other host, endpoint that it sees)."""
        self._ports = 40_000

    def send(self, host: Host, payload: bytes, endpoint: Endpoint) -> None:
        """Carry one datagram, dialling if need be."""
        world, delay = self._mesh.world, LATENCY
        end = self.ends.get((host.name, endpoint))
        if end is None:
            if endpoint[1] >= 40_000:
                return  # one that came to us and has ended
            self.dials[host.name] += 1
            delay = OPENING
            end = self._open(host, endpoint)
        if end is None:
            world.after(delay, lambda: self._tell(host, endpoint, "refused"))
            return
        other, source = end
        world.after(delay, lambda: self._arrive(other, payload, source))

    def _open(self, host: Host, endpoint: Endpoint) -> tuple[Host, Endpoint] | None:
        address = address_of(endpoint)
        running = (h for h in self._mesh.hosts.values() if h.running is not None)
        found = self.behind.get(address) or next(
            (h for h in running if any(address == own for own, _ in h.endpoints)), None
        )
        if found is None or not found.config.accepts_streams or address in self.blocked:
            return None
        self._ports += 1
        source = (STREAM + host.endpoints[0][0], self._ports)
        self.ends[host.name, endpoint] = found, source
        self.ends[found.name, source] = host, endpoint
        found.node.streams.admitted(source, True, self._mesh.world.now)
        return found, source

    def _arrive(self, host: Host, payload: bytes, source: Endpoint) -> None:
        if host.running is not None and (host.name, source) in self.ends:
            host.receive(payload, source)

    def close(self, host: Host, endpoint: Endpoint) -> None:
        """As the node asks for it: the other side hears of it."""
        end = self.ends.pop((host.name, endpoint), None)
        if end is not None:
            self.closed[host.name] += 1
            other, source = end
            self.ends.pop((other.name, source), None)
            self._mesh.world.after(LATENCY, lambda: self._tell(other, source, "closed"))

    def cut(self, address: str) -> None:
        """Let no TCP reach this address, and end all connections there."""
        self.blocked.add(address)
        for name, endpoint in list(self.ends):
            if address_of(endpoint) == address:
                self.close(self._mesh.hosts[name], endpoint)
                self._tell(self._mesh.hosts[name], endpoint, "closed")

    def _tell(self, host: Host, endpoint: Endpoint, reason: str) -> None:
        if host.running is not None:
            host.node.streams.closed(endpoint, reason, self._mesh.world.now)
            host.settle()
