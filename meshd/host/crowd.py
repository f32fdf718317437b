"""Connections that have proved nothing yet: how many there may be, and which has to go."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


def origin(host: str) -> str:
    """Whose address `host` is, as far as one can tell: itself for IPv4, its /64 for IPv6."""
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ip_network((address, 64), strict=False).network_address)
    return host


class Crowd(Generic[T]):
    """Keeps who came when, at most `per_origin` of each origin.

    Whoever shakes hands in earnest is through within seconds: so the oldest is the one to go, of
    the same origin if that has too many.
    """

    __slots__ = ("_members", "_origins", "_per_origin")

    def __init__(self, per_origin: int) -> None:
        self._per_origin = per_origin
        self._members: OrderedDict[T, str | None] = OrderedDict()
        self._origins: dict[str, OrderedDict[T, None]] = {}

    def __len__(self) -> int:
        return len(self._members)

    def enter(self, newcomer: T, room: int) -> list[T]:
        """Let `newcomer` in; who has to go for it, out of the crowd already. `room`: how many there
        may be in all, at least 1."""
        gone: list[T] = []
        while len(self._members) >= room:
            oldest = next(iter(self._members))
            gone.append(oldest)
            self.leave(oldest)
        self._members[newcomer] = None
        return gone

    def place(self, member: T, host: str) -> T | None:
        """`member`, who has just entered, comes from `host`; who has to go for that."""
        place = origin(host)
        others = self._origins.setdefault(place, OrderedDict())
        gone = next(iter(others)) if len(others) >= self._per_origin else None
        self._members[member] = place
        others[member] = None
        if gone is not None:
            self.leave(gone)
        return gone

    def oldest(self) -> T | None:
        """Who has been here longest."""
        return next(iter(self._members), None)

    def members(self) -> list[T]:
        """Everybody, in the order they came."""
        return [*self._members]

    def leave(self, member: T) -> None:
        """It proved itself, or is gone; no matter if it left before."""
        place = self._members.pop(member, None)
        if place is None:
            return
        others = self._origins[place]
        del others[member]
        if not others:
            del self._origins[place]
