"""Pings of a person's, between whole nodes."""

from __future__ import annotations

import pytest

from meshd.node.outputs import Pong
from meshd.node.pinging import MAX_PINGS, PING_TIMEOUT
from tests.node.virtual import Mesh


def test_a_ping_measures_the_round_trip() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    pong = alpha.ping(beta)
    assert pong is not None
    assert pong.rtt == pytest.approx(0.020)
    assert (pong.kind, pong.via) == ("direct", "198.51.100.2:443")


def test_a_ping_waits_for_a_session_and_then_not_for_ever() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta")
    pong = beta.ping(alpha)
    assert pong is not None
    assert pong.rtt == pytest.approx(0.020)
    alpha.kill()
    asked = mesh.world.now
    assert beta.ping(alpha, within=PING_TIMEOUT + 1) is None
    assert beta.told(Pong)[-1].rtt is None
    assert mesh.world.now - asked == pytest.approx(PING_TIMEOUT, abs=0.2)


def test_pings_are_bounded() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    beta.kill()
    for token in range(1000, 1000 + MAX_PINGS + 1):
        alpha.node.ping(alpha.peer(beta), token, mesh.world.now)
    alpha.settle()
    assert [pong.token for pong in alpha.told(Pong)] == [1000 + MAX_PINGS]
