"""Who takes part in a benchmark: numbers, keys, node ids and addresses that all can work out."""

from __future__ import annotations

from simulations.authority import Ed25519Authority, identity_of

Endpoint = tuple[str, int]

PORT = 7946
GROUP_PREFIXES = ("127.11", "127.12")
"""The first halves of the addresses of the two groups that a split divides."""


def group_of(number: int, count: int) -> int:
    """0 or 1: in which half of `count` agents `number` is."""
    return int(number >= count // 2)


def address_of(number: int, count: int) -> str:
    """The loopback address of an agent; up to 62,500 in each group."""
    group = group_of(number, count)
    place = number - group * (count // 2)
    return f"{GROUP_PREFIXES[group]}.{place // 250}.{place % 250 + 1}"


class Directory:
    """All `count` agents; `endpoints` are their loopback addresses unless others are given."""

    def __init__(self, count: int, endpoints: list[Endpoint] | None = None) -> None:
        self.count = count
        self.endpoints = endpoints or [(address_of(n, count), PORT) for n in range(count)]
        self.public = [Ed25519Authority.of(n).key for n in range(count)]
        self.identities = [identity_of(key) for key in self.public]
        self.number_of = {identity: n for n, identity in enumerate(self.identities)}
