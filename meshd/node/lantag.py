"""How members recognize each other on a LAN, while others learn neither mesh nor node.

A node advertises two words of 8 bytes that change every hour; whoever has the mesh secret can tell
that they are of its mesh, and whose they are. They are hints, and no more: what they point to is
tried with an ordinary handshake, a bounded number of times, and only where it is near.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2s
from ipaddress import IPv4Network, IPv6Network, ip_address

from gossip import NodeId
from meshd.node.state import NodeState
from meshd.node.wire import Endpoint

HOUR = 3600
"""Seconds for which a tag holds; those of the hours before and after are accepted too."""
TAG_SIZE = 8
MAX_HEARD = 64
"""Advertisements kept; the oldest goes first."""
HINTS_PER_MINUTE = 8
AGAIN = 20.0
"""Seconds until an advertisement that did not lead to a session is tried again."""
MAX_ENDPOINTS = 4
"""Endpoints of one advertisement that are tried."""

Network = IPv4Network | IPv6Network

NEAR: tuple[Network, ...] = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("169.254.0.0/16"),
    IPv6Network("fc00::/7"),
)
"""Addresses that may be on a LAN (RFC 1918, 3927, 4193)."""


def mesh_tag(secret: bytes, hour: int) -> bytes:
    """What all nodes of a mesh advertise in an hour (Unix time // 3600)."""
    return _tag(secret, b"aegisray lan mesh", hour)


def node_tag(secret: bytes, node: NodeId, hour: int) -> bytes:
    """What one node advertises in an hour."""
    return _tag(secret, b"aegisray lan node" + node, hour)


def _tag(secret: bytes, label: bytes, hour: int) -> bytes:
    return blake2s(label + hour.to_bytes(8, "big"), key=secret, digest_size=TAG_SIZE).digest()


@dataclass(slots=True)
class Heard:
    """One advertisement, and when it was last tried."""

    words: Mapping[str, str]
    endpoints: tuple[Endpoint, ...]
    tried_at: float = float("-inf")


def is_near(endpoint: Endpoint, networks: Sequence[Network]) -> bool:
    """Whether it is worth trying: an address that may be on a LAN, or is on one of `networks`."""
    host, port = endpoint
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if address.is_unspecified or address.is_loopback or address.is_multicast:
        return False
    return 0 < port < 1 << 16 and any(address in network for network in (*NEAR, *networks))


class Neighbourhood:
    """What is heard on the LAN, made into few hints for the node. Changes nothing else."""

    def __init__(
        self, state: NodeState, hint: Callable[[NodeId, Sequence[Endpoint], float], bool]
    ) -> None:
        """`hint`: who tries a member at endpoints; False: it is not known."""
        self._state = state
        self._hint = hint
        self._heard: dict[str, Heard] = {}
        self._allowance = float(HINTS_PER_MINUTE)
        self._allowed_at = 0.0
        self._known: dict[str, NodeId] = {}
        """Members by their tags."""
        self._known_of: tuple[int, NodeId | None, int] = (-1, None, 0)
        """The hour, and of which members: the newest one, and how many."""
        self.networks: tuple[Network, ...] = ()
        """Those that this host is attached to: their addresses are near, too."""

    def words(self, unix_time: float) -> dict[str, str]:
        """What to advertise now."""
        identity, hour = self._state.identity, int(unix_time) // HOUR
        secret = identity.mesh_secret
        return {"t": mesh_tag(secret, hour).hex(), "n": node_tag(secret, identity.id, hour).hex()}

    def heard(
        self, name: str, words: Mapping[str, str], endpoints: Sequence[Endpoint], now: float
    ) -> None:
        """Somebody advertises under `name`: it counts if it is of this mesh, and near."""
        near = tuple(sorted(dict.fromkeys(filter(self._is_near, endpoints)), key=self._is_far))
        near = near[:MAX_ENDPOINTS]
        if not near or not self._is_ours(words, now):
            return
        known = self._heard.pop(name, None)
        if known is None or (known.words["n"], known.endpoints) != (words["n"], near):
            known = Heard({"t": words["t"], "n": words["n"]}, near)
        self._heard[name] = known
        if len(self._heard) > MAX_HEARD:
            del self._heard[next(iter(self._heard))]
        self._try(known, now)

    def gone(self, name: str) -> None:
        """It advertises no more."""
        self._heard.pop(name, None)

    def run(self, now: float) -> None:
        """Try those again who are not reached, first who waits longest; call it every few
        seconds."""
        for heard in sorted(self._heard.values(), key=lambda heard: heard.tried_at):
            self._try(heard, now)

    def _try(self, heard: Heard, now: float) -> None:
        since, self._allowed_at = now - self._allowed_at, now
        earned = max(0.0, since) * HINTS_PER_MINUTE / 60
        self._allowance = min(HINTS_PER_MINUTE, self._allowance + earned)
        if self._allowance < 1 or now - heard.tried_at < AGAIN:
            return
        node = self._whose(heard.words, now)
        peer = self._state.peers.get(node) if node is not None else None
        if node is None or peer is None:
            return
        ways = [path.endpoint for path in peer.paths if path.relay is None]
        if peer.ready(now) and all(endpoint in ways for endpoint in heard.endpoints):
            return
        heard.tried_at = now
        if self._hint(node, heard.endpoints, now):
            self._allowance -= 1

    def _is_near(self, endpoint: Endpoint) -> bool:
        if not is_near(endpoint, self.networks):
            return False
        address, identity = ip_address(endpoint[0]), self._state.identity
        prefix6 = int(identity.certificate.address6) >> 64
        overlay = address in identity.mesh.cidr or int(address) >> 64 == prefix6
        return not overlay and all(str(address) != own for own, _ in self._state.local_endpoints)

    def _is_far(self, endpoint: Endpoint) -> bool:
        """Whether it is on none of the networks that this host is attached to."""
        return not any(ip_address(endpoint[0]) in network for network in self.networks)

    def _hours(self, now: float) -> tuple[int, int, int]:
        hour = int(self._state.unix_time(now)) // HOUR
        return hour, hour - 1, hour + 1

    def _is_ours(self, words: Mapping[str, str], now: float) -> bool:
        secret = self._state.identity.mesh_secret
        ours = [mesh_tag(secret, hour).hex() for hour in self._hours(now)]
        return words.get("t") in ours and len(words.get("n", "")) == 2 * TAG_SIZE

    def _whose(self, words: Mapping[str, str], now: float) -> NodeId | None:
        """Which member advertises `words`, of those whose handshake key is known."""
        hours, peers = self._hours(now), self._state.peers
        current = (hours[0], next(reversed(peers), None), len(peers))
        if self._known_of != current:
            secret = self._state.identity.mesh_secret
            self._known_of = current
            self._known = {
                node_tag(secret, node, hour).hex(): node for node in peers for hour in hours
            }
        return self._known.get(words["n"])
