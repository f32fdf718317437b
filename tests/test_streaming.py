"""The daemon's streams: two nodes on loopback that only have TCP."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from meshd.config import Config, Network, Security
from meshd.node.errors import HostError, LocalError
from meshd.node.path import PathKind
from meshd.node.wire import Endpoint
from meshd.streaming import UNNAMED, Figures, Streaming, certificate, manner
from tests.devices import Side, founder, ipv4, neighbour
from tests.streams import SECONDS, visit

LOOPBACK = "127.0.0.1"
CONFIG = Config(listen_address=LOOPBACK)


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[tuple[Side, Side, Streaming, Streaming]]:
    """Two nodes between which nothing goes over UDP; the first accepts streams."""
    alpha = founder()
    beta = neighbour(alpha)
    made: list[Streaming] = []
    for side in (alpha, beta):
        state = tmp_path / f"state{len(made)}"
        state.mkdir()
        identity = side.node.state.identity
        streaming = Streaming(CONFIG, 0, identity.mesh_secret, identity.mesh.mesh_id, state)
        streaming.serve(side.node, side.pump)
        made.append(streaming)
    yield alpha, beta, made[0], made[1]
    for streaming in made:
        await streaming.stop()
    beta.close()
    alpha.close()


def deafen(*sides: Side) -> None:
    """Let all UDP between them be lost."""
    for side in sides:
        side.other = None


def place(streaming: Streaming) -> Endpoint:
    return (f"tls:{LOOPBACK}", streaming.host.port)


async def turns_until(condition: Callable[[], bool]) -> None:
    """Let the loop go round until `condition`."""
    end = asyncio.get_running_loop().time() + SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0)


async def meet(alpha: Side, beta: Side, at: Endpoint) -> None:
    """Let beta call alpha by a stream."""
    (peer,) = [p for p in beta.node.state.peers.values() if p.id == alpha.node.state.identity.id]
    peer.fallback.endpoints = (at,)
    beta.node.streams._dialled[at] = asyncio.get_running_loop().time()
    alpha.pump.start()
    beta.pump.start()
    await beta.until(lambda: peer.path is not None and peer.path.kind is PathKind.STREAM)


async def test_packets_go_by_a_stream_where_udp_brings_nothing(
    sides: tuple[Side, Side, Streaming, Streaming],
) -> None:
    alpha, beta, here, there = sides
    deafen(alpha, beta)
    await meet(alpha, beta, place(here))
    first, large = ipv4(beta, alpha, b"first"), ipv4(beta, alpha, b"large" * 5000)
    beta.tun.give(first, large)
    await alpha.until(lambda: alpha.tun.written == [first, large])
    back = ipv4(alpha, beta, b"back" * 9000)
    alpha.tun.give(back)
    await beta.until(lambda: beta.tun.written == [back])
    assert alpha.pump.packets_received == 2
    figures = here.figures()
    assert (figures.connections, figures.refused) == (1, 0)
    assert figures.bytes_in > len(large)
    assert figures.bytes_out > len(back)
    assert there.figures().connections == 1


async def test_when_the_stream_ends_the_path_is_gone_at_once(
    sides: tuple[Side, Side, Streaming, Streaming],
) -> None:
    alpha, beta, here, _ = sides
    deafen(alpha, beta)
    await meet(alpha, beta, place(here))
    (peer,) = [p for p in beta.node.state.peers.values() if p.current is not None]
    for endpoint, _accepted in here.host.connections():
        here.host.close(endpoint)
    await beta.until(lambda: peer.paths.direct(place(here)) is None)


async def test_garbage_in_an_admitted_stream_ends_it_and_nothing_else(
    sides: tuple[Side, Side, Streaming, Streaming],
) -> None:
    alpha, _, here, there = sides
    alpha.pump.start()
    junk = bytes((9,)) * 40
    assert there.host.send([junk, junk], 80, 1, place(here)) == 0
    await turns_until(lambda: alpha.node.state.drops["unknown-kind"] == 1)
    there.host._streams[place(here)]._write(b"\xff\xff" + bytes(600))
    await turns_until(lambda: here.figures().malformed == 1)
    await turns_until(lambda: not here.host.connections())
    assert not alpha.failures


async def test_a_stranger_gets_nothing_and_is_counted(
    sides: tuple[Side, Side, Streaming, Streaming],
) -> None:
    _, _, here, _ = sides
    answer = await visit(place(here), b"GET / HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert here.figures() == Figures(connections=0, refused=1)


async def test_with_stealth_a_stranger_gets_the_website(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<p>Welcome</p>")
    security = Security(stealth_mode=True, fallback=str(tmp_path / "site"))
    streaming = Streaming(replace(CONFIG, security=security), 0, bytes(32), bytes(32), tmp_path)
    answer = await visit(place(streaming), b"GET / HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"<p>Welcome</p>")
    await streaming.stop()


async def test_the_page_does_not_tell_when_the_daemon_was_started(tmp_path: Path) -> None:
    certificate(Security(), tmp_path)
    for name in ("tls.crt", "tls.key"):
        os.utime(tmp_path / name, (1_700_000_000, 1_700_000_000))
    config = replace(CONFIG, security=Security(stealth_mode=True))
    streaming = Streaming(config, 0, bytes(32), bytes(32), tmp_path)
    answer = await visit(place(streaming), b"GET / HTTP/1.0\r\n\r\n")
    assert b"\r\nLast-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n" in answer
    await streaming.stop()


async def test_a_taken_port_is_a_notice(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        streaming = Streaming(CONFIG, port, bytes(32), bytes(32), tmp_path)
    assert not streaming.listening
    (notice,) = streaming.notices
    assert str(port) in notice
    await streaming.stop()


async def test_a_certificate_that_becomes_unusable_is_a_notice(tmp_path: Path) -> None:
    streaming = Streaming(CONFIG, 0, bytes(32), bytes(32), tmp_path)
    assert streaming.notices == []
    (tmp_path / "tls.crt").write_text("half of a renewal")
    assert streaming._certificate is not None
    streaming._certificate.refresh()
    (notice,) = streaming.notices
    assert "tls.crt" in notice
    assert "still shown" in notice
    await streaming.stop()


async def test_without_tls_nobody_listens(tmp_path: Path) -> None:
    config = replace(CONFIG, security=Security(use_tls=False))
    streaming = Streaming(config, 0, bytes(32), bytes(32), tmp_path)
    assert (streaming.listening, streaming.host.port, streaming.notices) == (False, 0, [])
    assert not os.listdir(tmp_path)
    await streaming.stop()


def test_a_certificate_is_made_once_and_made_again_when_it_is_damaged(tmp_path: Path) -> None:
    first = certificate(Security(), tmp_path).identity.fingerprint
    assert certificate(Security(), tmp_path).identity.fingerprint == first
    made = x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes())
    assert made.subject.rfc4514_string() == f"CN={UNNAMED}"
    assert (tmp_path / "tls.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "tls.crt").write_text("damaged")
    named = Security(tls_name="www.example.org")
    assert certificate(named, tmp_path).identity.fingerprint != first
    made = x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes())
    assert made.subject.rfc4514_string() == "CN=www.example.org"


def test_a_given_certificate_is_shown_and_a_wrong_one_told(tmp_path: Path) -> None:
    own = certificate(Security(), tmp_path)
    given = Security(tls_cert=tmp_path / "tls.crt", tls_key=tmp_path / "tls.key")
    assert certificate(given, Path("/nowhere")).identity.fingerprint == own.identity.fingerprint
    with pytest.raises(LocalError, match="together only"):
        certificate(Security(tls_cert=tmp_path / "tls.crt"), tmp_path)
    with pytest.raises(HostError, match="cannot be read"):
        certificate(replace(given, tls_key=tmp_path / "none"), tmp_path)


def test_how_to_dial_follows_from_the_configuration() -> None:
    plain = manner(Config())
    assert (plain.proxy, plain.server_name) == (None, None)
    assert plain.context.minimum_version is ssl.TLSVersion.TLSv1_3
    network = Network(proxy="http://me:secret@proxy.example.net:3128")
    config = Config(network=network, security=Security(tls_name="www.example.org"))
    by_proxy = manner(config)
    assert by_proxy.proxy is not None
    assert (by_proxy.proxy.host, by_proxy.proxy.port) == ("proxy.example.net", 3128)
    assert by_proxy.server_name == "www.example.org"
