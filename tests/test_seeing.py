"""What `why` and `netcheck` show, over two nodes that talk."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshd.forwarding import Report
from meshd.node.control import Why
from meshd.node.outputs import Explained, Output
from meshd.node.pcp import Transport
from meshd.node.portmap import Mapping, Protocol
from meshd.seeing import Seeing
from tests.devices import Side, connected, founder, neighbour

OUT = ("203.0.113.5", 443)


@pytest.fixture
async def pair() -> Any:
    alpha = founder()
    beta = neighbour(alpha)
    await connected(alpha, beta)
    yield alpha, beta
    beta.close()
    alpha.close()


def seeing(side: Side) -> Seeing:
    """The side's, which its node's answers reach."""
    made, perform = Seeing(side.node, side.pump), side.pump._perform

    def answer(output: Output) -> None:
        if isinstance(output, Explained):
            made.explained(output)
        else:
            perform(output)

    side.pump._perform = answer
    return made


def peer_of(side: Side) -> Any:
    (peer,) = side.node.state.peers.values()
    return peer


async def test_both_ends_say_how_they_see_it(pair: tuple[Side, Side]) -> None:
    alpha, _ = pair
    here, there = await seeing(alpha).ends(peer_of(alpha))
    assert (here["name"], there["name"]) == ("alpha", "beta")
    assert here["told"]
    assert there["told"]
    assert here["tried"][0]["target"] == "192.0.2.2:443"
    assert there["tried"][0]["target"] == "192.0.2.1:443"
    assert there["tried"][0]["stands"] == "used"
    assert "direct" in here["reason"]


async def test_of_who_cannot_be_asked_its_record_is_shown(
    pair: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, beta = pair
    monkeypatch.setattr("meshd.seeing.ASK_TIMEOUT", 0.01)
    del beta.node._dialogue.handlers[Why]
    peer = peer_of(alpha)
    _, there = await seeing(alpha).ends(peer)
    assert not there["told"]
    assert [c["endpoint"] for c in there["candidates"]] == [
        f"{host}:{port}" for host, port in peer.candidates()
    ]
    alpha.node._dialogue.closed(peer, asyncio.get_running_loop().time())
    _, there = await seeing(alpha).ends(peer)
    assert not there["told"]


async def test_an_answer_after_its_time_is_dropped(pair: tuple[Side, Side]) -> None:
    alpha, _ = pair
    view = alpha.node.explaining.view(peer_of(alpha), 0.0)
    seeing(alpha).explained(Explained(99, view))


async def test_netcheck_shows_what_works(pair: tuple[Side, Side]) -> None:
    alpha, _ = pair
    alpha.node.state.reflexive[OUT] = {peer_of(alpha).id: 0.0}
    mapped: Any = {"protocol": "pcp"}
    shown = seeing(alpha).netcheck(mapped)
    assert shown["udp"] is True
    assert (shown["ipv4"]["works"], shown["ipv6"]["works"]) == (True, False)
    assert shown["ipv4"]["seen"][-1:] == ["203.0.113.5:443"]
    assert shown["port_mapping"] == mapped
    assert (shown["direct"], shown["relayed"], shown["streams"]) == (1, 0, 0)
    await alpha.until(lambda: bool(seeing(alpha).netcheck(None)["relays"]))
    (relay,) = seeing(alpha).netcheck(None)["relays"]
    assert (relay["name"], relay["role"]) == ("beta", False)


async def test_netcheck_shows_what_gateways_said(pair: tuple[Side, Side]) -> None:
    made = seeing(pair[0])
    mapping = Mapping(Protocol.PCP, Transport.UDP, "192.168.1.1", OUT, 9.0)
    made.gateways = lambda: [
        Report("192.168.1.1", "192.168.1.10", (mapping,), {Protocol.UPNP: "no answer"})
    ]
    assert made.netcheck(None)["gateways"] == [
        {
            "gateway": "192.168.1.1",
            "forwards": ["203.0.113.5:443/udp by pcp"],
            "errors": {"upnp": "no answer"},
        }
    ]


async def test_netcheck_of_a_node_alone_knows_nothing() -> None:
    alone = founder()
    try:
        shown = seeing(alone).netcheck(None)
        assert shown["udp"] is None
        assert (shown["relays"], shown["mapping"]) == ([], "unknown")
    finally:
        alone.close()
