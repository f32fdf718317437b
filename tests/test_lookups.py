"""Whom a person means, where a node does not know everyone."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Any, cast

import pytest

from gossip import NodeId
from meshd.lookups import KNOWN, Lookups, key_of
from meshd.node.addresses import lookup_key
from meshd.node.errors import LocalError
from meshd.node.outputs import LookedUp
from tests.devices import Side, founder, neighbour


@pytest.fixture
async def pair() -> Any:
    alpha = founder()
    beta = neighbour(alpha)
    yield alpha, beta
    beta.close()
    alpha.close()


def answering(
    side: Side, monkeypatch: pytest.MonkeyPatch, *answers: tuple[NodeId | None, NodeId | None, int]
) -> tuple[Lookups, list[bytes]]:
    """Lookups of a node that is partial, and whose mesh answers so; what was asked for."""
    lookups = Lookups(side.node, side.pump, lambda: (side.at,))
    asked: list[bytes] = []
    waiting = list(answers)

    def look_up(key: bytes, token: int, now: float) -> None:
        asked.append(key)
        if waiting:
            asyncio.get_running_loop().call_soon(lookups.ended, LookedUp(token, *waiting.pop(0)))

    monkeypatch.setattr(side.node.gossip._core, "partial", True)
    monkeypatch.setattr(type(side.node), "look_up", lambda self, *args: look_up(*args))
    return lookups, asked


def test_names_ids_and_addresses_have_their_keys_however_they_are_spelt() -> None:
    assert key_of("Beta") == key_of("beta") == lookup_key("beta")
    assert key_of("ab" * 16) == bytes.fromhex("ab" * 16)
    assert key_of("fd00:0::1") == lookup_key(ip_address("fd00::1"))
    assert key_of("100.64.0.7") == lookup_key(ip_address("100.64.0.7"))
    assert key_of("abcd") == lookup_key("abcd")


async def test_what_is_known_is_told_without_asking(
    pair: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, beta = pair
    lookups, asked = answering(beta, monkeypatch)
    for text in ("alpha", "beta"):
        found = await lookups.find(text)
        assert (found["name"], found["answered_by"], found["hops"]) == (text, KNOWN, 0)
    assert asked == []
    assert (await lookups.peer("alpha")).id == alpha.identity.id


async def test_the_mesh_is_asked_for_others_and_it_says_who_answered(
    pair: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, beta = pair
    node, stranger = alpha.identity.id, NodeId(b"s" * 16)
    lookups, asked = answering(
        beta,
        monkeypatch,
        (node, node, 2),
        (node, stranger, 3),
        (node, beta.identity.id, 0),
        (None, None, 0),
    )
    for told in (("alpha", 2), (stranger.hex(), 3), (KNOWN, 0)):
        found = await lookups.find("elsewhere")
        assert found["name"] == "alpha"
        assert (found["answered_by"], found["hops"]) == told
    assert asked == [lookup_key("elsewhere")] * 3
    with pytest.raises(LocalError, match="nobody who was asked"):
        await lookups.peer("elsewhere")


async def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(
    pair: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups, asked = answering(pair[0], monkeypatch)
    monkeypatch.setattr("meshd.lookups.TIMEOUT", 0.01)
    with pytest.raises(LocalError, match="no member has"):
        await lookups.find("elsewhere")
    assert len(asked) == 1
    assert cast(Any, lookups)._waiting == {}
