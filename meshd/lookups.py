"""Whom a person means: among those that this node knows, or by asking the mesh."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from ipaddress import ip_address

from gossip import NodeId
from meshd.contract import Found
from meshd.node.addresses import ID_SIZE, lookup_key
from meshd.node.errors import LocalError
from meshd.node.finding import canonical
from meshd.node.node import Node
from meshd.node.outputs import LookedUp
from meshd.node.peer import Peer
from meshd.node.wire import Endpoint, format_endpoint
from meshd.pump import Pump

TIMEOUT = 8.0
"""Seconds to wait for the mesh's answer: less than the command line waits for ours."""
KNOWN = "known"
"""Stands for who answered, where nobody had to be asked."""


class Lookups:
    """Lookups of one daemon; those that the mesh is asked for are told apart by token."""

    def __init__(
        self, node: Node, pump: Pump, endpoints: Callable[[], tuple[Endpoint, ...]]
    ) -> None:
        self._node = node
        self._pump = pump
        self._endpoints = endpoints
        self._loop = asyncio.get_running_loop()
        self._tokens = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[LookedUp]] = {}

    async def peer(self, text: str) -> Peer:
        """The peer with this name, id or address. Raises LocalError."""
        found = self._node.find(text) or (await self._asked(text))[0]
        if found is None:
            raise self._nobody(text)
        return found

    async def learn(self, text: str) -> None:
        """See that the node with this name, id or address is a peer, if the mesh knows it."""
        if self._node.find(text) is None:
            await self._asked(text)

    async def find(self, text: str) -> Found:
        """The node with this name, id or address, or a route to it. Raises LocalError."""
        identity = self._node.state.identity
        peer = self._node.find(text)
        own = (identity.name, identity.id.hex(), *map(str, identity.certificate.addresses))
        # Where two have one name or address, it is the lower id's.
        if canonical(text) in own and (peer is None or identity.id < peer.id):
            return self._found_self(text)
        if peer is not None:
            return self._found(text, peer, None)
        peer, answer = await self._asked(text)
        if peer is not None:
            return self._found(text, peer, None, answer)
        peer, prefix = self._routed(text)
        if peer is None:
            raise self._nobody(text)
        return self._found(text, peer, prefix)

    def ended(self, answer: LookedUp) -> None:
        """The node's answer to one of them."""
        future = self._waiting.get(answer.token)
        if future is not None and not future.done():
            future.set_result(answer)

    async def _asked(self, text: str) -> tuple[Peer | None, LookedUp | None]:
        """Ask the mesh, where not everyone knows everyone."""
        if not self._node.gossip.is_partial:
            return None, None
        token = next(self._tokens)
        future: asyncio.Future[LookedUp] = self._loop.create_future()
        self._waiting[token] = future
        try:
            self._node.look_up(key_of(text), token, self._loop.time())
            self._pump.settle()
            answer = await asyncio.wait_for(future, TIMEOUT)
        except asyncio.TimeoutError:
            return None, None
        finally:
            del self._waiting[token]
        peers = self._node.state.peers
        return (peers.get(answer.node) if answer.node is not None else None), answer

    def _routed(self, text: str) -> tuple[Peer | None, str | None]:
        try:
            address = ip_address(text)
        except ValueError:
            return None, None
        return self._node.route(address)

    def _found(
        self, text: str, peer: Peer, prefix: str | None, answer: LookedUp | None = None
    ) -> Found:
        certificate, record = peer.certificate, peer.record
        return {
            "query": text,
            "matched": "route" if prefix else _matched(text, peer.id.hex(), peer.name),
            "route": prefix,
            "id": peer.id.hex(),
            "name": peer.name,
            "addresses": [str(a) for a in certificate.addresses] if certificate else [],
            "roles": list(certificate.roles) if certificate else [],
            "state": peer.state,
            "endpoints": [format_endpoint(e) for e in record.endpoints] if record else [],
            "answered_by": self._who(answer),
            "hops": answer.hops if answer is not None else 0,
        }

    def _found_self(self, text: str) -> Found:
        identity = self._node.state.identity
        return {
            "query": text,
            "matched": _matched(text, identity.id.hex(), identity.name),
            "route": None,
            "id": identity.id.hex(),
            "name": identity.name,
            "addresses": [str(address) for address in identity.certificate.addresses],
            "roles": list(identity.certificate.roles),
            "state": "alive",
            "endpoints": [format_endpoint(endpoint) for endpoint in self._endpoints()],
            "answered_by": KNOWN,
            "hops": 0,
        }

    def _nobody(self, text: str) -> LocalError:
        hint = "`meshd status` lists them all"
        if self._node.gossip.is_partial:
            hint = "nobody who was asked knows of it; check the spelling"
        return LocalError(f"no member has the name, id or address {text!r}: {hint}")

    def _who(self, answer: LookedUp | None) -> str:
        """Who told us, by name where it is known."""
        node = answer.answered_by if answer is not None else None
        if node is None or node == self._node.state.identity.id:
            return KNOWN
        peer = self._node.state.peers.get(node)
        return peer.name if peer is not None else node.hex()


def key_of(text: str) -> bytes:
    """The lookup key of what a person typed: an address, an id in hex, or else a name."""
    try:
        return lookup_key(ip_address(text))
    except ValueError:
        pass
    try:
        node = bytes.fromhex(text)
    except ValueError:
        node = b""
    return NodeId(node) if len(node) == ID_SIZE else lookup_key(text.lower())


def _matched(text: str, node: str, name: str) -> str:
    if text.lower() == node:
        return "id"
    return "name" if text.lower() == name else "address"
