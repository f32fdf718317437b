"""Network address translators, as RFC 4787 names their behaviour.

| kind | mapping | filtering |
|---|---|---|
| OPEN | none: the host has a public address | none |
| FULL_CONE | endpoint-independent ("cone") | none |
| ADDRESS_RESTRICTED | endpoint-independent | address dependent |
| PORT_RESTRICTED | endpoint-independent | address and port dependent |
| SYMMETRIC | address and port dependent | address and port dependent |

A mapping dies when no packet has left through it for `timeout_s` (inbound packets do not keep it:
RFC 4787 REQ-6 demands only outbound refresh). There is no hairpinning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random

Endpoint = tuple[str, int]

PORTS = range(1024, 65536)


class NatKind(Enum):
    """How a site is connected."""

    OPEN = "open"
    FULL_CONE = "full-cone"
    ADDRESS_RESTRICTED = "address-restricted"
    PORT_RESTRICTED = "port-restricted"
    SYMMETRIC = "symmetric"


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

    def outbound(self, inside: Endpoint, destination: Endpoint, now: float) -> Endpoint:
        """The public endpoint that a packet from `inside` to `destination` leaves with."""
        flow = (inside, destination if self.kind is NatKind.SYMMETRIC else None)
        mapping = self._by_flow.get(flow)
        if mapping is None or self._expired(mapping.last_out, now):
            if mapping is not None:
                del self._by_port[mapping.port]
            mapping = _Mapping(inside, self._free_port(), now, {})
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
        return mapping.inside if self._admits(mapping, source, now) else None

    def forget(self) -> None:
        """Lose all mappings, as a restarted router does."""
        self._by_flow.clear()
        self._by_port.clear()

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

    def _free_port(self) -> int:
        port = self._rng.choice(PORTS)
        while port in self._by_port:
            port = self._rng.choice(PORTS)
        return port
