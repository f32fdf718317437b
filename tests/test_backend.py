"""What the daemon answers when asked, over two nodes that talk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from meshd import __version__
from meshd.backend import NodeBackend
from meshd.host.api import MAX_PING_TIMEOUT
from meshd.host.storage import Storage
from meshd.node import outputs
from meshd.node.errors import LocalError
from meshd.node.grants import Grants
from meshd.node.invitation import decode_token
from meshd.node.outputs import Output
from meshd.node.pinging import PING_TIMEOUT
from meshd.streaming import Figures
from tests.devices import ALPHA_AT, Side, connected, founder, ipv4, neighbour


@dataclass
class Desk:
    """A side with its backend."""

    side: Side
    storage: Storage
    stopped: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.backend = NodeBackend(
            self.side.node,
            self.side.pump,
            self.storage,
            lambda: ["something is missing"],
            lambda: self.stopped.append(True),
            lambda: (self.side.at,),
        )
        perform = self.side.pump._perform

        def answer(output: Output) -> None:
            perform(output)
            if isinstance(output, outputs.Pong):
                self.backend.answered(output)
            elif isinstance(output, outputs.RenewalEnded):
                self.backend.renewed(output)
            elif isinstance(output, outputs.PersistIdentity):
                loop = asyncio.get_running_loop()
                self.side.node.credentials.adopt(output.identity, loop.time())
                loop.call_soon(self.side.pump.settle)

        self.side.pump._perform = answer


@pytest.fixture
async def alpha(tmp_path: Path) -> AsyncIterator[Desk]:
    side = founder()
    yield Desk(side, Storage(tmp_path / "certs", tmp_path / "state"))
    side.close()


@pytest.fixture
async def beta(alpha: Desk, tmp_path: Path) -> AsyncIterator[Desk]:
    side = neighbour(alpha.side)
    yield Desk(side, Storage(tmp_path / "other-certs", tmp_path / "other-state"))
    side.close()


async def met(alpha: Desk, beta: Desk) -> None:
    """Let the two connect and hear of each other's records."""
    await connected(alpha.side, beta.side)
    await alpha.side.until(
        # A node's first record may have been made before it knew where it is.
        lambda: all(
            peer.record is not None and peer.record.endpoints
            for peer in alpha.side.node.state.peers.values()
        )
    )


# Reading


async def test_the_status_shows_this_node_and_its_peers(alpha: Desk, beta: Desk) -> None:
    await met(alpha, beta)
    status = alpha.backend.status()
    own, certificate = status["self"], alpha.side.identity.certificate
    assert own["id"] == alpha.side.identity.id.hex()
    assert own["addresses"] == [str(address) for address in certificate.addresses]
    assert (own["name"], own["roles"], own["network"]) == ("alpha", ["issuer"], "home")
    assert own["mesh"] == alpha.side.identity.mesh.mesh_id.hex()
    assert own["version"] == __version__
    assert 0 <= own["uptime_s"] < 60
    assert status["notices"] == ["something is missing"]
    (peer,) = status["peers"]
    assert (peer["name"], peer["state"], peer["roles"]) == ("beta", "alive", [])
    assert peer["id"] == beta.side.identity.id.hex()
    path = peer["path"]
    assert path is not None
    assert (path["kind"], path["endpoint"], path["via"]) == ("direct", "192.0.2.2:443", None)
    assert 0 <= path["loss"] <= 1
    assert (path["span"], path["parity"], path["frames_saved"]) == (128, 0.0, 0)
    assert peer["tx_bytes"] > 0
    assert peer["rx_bytes"] > 0
    assert peer["last_seen_s"] is not None
    assert peer["last_error"] is None


async def test_a_peer_out_of_reach_has_no_path(alpha: Desk, beta: Desk) -> None:
    await met(alpha, beta)
    (peer,) = alpha.side.node.state.peers.values()
    alpha.side.node._dialogue.closed(peer, asyncio.get_running_loop().time())
    (shown,) = alpha.backend.status()["peers"]
    assert shown["path"] is None
    assert alpha.backend.statistics().connected_peers == 0


async def test_a_node_alone_has_no_peers(alpha: Desk) -> None:
    assert alpha.backend.status()["peers"] == []


async def test_health_tells_what_fails(alpha: Desk) -> None:
    assert alpha.backend.health() == (True, "healthy")
    alpha.backend.failing = "the disk is full"
    assert alpha.backend.health() == (False, "the disk is full")
    assert alpha.backend.status()["notices"][0] == "the disk is full"


async def test_the_counters_follow_what_happened(alpha: Desk, beta: Desk) -> None:
    await met(alpha, beta)
    packet = ipv4(alpha.side, beta.side, b"payload")
    alpha.side.tun.give(packet)
    await beta.side.until(lambda: beta.side.tun.written == [packet])
    alpha.side.node.state.auth_failures["certificate-expired"] = 3
    alpha.side.node.state.drops.update({"replay": 2, "multicast": 9})
    alpha.backend.streams = lambda: Figures(connections=3, refused=4, dropped=5, malformed=6)
    sent, received = alpha.backend.statistics(), beta.backend.statistics()
    assert (sent.packets_sent, sent.bytes_sent) == (1, len(packet))
    assert (received.packets_received, received.bytes_received) == (1, len(packet))
    assert (sent.connected_peers, received.connected_peers) == (1, 1)
    assert sent.auth_failures == 3
    assert sent.drops["replay"] == 2
    assert "multicast" not in sent.drops
    assert (sent.drops["stream-queue"], sent.drops["stream-malformed"]) == (5, 6)
    assert (sent.stream_connections, sent.streams_refused) == (3, 4)
    assert sent.members == {"alive": 1, "suspect": 0, "dead": 0, "left": 0}
    assert sent.certificate_expiry == alpha.side.identity.certificate.not_after
    assert sent.gossip_messages_sent > 0
    assert list(sent.latency) in ([], [beta.side.identity.id.hex()])
    assert list(sent.loss.items()) == [(beta.side.identity.id.hex(), 0.0)]
    assert list(sent.parity.items()) == [(beta.side.identity.id.hex(), 0.0)]
    assert list(sent.recovered.items()) == [(beta.side.identity.id.hex(), 0)]


async def test_metrics_are_prometheus_text_with_the_guides_names(alpha: Desk) -> None:
    text = (await alpha.backend.metrics()).decode()
    for name in (
        "aegisray_connected_peers 0.0",
        "aegisray_bytes_sent_total 0.0",
        "aegisray_bytes_received_total 0.0",
        'aegisray_packets_dropped_total{reason="replay"} 0.0',
        "aegisray_auth_failures_total 0.0",
    ):
        assert name in text


async def test_lookups_find_members_by_all_that_names_them(alpha: Desk, beta: Desk) -> None:
    await met(alpha, beta)
    identity = beta.side.identity
    addresses = [str(address) for address in identity.certificate.addresses]
    for text, matched in (
        ("beta", "name"),
        (identity.id.hex(), "id"),
        (identity.id.hex().upper(), "id"),
        (addresses[0], "address"),
        (addresses[1], "address"),
        (identity.certificate.address6.exploded, "address"),
        ("Beta", "name"),
    ):
        found = await alpha.backend.lookup(text)
        assert (found["matched"], found["name"], found["query"]) == (matched, "beta", text)
        assert (found["addresses"], found["route"]) == (addresses, None)
        assert found["state"] == "alive"
        assert found["endpoints"] == ["192.0.2.2:443"]


async def test_lookups_find_the_node_itself(alpha: Desk) -> None:
    identity = alpha.side.identity
    texts = ("alpha", identity.id.hex(), str(identity.certificate.address6))
    for text, matched in zip(texts, ("name", "id", "address"), strict=True):
        found = await alpha.backend.lookup(text)
        assert (found["name"], found["matched"]) == ("alpha", matched)
        assert found["endpoints"] == ["192.0.2.1:443"]


@pytest.mark.parametrize("text", ["nobody", "100.64.99.99", "8.8.8.8", "", "ff" * 16])
async def test_a_lookup_that_finds_nobody_says_where_to_look(alpha: Desk, text: str) -> None:
    with pytest.raises(LocalError, match="`meshd status` lists them all"):
        await alpha.backend.lookup(text)


async def test_routes_say_who_carries_them(alpha: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert alpha.backend.routes() == []
    side = neighbour(alpha.side)
    try:
        await connected(alpha.side, side)
        (peer,) = alpha.side.node.state.peers.values()
        offered = [("10.0.0.0/8", peer, True), ("10.1.0.0/16", peer, False)]
        monkeypatch.setattr(alpha.side.node, "routes", lambda: offered)
        monkeypatch.setattr(alpha.side.node, "route", lambda _: (peer, "10.0.0.0/8"))
        assert alpha.backend.routes() == [
            {"prefix": prefix, "id": peer.id.hex(), "name": "beta", "selected": selected}
            for prefix, _, selected in offered
        ]
        found = await alpha.backend.lookup("10.9.9.9")
        assert (found["matched"], found["route"], found["name"]) == ("route", "10.0.0.0/8", "beta")
    finally:
        side.close()


# Acting


async def test_a_ping_is_answered_with_the_way_it_took(alpha: Desk, beta: Desk) -> None:
    await met(alpha, beta)
    address = str(beta.side.identity.certificate.address4)
    for text in ("beta", beta.side.identity.id.hex(), address):
        pong = await alpha.backend.ping(text, 5.0)
        assert pong is not None
        assert (pong["name"], pong["address"]) == ("beta", address)
        assert pong["rtt_ms"] >= 0
        assert pong["path"] is not None
    assert alpha.backend._pings == {}


async def test_a_ping_without_an_answer_ends_in_time(alpha: Desk, beta: Desk) -> None:
    await met(alpha, beta)
    beta.side.pump.stop()
    assert await alpha.backend.ping("beta", 0.01) is None
    assert alpha.backend._pings == {}
    with pytest.raises(LocalError, match="no member"):
        await alpha.backend.ping("nobody", 1.0)


async def test_many_pings_at_once_find_their_own_answers(alpha: Desk, beta: Desk) -> None:
    await met(alpha, beta)
    pongs = await asyncio.gather(*(alpha.backend.ping("beta", 5.0) for _ in range(20)))
    assert all(pong is not None for pong in pongs)
    alpha.backend.answered(outputs.Pong(10_000, 0.1, "", ""))


async def test_an_invitation_is_on_disk_before_its_token_is_told(alpha: Desk) -> None:
    grants = Grants(name="gamma", groups=("web",))
    invited = await alpha.backend.invite(grants, 600)
    token = decode_token(invited["token"])
    assert token.expiry == invited["expires"]
    assert token.endpoints == (ALPHA_AT,)
    stored = alpha.storage.find_invitation(token.invitation_id)
    assert stored is not None
    assert (stored.grants, stored.used_by) == (grants, None)
    assert stored.locator in alpha.side.node._handshakes.invitations


async def test_an_invitation_that_cannot_be_kept_is_not_told(alpha: Desk) -> None:
    alpha.storage.state.parent.mkdir(exist_ok=True)
    alpha.storage.state.write_text("no directory")
    with pytest.raises(LocalError):
        await alpha.backend.invite(Grants(), 600)
    assert alpha.side.node._handshakes.invitations == {}


async def test_who_is_no_issuer_cannot_invite(alpha: Desk, beta: Desk) -> None:
    with pytest.raises(LocalError, match="only a node with the role `issuer` can"):
        await beta.backend.invite(Grants(), 600)
    with pytest.raises(LocalError, match="is not a role"):
        await alpha.backend.invite(Grants(roles=("king",)), 600)
    with pytest.raises(LocalError, match="30 days"):
        await alpha.backend.invite(Grants(), 31 * 86_400)


async def test_who_is_revoked_invites_nobody(alpha: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alpha.side.node.credentials.lists, "revoked", True)
    with pytest.raises(LocalError, match="no member any more"):
        await alpha.backend.invite(Grants(), 600)
    with pytest.raises(LocalError, match="no member any more"):
        await alpha.backend.revoke("beta")
    assert not list(alpha.storage.state.glob("invitations/*"))


async def test_down_begins_to_stop(alpha: Desk) -> None:
    await alpha.backend.down()
    assert alpha.stopped == [True]


async def test_a_revocation_is_on_disk_and_ends_the_session(alpha: Desk, beta: Desk) -> None:
    await met(alpha, beta)
    with pytest.raises(LocalError, match="no node has the name"):
        await alpha.backend.revoke("nobody")
    revoked = await alpha.backend.revoke("beta")
    serial = beta.side.identity.certificate.serial
    key = f"01{beta.side.identity.id.hex()}"
    assert (revoked["name"], revoked["serials"]) == ("beta", [f"{serial:016x}", key])
    (shown,) = alpha.backend.status()["peers"]
    assert (shown["state"], shown["path"]) == ("left", None)
    assert shown["last_error"] == "its certificate was revoked"
    assert (alpha.storage.state / "revocations").exists()
    await beta.side.until(lambda: len(beta.backend.status()["notices"]) == 2)
    assert "was revoked" in beta.backend.status()["notices"][0]
    assert (await alpha.backend.revoke("beta"))["serials"] == []
    with pytest.raises(LocalError, match="was revoked"):
        await beta.backend.renew()


async def test_a_revocation_that_cannot_be_written_changes_nothing(
    alpha: Desk, beta: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await met(alpha, beta)

    def full(*_: object) -> None:
        raise LocalError("no space left on device")

    monkeypatch.setattr(alpha.storage, "save_revocations", full)
    with pytest.raises(LocalError, match="no space"):
        await alpha.backend.revoke("beta")
    assert alpha.side.identity.trust.lists == ()
    assert alpha.backend.status()["peers"][0]["path"] is not None


async def test_a_new_certificate_comes_when_it_is_asked_for(alpha: Desk, beta: Desk) -> None:
    await met(alpha, beta)
    old = beta.side.identity.certificate
    renewed = await beta.backend.renew()
    held = beta.side.node.state.identity.certificate
    assert held.serial != old.serial
    assert (renewed["name"], renewed["serial"]) == ("beta", f"{held.serial:016x}")
    assert renewed["not_after"].endswith("Z")
    assert renewed["issuer"] == held.authority.hex()
    assert alpha.backend.status()["peers"][0]["path"] is not None


async def test_who_waits_for_a_certificate_is_told_when_none_comes(
    alpha: Desk, beta: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LocalError, match="no member with the role issuer"):
        await beta.backend.renew()
    monkeypatch.setattr("meshd.backend.RENEW_TIMEOUT", 0.01)
    monkeypatch.setattr(beta.side.node.credentials, "renew", lambda token, now: None)
    with pytest.raises(LocalError, match="no issuer has answered yet"):
        await beta.backend.renew()


async def test_leaving_tells_the_others_and_begins_to_stop(alpha: Desk, beta: Desk) -> None:
    await met(alpha, beta)
    left = await beta.backend.leave()
    assert (left["told"], left["final"]) == (1, True)
    assert (Path(left["certs"]), Path(left["state"])) == (beta.storage.certs, beta.storage.state)
    assert beta.stopped == [True]
    await alpha.side.until(lambda: alpha.backend.status()["peers"][0]["state"] == "left")


def test_the_node_gives_up_no_ping_before_the_person_does() -> None:
    assert PING_TIMEOUT >= MAX_PING_TIMEOUT
