"""How members recognize each other on a LAN, while others learn neither mesh nor node.

A node advertises a word of 8 bytes that stands for it, and one for each of its endpoints; all
change every hour. Whoever has the mesh secret can tell whose they are, and that nobody else moved
them to other endpoints. They are hints, and no more: what they point to is tried with an ordinary
handshake, a bounded number of times, and only where it is near.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2s
from ipaddress import IPv4Network, IPv6Network, ip_address

from gossip import NodeId
from meshd.node.state import NodeState
from meshd.node.wire import Endpoint, pack_endpoint

HOUR = 3600
"""Seconds for which a tag holds; those of the hours before and after are accepted too."""
TAG_SIZE = 8
MAX_HEARD = 64
"""Nodes kept; the one heard longest ago goes first."""
HINTS_PER_MINUTE = 8
HINTS_SPARED = 4
"""Of the hints that may be given at once, so many are for nodes that were not tried yet."""
AGAIN = 20.0
"""Seconds until a node that was tried is tried again."""
MAX_ENDPOINTS = 4
"""Endpoints of one node that are tried."""
MAX_TOLD = 8
"""Endpoints that a node advertises, and that are looked at of another."""

Network = IPv4Network | IPv6Network

NEAR: tuple[Network, ...] = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("169.254.0.0/16"),
    IPv6Network("fc00::/7"),
)
"""Addresses that may be on a LAN (RFC 1918, 3927, 4193)."""


def node_tag(secret: bytes, node: NodeId, hour: int) -> bytes:
    """What one node advertises in an hour (Unix time // 3600)."""
    return _tag(secret, b"aegisray lan node" + node, hour)


def endpoint_tag(secret: bytes, tag: bytes, endpoint: Endpoint, hour: int) -> bytes:
    """What shows that the node of `tag` is at `endpoint`. Raises ValueError where nobody can be."""
    return _tag(secret, b"aegisray lan endpoint" + tag + pack_endpoint(endpoint), hour)


def _tag(secret: bytes, label: bytes, hour: int) -> bytes:
    return blake2s(label + hour.to_bytes(8, "big"), key=secret, digest_size=TAG_SIZE).digest()


@dataclass(slots=True)
class Heard:
    """Where one node says it is, under which name, and when it was last tried."""

    name: str
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
    """What is heard on the LAN, made into few hints for the node. Changes nothing else.

    Words can be repeated by anybody, but not moved to another node or another endpoint: so each
    node has one entry, however often and under whatever names it comes.
    """

    def __init__(
        self, state: NodeState, hint: Callable[[NodeId, Sequence[Endpoint], float], bool]
    ) -> None:
        """`hint`: who tries a member at endpoints; False: it is not known."""
        self._state = state
        self._hint = hint
        self._heard: dict[str, Heard] = {}
        """By the nodes' words."""
        self._allowance = float(HINTS_PER_MINUTE)
        self._allowed_at = 0.0
        self._known: dict[str, NodeId] = {}
        """Members by their tags."""
        self._known_of: tuple[int, NodeId | None, int] = (-1, None, 0)
        """The hour, and of which members: the newest one, and how many."""
        self.networks: tuple[Network, ...] = ()
        """Those that this host is attached to: their addresses are near, too."""

    def words(self, unix_time: float, endpoints: Sequence[Endpoint]) -> dict[str, str]:
        """What to advertise now, being at `endpoints` (the first `MAX_TOLD` of them)."""
        identity, hour = self._state.identity, int(unix_time) // HOUR
        secret = identity.mesh_secret
        tag = node_tag(secret, identity.id, hour)
        vouched = [endpoint_tag(secret, tag, each, hour) for each in endpoints[:MAX_TOLD]]
        return {"n": tag.hex(), "e": b"".join(vouched).hex()}

    def heard(
        self, name: str, words: Mapping[str, str], endpoints: Sequence[Endpoint], now: float
    ) -> None:
        """Somebody advertises under `name`: it counts if it is of this mesh, and near."""
        word, vouched = self._vouched(words, endpoints[:MAX_TOLD], now)
        near = tuple(sorted(dict.fromkeys(filter(self._is_near, vouched)), key=self._is_far))
        if not near:
            return
        before = self._heard.pop(word, None)
        self.gone(name)  # an hour ago it had another word
        known = Heard(name, near[:MAX_ENDPOINTS])
        if before is not None:
            known.tried_at = before.tried_at
        self._heard[word] = known
        if len(self._heard) > MAX_HEARD:
            del self._heard[next(iter(self._heard))]
        self._try(word, known, now)

    def gone(self, name: str) -> None:
        """It advertises no more."""
        for word in [word for word, heard in self._heard.items() if heard.name == name]:
            del self._heard[word]

    def run(self, now: float) -> None:
        """Try those again who are not reached, first who waits longest; call it every few
        seconds."""
        for word, heard in sorted(self._heard.items(), key=lambda item: item[1].tried_at):
            self._try(word, heard, now)

    def _try(self, word: str, heard: Heard, now: float) -> None:
        since, self._allowed_at = now - self._allowed_at, now
        earned = max(0.0, since) * HINTS_PER_MINUTE / 60
        self._allowance = min(HINTS_PER_MINUTE, self._allowance + earned)
        spared = 0 if heard.tried_at == float("-inf") else HINTS_SPARED
        if self._allowance < 1 + spared or now - heard.tried_at < AGAIN:
            return
        node = self._whose(word, now)
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

    def _vouched(
        self, words: Mapping[str, str], endpoints: Sequence[Endpoint], now: float
    ) -> tuple[str, list[Endpoint]]:
        """The node's word, and those of `endpoints` that the others are of; none where they are not
        of this mesh."""
        try:
            tag, told = bytes.fromhex(words.get("n", "")), bytes.fromhex(words.get("e", ""))
        except ValueError:
            return "", []
        if len(tag) != TAG_SIZE or len(told) > MAX_TOLD * TAG_SIZE:
            return "", []
        shown = [told[at : at + TAG_SIZE] for at in range(0, len(told), TAG_SIZE)]
        return tag.hex(), [each for each in endpoints if self._shows(tag, shown, each, now)]

    def _shows(self, tag: bytes, shown: list[bytes], endpoint: Endpoint, now: float) -> bool:
        secret = self._state.identity.mesh_secret
        try:
            return any(
                endpoint_tag(secret, tag, endpoint, hour) in shown for hour in self._hours(now)
            )
        except ValueError:
            return False

    def _whose(self, word: str, now: float) -> NodeId | None:
        """Which member advertises `word`, of those whose handshake key is known."""
        hours, peers = self._hours(now), self._state.peers
        current = (hours[0], next(reversed(peers), None), len(peers))
        if self._known_of != current:
            secret = self._state.identity.mesh_secret
            self._known_of = current
            self._known = {
                node_tag(secret, node, hour).hex(): node for node in peers for hour in hours
            }
        return self._known.get(word)
