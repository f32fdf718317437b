"""Who offers a way to an address: longest prefix, then the cheapest path, then the lowest id.

A prefix counts only where the authority grants it to its origin, so the choice runs: longest
prefix, authorised, path cost, and a tie-break (the lower node id) that all nodes share.

It keeps no memory of earlier choices, and is for users of this library, the simulator among them.
meshd has a table of its own on its packet path (`meshd.node.state.OverlayTable`), by the same
rules; there, who carries packets goes on until another way is clearly better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, TypeAlias

from gossip.authority import Authority
from gossip.ids import NodeId

MAX_PREFIXES: Final = 64
"""Of one origin; those beyond it are ignored."""

_Key: TypeAlias = tuple[int, int, int]
"""IP version, prefix length, network as an integer."""


class RouteTable:
    """Prefixes and their origins. Prefixes are text such as `10.0.0.0/8` or `fd00::/64`."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._offers: dict[NodeId, tuple[str, ...]] = {}
        self._origins: dict[_Key, list[NodeId]] = {}
        self._lengths: dict[int, list[int]] = {4: [], 6: []}

    def offer(self, origin: NodeId, prefixes: Iterable[str]) -> tuple[str, ...]:
        """Replace what `origin` offers; the prefixes that were refused.

        Refused are those that are no prefix (host bits set, not an address), not granted, or
        beyond `MAX_PREFIXES`.
        """
        self.withdraw(origin)
        accepted: list[str] = []
        refused: list[str] = []
        for prefix in dict.fromkeys(prefixes):
            key = _parse(prefix)
            granted = key is not None and self._authority.grants(origin, prefix)
            if key is None or not granted or len(accepted) == MAX_PREFIXES:
                refused.append(prefix)
                continue
            accepted.append(prefix)
            origins = self._origins.setdefault(key, [])
            if origin not in origins:
                origins.append(origin)
                origins.sort()
            self._note_length(key)
        if accepted:
            self._offers[origin] = tuple(accepted)
        return tuple(refused)

    def withdraw(self, origin: NodeId) -> None:
        """Drop everything that `origin` offers."""
        for prefix in self._offers.pop(origin, ()):
            key = _parse(prefix)
            if key is None or origin not in self._origins.get(key, ()):
                continue
            self._origins[key].remove(origin)
            if not self._origins[key]:
                del self._origins[key]
                self._drop_length(key)

    def offers(self) -> list[tuple[str, NodeId]]:
        """Every accepted (prefix, origin), by origin."""
        return [(prefix, node) for node in sorted(self._offers) for prefix in self._offers[node]]

    def origins(self, address: str | IPv4Address | IPv6Address) -> tuple[NodeId, ...]:
        """Those who offer the longest prefix that holds `address`, lowest id first.

        Raises `ValueError` if `address` is none.
        """
        parsed = ip_address(address)
        bits, value = parsed.max_prefixlen, int(parsed)
        for length in self._lengths[parsed.version]:
            shift = bits - length
            origins = self._origins.get((parsed.version, length, value >> shift << shift))
            if origins:
                return tuple(origins)
        return ()

    def best(
        self,
        address: str | IPv4Address | IPv6Address,
        cost: Callable[[NodeId], float] = lambda node: 0.0,
    ) -> NodeId | None:
        """The origin to send `address` to; `cost` of the path to one (infinite: not usable).

        Only the longest prefix counts: where nobody who offers it can be reached, it is None.
        """
        ranked = [(cost(node), node) for node in self.origins(address)]
        usable = [choice for choice in ranked if choice[0] < float("inf")]
        return min(usable)[1] if usable else None

    def _note_length(self, key: _Key) -> None:
        lengths = self._lengths[key[0]]
        if key[1] not in lengths:
            lengths.append(key[1])
            lengths.sort(reverse=True)

    def _drop_length(self, key: _Key) -> None:
        if not any(other[:2] == key[:2] for other in self._origins):
            self._lengths[key[0]].remove(key[1])


def _parse(prefix: str) -> _Key | None:
    try:
        network = ip_network(prefix)
    except ValueError:
        return None
    return network.version, network.prefixlen, int(network.network_address)
