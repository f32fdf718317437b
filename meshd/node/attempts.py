"""Handshakes that we began: whose they are, and which copy of an initiation an answer is to.

An initiation goes to every endpoint where its peer may be, under another index for each. Whoever
answers names the index of the copy that it got: so an answer proves an endpoint only if that copy
went there, and its source says the same. A source alone may be forged, by a member too.
"""

from __future__ import annotations

from collections.abc import Callable

from meshd.node.errors import RemoteError
from meshd.node.peer import Attempt, Peer
from meshd.node.wire import Endpoint


class Attempts:
    """The attempts of all peers. Changes these peers' `attempt`."""

    def __init__(self, new_index: Callable[[], int]) -> None:
        """`new_index` draws one that no session uses."""
        self._draw = new_index
        self._peers: dict[int, Peer] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def new_index(self) -> int:
        """An index that neither a session nor an attempt uses."""
        while (index := self._draw()) in self._peers:
            pass
        return index

    def add(self, peer: Peer, attempt: Attempt) -> None:
        """`peer` is being called."""
        peer.attempt = attempt
        self._peers[attempt.index] = peer

    def drop(self, peer: Peer) -> None:
        """It is not any more."""
        if peer.attempt is not None:
            for index in (peer.attempt.index, *peer.attempt.copies.values()):
                self._peers.pop(index, None)
            peer.attempt = None

    def copy_for(self, peer: Peer, attempt: Attempt, endpoint: Endpoint) -> int:
        """The index of the copy that goes to `endpoint`."""
        index = attempt.copies.get(endpoint)
        if index is None:
            index = attempt.copies[endpoint] = self.new_index()
            self._peers[index] = peer
        return index

    def find(self, named: bytes, source: Endpoint) -> tuple[Peer, Attempt, bool]:
        """Whose attempt an answer from `source` names by an index of 4 bytes, and whether that copy
        went there. Raises RemoteError("handshake-index")."""
        index = int.from_bytes(named, "big")
        peer = self._peers.get(index)
        if peer is None or peer.attempt is None:
            raise RemoteError("handshake-index")
        return peer, peer.attempt, peer.attempt.copies.get(source) == index
