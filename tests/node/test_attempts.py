"""Which attempt an answer is to, and whether it went where the answer came from."""

from __future__ import annotations

from itertools import count

import pytest

from meshd.node.attempts import Attempts
from meshd.node.errors import RemoteError
from meshd.node.wire import Endpoint
from tests.node.virtual import Mesh

HERE: Endpoint = ("192.0.2.1", 443)
THERE: Endpoint = ("192.0.2.2", 443)


def named(index: int) -> bytes:
    return index.to_bytes(4, "big")


def test_an_answer_counts_for_the_endpoint_that_its_copy_went_to() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(2)
    beta.kill()
    peer = alpha.peer(beta)
    alpha.node._handshakes.begin(peer, mesh.world.now)
    attempt = peer.attempt
    assert attempt is not None
    attempts = alpha.node._handshakes._attempts
    one, other = (attempts.copy_for(peer, attempt, endpoint) for endpoint in (HERE, THERE))
    assert attempts.copy_for(peer, attempt, HERE) == one != other
    assert attempts.find(named(one), HERE) == (peer, attempt, True)
    assert attempts.find(named(one), THERE) == (peer, attempt, False)
    assert attempts.find(named(attempt.index), HERE) == (peer, attempt, False)
    attempts.drop(peer)
    for index in (one, other, attempt.index):
        with pytest.raises(RemoteError, match="handshake-index"):
            attempts.find(named(index), HERE)
    assert len(attempts) == 0
    assert peer.attempt is None


def test_an_index_is_used_once() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(2)
    peer = alpha.peer(beta)
    alpha.node._handshakes.begin(peer, mesh.world.now)
    assert peer.attempt is not None
    drawn = count(1)
    attempts = Attempts(lambda: next(drawn) // 2)
    peer.attempt.copies.clear()
    attempts.add(peer, peer.attempt)
    found = [attempts.copy_for(peer, peer.attempt, ("192.0.2.1", port)) for port in range(1, 6)]
    assert len(set(found)) == 5
