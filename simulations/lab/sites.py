"""Where a node may sit on the internet, by what is between it and the others, and which way two
such nodes are to reach each other.
"""

from __future__ import annotations

from enum import Enum

from simulations.lab.namespaces import Namespace
from simulations.lab.nat import Nat
from simulations.lab.topology import Home, Internet

CARRIER = "100.72.0.0/24"
"""The prefix between two layers of NAT (RFC 6598)."""


class Site(Enum):
    """What is between a node and the internet."""

    OPEN = "open"
    """Nothing, in both families."""
    FULL_CONE = "full-cone"
    RESTRICTED = "restricted"
    PORT_RESTRICTED = "port-restricted"
    SEQUENTIAL = "sequential"
    """Symmetric: every destination another port, one after the other."""
    RANDOM = "random"
    """Symmetric: every destination another port, whichever."""
    NO_FILTER = "no-filter"
    """A port-restricted cone that has no input firewall: who is too early moves the mapping."""
    NO_HAIRPIN = "no-hairpin"
    """A port-restricted cone; two such nodes are behind the same one, which lets none come back."""
    TWO_LAYERS = "two-layers"
    """A port-restricted cone behind another, the carrier's."""
    NO_UDP = "no-udp"
    ONLY_443 = "only-443"
    """TCP to port 443, and nothing else."""
    IPV6 = "ipv6"
    """Nothing between, and no IPv4."""
    IPV4 = "ipv4"
    """Nothing between, and no IPv6."""


NATS = {
    Site.FULL_CONE: Nat.FULL_CONE,
    Site.RESTRICTED: Nat.RESTRICTED_CONE,
    Site.PORT_RESTRICTED: Nat.PORT_RESTRICTED_CONE,
    Site.SEQUENTIAL: Nat.SYMMETRIC_SEQUENTIAL,
    Site.RANDOM: Nat.SYMMETRIC_RANDOM,
    Site.NO_FILTER: Nat.NO_INPUT_FILTER,
    Site.NO_HAIRPIN: Nat.PORT_RESTRICTED_CONE,
    Site.TWO_LAYERS: Nat.PORT_RESTRICTED_CONE,
    Site.NO_UDP: Nat.NO_UDP,
    Site.ONLY_443: Nat.ONLY_443,
}
FAMILIES = {Site.OPEN: "46", Site.IPV6: "6", Site.IPV4: "4"}
STREAMS_ONLY = (Site.NO_UDP, Site.ONLY_443)
CHECKS_PORTS = (
    Site.PORT_RESTRICTED,
    Site.SEQUENTIAL,
    Site.RANDOM,
    Site.NO_FILTER,
    Site.NO_HAIRPIN,
    Site.TWO_LAYERS,
)
"""Lets in only what comes from the very port that was called: a random one cannot be called."""


def expected(one: Site, other: Site) -> str:
    """The kind of path that two nodes there end up with: direct, stream or relay."""
    families = [FAMILIES.get(site, "4") for site in (one, other)]
    if not any(family in families[1] for family in families[0]):
        return "relay"
    confined = [site in STREAMS_ONLY for site in (one, other)]
    if any(confined):
        free = other if confined[0] else one
        return "stream" if not all(confined) and free in FAMILIES else "relay"
    for here, there in ((one, other), (other, one)):
        if here is Site.RANDOM and there in CHECKS_PORTS:
            return "relay"
    return "direct"


def settle(internet: Internet, one: Site, other: Site) -> tuple[Namespace, Namespace]:
    """A host at each site, called ``left`` and ``right``."""
    if one is other is Site.NO_HAIRPIN:
        home = internet.home("shared", NATS[one])
        return home.host("left"), home.host("right")
    return _settle(internet, one, "left", 1), _settle(internet, other, "right", 2)


def _settle(internet: Internet, site: Site, label: str, number: int) -> Namespace:
    if site in FAMILIES:
        return internet.host(label, FAMILIES[site])
    nat, prefix = NATS[site], f"192.168.{number}.0/24"
    if site is not Site.TWO_LAYERS:
        return internet.home(label, nat, prefix).host(label)
    carrier: Home = internet.home(f"{label}-isp", nat, CARRIER)
    return carrier.home(label, nat, prefix).host(label)
