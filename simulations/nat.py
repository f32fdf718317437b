"""Network address translators, as RFC 4787 names their behaviour.

| kind | mapping | filtering |
|---|---|---|
| OPEN | none: the host has a public address | none |
| FULL_CONE | endpoint-independent ("cone") | none |
| ADDRESS_RESTRICTED | endpoint-independent | address dependent |
| PORT_RESTRICTED | endpoint-independent | address and port dependent |
| SYMMETRIC | address and port dependent, random ports | address and port dependent |
| SEQUENTIAL | the same, ports that count upwards | address and port dependent |
| NO_FILTER | endpoint-independent, unless disturbed | address and port dependent |

NO_FILTER is a router without an input firewall: what a stranger sends to a mapped port is taken for
the router's own for 30 s, and what is sent to that stranger then leaves by another port. It keeps
the inside port where that is free, as Linux does.

A mapping dies when no packet has left through it for `timeout_s` (inbound packets do not keep it:
RFC 4787 REQ-6 demands only outbound refresh). There is no hairpinning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random

Endpoint = tuple[str, int]

PORTS = range(1024, 65536)
FIRST_PORT = 30_000
"""Where sequential ports begin."""
STRANGE_S = 30.0
"""How long a packet that nobody called for is remembered."""


class NatKind(Enum):
    """How a site is connected."""

    OPEN = "open"
    FULL_CONE = "full-cone"
    ADDRESS_RESTRICTED = "address-restricted"
    PORT_RESTRICTED = "port-restricted"
    SYMMETRIC = "symmetric"
    SEQUENTIAL = "sequential"
    NO_FILTER = "no-filter"


@dataclass(slots=True)
class _Mapping:
    inside: Endpoint
    port: int
    last_out: float
    peers: dict[Endpoint, float]  # where packets went, and when last


class Nat:
    """One translator with one public address."""

    def __init__(self, kind: NatKind, address: str, rng: Random, timeout_s: float = 120.0) -> None:
        if kind is NatKind.OPEN:
            raise ValueError("an open site has no translator")
        self.kind = kind
        self.address = address
        self.timeout_s = timeout_s
        self._rng = rng
        self._by_flow: dict[tuple[Endpoint, Endpoint | None], _Mapping] = {}
        self._by_port: dict[int, _Mapping] = {}
        self._counted = FIRST_PORT
        self._strangers: dict[tuple[int, Endpoint], float] = {}
        """(port, who sent to it uncalled) -> when last: NO_FILTER only."""

    def outbound(self, inside: Endpoint, destination: Endpoint, now: float) -> Endpoint:
        """The public endpoint that a packet from `inside` to `destination` leaves with."""
        flow = (inside, destination if self._own_flow(inside, destination, now) else None)
        mapping = self._by_flow.get(flow)
        if mapping is None or self._expired(mapping.last_out, now):
            if mapping is not None:
                del self._by_port[mapping.port]
            mapping = _Mapping(inside, self._free_port(inside[1]), now, {})
            self._by_flow[flow] = mapping
            self._by_port[mapping.port] = mapping
        mapping.last_out = now
        mapping.peers[destination] = now
        return self.address, mapping.port

    def inbound(self, source: Endpoint, port: int, now: float) -> Endpoint | None:
        """Who inside gets a packet from `source` to our public `port`; None drops it."""
        mapping = self._by_port.get(port)
        if mapping is None or self._expired(mapping.last_out, now):
            return None
        if self._admits(mapping, source, now):
            return mapping.inside
        if self.kind is NatKind.NO_FILTER:
            self._strangers[port, source] = now
        return None

    def _own_flow(self, inside: Endpoint, destination: Endpoint, now: float) -> bool:
        """Whether this destination has a mapping of its own."""
        if self.kind is not NatKind.NO_FILTER:
            return self.kind in (NatKind.SYMMETRIC, NatKind.SEQUENTIAL)
        moved = self._by_flow.get((inside, destination))
        if moved is not None and not self._expired(moved.last_out, now):
            return True
        usual = self._by_flow.get((inside, None))
        if usual is None or destination in usual.peers:
            return False
        return now - self._strangers.get((usual.port, destination), -STRANGE_S) < STRANGE_S

    def forget(self) -> None:
        """Lose all mappings, as a restarted router does."""
        self._by_flow.clear()
        self._by_port.clear()
        self._strangers.clear()

    def _admits(self, mapping: _Mapping, source: Endpoint, now: float) -> bool:
        if self.kind is NatKind.FULL_CONE:
            return True
        if self.kind is NatKind.ADDRESS_RESTRICTED:
            written = [last for peer, last in mapping.peers.items() if peer[0] == source[0]]
            return bool(written) and not self._expired(max(written), now)
        last = mapping.peers.get(source)
        return last is not None and not self._expired(last, now)

    def _expired(self, last: float, now: float) -> bool:
        return now - last > self.timeout_s

    def _free_port(self, inside: int) -> int:
        if self.kind is NatKind.NO_FILTER and inside not in self._by_port:
            return inside
        if self.kind is NatKind.SEQUENTIAL:
            self._counted += 1
            return self._counted - 1
        port = self._rng.choice(PORTS)
        while port in self._by_port:
            port = self._rng.choice(PORTS)
        return port
