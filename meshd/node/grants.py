"""Grants: what a certificate lets a node be called, be, offer and belong to.

In certificates they are SAN URIs: `aegisray:role:exit`, `aegisray:route:10.0.0.0/8`,
`aegisray:group:web`; an issuer's role and group may be `*`, and its routes cover narrower ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from meshd.node.errors import LocalError
from meshd.node.mesh import check_name

Network = IPv4Network | IPv6Network

ROLES = ("exit", "relay", "bootstrap", "issuer")
"""What a certificate can let a node be."""

ANY = "*"
"""In an issuer's grants: every role, or every group."""

URI = "aegisray:"
MAX_GRANTS = 64
"""Most roles, routes and groups of one certificate, each."""

_WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Grants:
    """What a certificate lets its node be called, be, offer and belong to.

    `name` is empty in an invitation that leaves the name to the joiner.
    """

    name: str = ""
    roles: tuple[str, ...] = ()
    routes: tuple[Network, ...] = ()
    groups: tuple[str, ...] = ()

    def uris(self) -> list[str]:
        """The SAN URIs that say so."""
        if (self.roles, self.routes, self.groups) == _ALL:
            return [URI + ANY]
        return [
            *(f"{URI}role:{role}" for role in self.roles),
            *(f"{URI}route:{route}" for route in self.routes),
            *(f"{URI}group:{group}" for group in self.groups),
        ]

    def covers(self, grants: Grants) -> bool:
        """Whether an issuer with these grants may put `grants` into a certificate."""
        return (
            (ANY in self.roles or set(grants.roles) <= set(self.roles))
            and (ANY in self.groups or set(grants.groups) <= set(self.groups))
            and all(within(route, self.routes) for route in grants.routes)
        )


_ALL = ((ANY,), (IPv4Network("0.0.0.0/0"), IPv6Network("::/0")), (ANY,))

EVERYTHING = Grants("", *_ALL)
"""What a mesh's first issuer may grant; in its certificate simply `aegisray:*`."""


def check_grants(grants: Grants) -> Grants:
    """`grants`, when a person may ask for them. Raises LocalError: the first thing wrong."""
    if grants.name:
        check_name(grants.name, "the node's name")
    for role in grants.roles:
        if role not in ROLES:
            raise LocalError(f"{role[:40]!r} is not a role: give one of {', '.join(ROLES)}")
    for group in grants.groups:
        if _WORD.fullmatch(group) is None:
            raise LocalError(f"the group {group[:80]!r} must be 1 to 63 of a-z, 0-9, '.', '_', '-'")
    for words in (grants.roles, grants.routes, grants.groups):
        if len(words) > MAX_GRANTS or len(set(words)) != len(words):
            raise LocalError(f"give each role, route and group once, and at most {MAX_GRANTS}")
    return grants


def parse_route(text: str) -> Network:
    """A route such as `10.0.0.0/8` or `fd00::/8`. Raises LocalError."""
    try:
        return ip_network(text)
    except ValueError:
        raise LocalError(
            f"{text[:60]!r} is not a route such as 10.0.0.0/8 or fd00::/8 "
            "(the bits after the prefix must be zero)"
        ) from None


def within(prefix: Network, allowed: tuple[Network, ...]) -> bool:
    """Whether `prefix` lies inside one of `allowed`."""
    return any(
        outer.version == prefix.version
        and outer.prefixlen <= prefix.prefixlen
        and prefix.network_address in outer
        for outer in allowed
    )


def parse_uris(uris: list[str]) -> tuple[tuple[str, ...], tuple[Network, ...], tuple[str, ...]]:
    """Roles, routes and groups of a certificate's URIs. Raises ValueError.

    Roles unknown to this version are kept; so are `*`: an issuer's `covers` decides on them.
    """
    if uris == [URI + ANY]:
        return _ALL
    words: dict[str, list[str]] = {"role": [], "route": [], "group": []}
    for uri in uris:
        kind, _, value = uri.removeprefix(URI).partition(":")
        if not uri.startswith(URI) or value in words.get(kind, [value]):
            raise ValueError("an unknown or repeated grant")
        if kind != "route" and value != ANY and _WORD.fullmatch(value) is None:
            raise ValueError("a grant with characters it cannot have")
        words[kind].append(value)
    if any(len(values) > MAX_GRANTS for values in words.values()):
        raise ValueError("too many grants")
    routes = tuple(ip_network(route) for route in words["route"])
    if [str(route) for route in routes] != words["route"]:
        raise ValueError("a route that is not in its canonical form")
    return tuple(words["role"]), routes, tuple(words["group"])
