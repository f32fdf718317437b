"""What the NAT before this node does with our port, as far as peers can tell.

A NAT maps our socket to a port of its own. Some keep that port for all destinations ("endpoint
independent mapping", RFC 4787 section 4.1), others take a new one for each ("address and port
dependent"), and of those many count upwards. RFC 5780 finds out by asking a server with several
addresses; here every peer that answers a probe tells where it saw us. A new port is taken when a
new destination is sent to, so destinations are numbered in the order in which we first sent to
them: then ports that count show as a constant step. Destinations behind the same NAT tell nothing
of it, and take no port of it.

Only IPv4: nobody translates IPv6 ports.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from typing import Final

from meshd.node.wire import Endpoint, is_stream

FORGOTTEN_AFTER: Final = 30.0
"""Seconds after which a NAT may have forgotten a mapping that nothing came back by (Linux)."""
FRESH: Final = 90.0
"""Seconds for which we believe what a peer saw."""
MAX_DESTINATIONS: Final = 1024
STEP_MAX: Final = 8
"""A step above that is no counting."""
GAP_MAX: Final = 64
"""Ports that others behind the same NAT may have taken between two of ours."""
_INSIDE = tuple(
    map(
        ipaddress.IPv4Network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"),
    )
)
"""Addresses that stand behind a NAT (RFC 1918, 6598, 3927)."""


class Kind(Enum):
    """How a NAT maps; the values are words for a person."""

    UNKNOWN = "unknown"
    NONE = "none"
    """We are seen at an address of our own."""
    INDEPENDENT = "endpoint-independent"
    SEQUENTIAL = "endpoint-dependent, sequential ports"
    RANDOM = "endpoint-dependent, random ports"


@dataclass(frozen=True, slots=True)
class Mapping:
    """`step`: what each new destination adds to the port, 0 where that is not so; `guessed`: it is
    only assumed, since a single peer has told of a port that is not our own."""

    kind: Kind
    step: int = 0
    guessed: bool = False


@dataclass(slots=True)
class _Destination:
    number: int
    sent_at: float
    answered: bool = False
    seen: Endpoint | None = None
    seen_at: float = float("-inf")


class Mappings:
    """Where we sent to, in which order, and where we were seen from there."""

    def __init__(self) -> None:
        self._destinations: OrderedDict[Endpoint, _Destination] = OrderedDict()
        self._next = 0

    def sent(self, endpoint: Endpoint, now: float) -> None:
        """A datagram leaves for `endpoint`."""
        if not is_public(endpoint):
            return
        known = self._destinations.get(endpoint)
        if known is not None and (known.answered or now - known.sent_at < FORGOTTEN_AFTER):
            known.sent_at = now
            return
        self._destinations[endpoint] = _Destination(self._next, now)
        self._destinations.move_to_end(endpoint)
        self._next += 1
        if len(self._destinations) > MAX_DESTINATIONS:
            self._destinations.popitem(last=False)

    def seen(self, destination: Endpoint, observed: Endpoint, now: float) -> None:
        """Whom we reach at `destination` saw us at `observed`."""
        known = self._destinations.get(destination)
        if known is not None and is_public(observed):
            known.answered, known.seen, known.seen_at = True, observed, now

    def forget(self) -> None:
        """The network around us is another one."""
        self._destinations.clear()

    def judge(self, own: Sequence[Endpoint], now: float) -> Mapping:
        """What peers have told within `FRESH` seconds. `own`: our socket's endpoints, as the host
        has them. Of several NATs it is the one by which the newest destination was reached."""
        told = self._told(now)
        translated = [(number, seen) for number, seen in told if seen not in own]
        if not translated:
            return Mapping(Kind.NONE if told else Kind.UNKNOWN)
        host = translated[-1][1][0]
        ports = [(number, seen[1]) for number, seen in translated if seen[0] == host]
        if len(ports) == 1:
            guessed = ports[0][1] not in [port for _, port in own]
            return Mapping(Kind.UNKNOWN, int(guessed), guessed)
        if len({port for _, port in ports}) == 1:
            return Mapping(Kind.INDEPENDENT)
        step = _step(ports)
        return Mapping(Kind.SEQUENTIAL, step) if step else Mapping(Kind.RANDOM)

    def forecast(
        self, step: int, now: float, destinations: Iterable[Endpoint] = ()
    ) -> Endpoint | None:
        """Where we are seen by the last of `destinations` that we have sent to, or shall be by the
        next new one where there are none, if every one adds `step`."""
        numbers = [self._destinations[e].number for e in destinations if e in self._destinations]
        told = self._told(now)
        if not told or (destinations and not numbers):
            return None
        number, (host, port) = told[-1]
        coming = port + step * (max(numbers, default=self._next) - number)
        return (host, coming) if 0 < coming < 65536 else None

    def _told(self, now: float) -> list[tuple[int, Endpoint]]:
        """(number, where we were seen) of every destination that told lately, in their order."""
        found = [
            (known.number, known.seen)
            for known in self._destinations.values()
            if known.seen is not None and now - known.seen_at < FRESH
        ]
        return sorted(found)


@lru_cache(4096)
def is_inside(endpoint: Endpoint) -> bool:
    """Whether an IPv4 endpoint is one that stands behind a NAT."""
    return _is_v4(endpoint) and _is_private(endpoint[0])


def is_public(endpoint: Endpoint) -> bool:
    """Whether an endpoint has an IPv4 address that stands in the open, or is a NAT's."""
    return _is_v4(endpoint) and not is_inside(endpoint)


@lru_cache(maxsize=256)
def _is_private(address: str) -> bool:
    """Whether an IPv4 address is of a network that only a NAT leads out of."""
    parsed = ipaddress.IPv4Address(address)
    return any(parsed in network for network in _INSIDE)


def _is_v4(endpoint: Endpoint) -> bool:
    return ":" not in endpoint[0] and not is_stream(endpoint)


def _step(told: list[tuple[int, int]]) -> int:
    """What the port grows by with each new destination; 0 where it does not grow like that."""
    steps = []
    for (one, before), (other, after) in pairwise(told):
        numbers, ports = other - one, after - before
        if not 0 < abs(ports) <= STEP_MAX * numbers + GAP_MAX:
            return 0
        steps.append(round(ports / numbers) or (1 if ports > 0 else -1))
    if min(steps) * max(steps) <= 0:
        return 0
    step = min(steps, key=abs)
    return step if abs(step) <= STEP_MAX else 0
