from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from meshd.contract import (
    Found,
    Invited,
    Left,
    Netcheck,
    Pong,
    Renewed,
    Revoked,
    Route,
    Status,
    Why,
)
from meshd.host import api
from meshd.host.api import ApiServer
from meshd.host.listeners import UnixListener, open_tcp
from meshd.node.errors import LocalError, RemoteError
from meshd.node.grants import Grants, parse_route


@dataclass
class FakeBackend:
    """Answers as a daemon would, and keeps what it was asked."""

    well: tuple[bool, str] = (True, "")
    starting: bool = False
    asked: list[Any] = field(default_factory=list)

    def status(self) -> Status:
        if self.starting:
            raise LocalError("meshd is starting", exit_code=4)
        return {
            "self": {
                "id": "ab" * 16,
                "name": "alpha",
                "addresses": [],
                "roles": [],
                "mesh": "cd" * 16,
                "network": "production",
                "version": "1",
                "uptime_s": 1.0,
                "neighbours": 1,
                "streams": 0,
                "port_mapping": None,
            },
            "peers": [],
            "notices": [],
        }

    def health(self) -> tuple[bool, str]:
        if self.well[1] == "raise":
            raise RuntimeError
        return self.well

    async def metrics(self) -> bytes:
        if self.well[1] == "raise":
            raise RuntimeError
        return b"aegisray_connected_peers 1.0\n"

    async def lookup(self, text: str) -> Found:
        raise LocalError(f"nothing is known of {text}")

    def routes(self) -> list[Route]:
        return [{"prefix": "10.0.0.0/8", "id": "ab" * 16, "name": "beta", "selected": True}]

    async def why(self, peer: str) -> Why:
        raise LocalError(f"nothing is known of {peer}")

    def netcheck(self) -> Netcheck:
        empty: Any = {"udp": None}
        return empty  # type: ignore[no-any-return]

    async def ping(self, peer: str, timeout: float) -> Pong | None:
        self.asked.append(("ping", peer, timeout))
        if peer == "odd":
            raise RemoteError("handshake-refused")
        return None

    async def invite(self, grants: Grants, lifetime: int) -> Invited:
        self.asked.append((grants, lifetime))
        return {"token": "aegis1-x", "expires": 7}

    async def revoke(self, node: str) -> Revoked:
        self.asked.append(f"revoke {node}")
        return {"id": "be" * 16, "name": node, "serials": [], "elsewhere": []}

    async def renew(self) -> Renewed:
        self.asked.append("renew")
        return {
            "name": "alpha",
            "serial": "5",
            "not_before": "then",
            "not_after": "later",
            "issuer": "cd" * 16,
        }

    async def leave(self) -> Left:
        self.asked.append("leave")
        return {"told": 3, "final": True, "certs": "/certs", "state": "/state"}

    async def down(self) -> None:
        self.asked.append("down")


@dataclass
class Served:
    backend: FakeBackend
    path: Path
    port: int

    async def tcp(self, text: str) -> tuple[int, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        return await exchange(reader, writer, text.replace("\n", "\r\n").encode())

    async def unix(
        self, method: str, target: str, body: Any = None, headers: str = "", kind: str = "json"
    ) -> tuple[int, Any]:
        data = (
            body
            if isinstance(body, bytes)
            else json.dumps(body).encode()
            if body is not None
            else b""
        )
        head = f"{method} {target} HTTP/1.1\r\nHost: meshd\r\nConnection: close\r\n{headers}"
        if body is not None:
            head += f"Content-Type: application/{kind}\r\nContent-Length: {len(data)}\r\n"
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        status, text = await exchange(reader, writer, f"{head}\r\n".encode() + data)
        return status, json.loads(text) if text.startswith("{") else text


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
) -> tuple[int, str]:
    """Send `data`, read until the server closes; status and body."""
    try:
        writer.write(data)
        answer = (await asyncio.wait_for(reader.read(), 5.0)).decode()
    finally:
        writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split(" ")[1]) if head else 0, body


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    backend = FakeBackend()
    local = UnixListener(tmp_path / "meshd.sock")
    public = open_tcp("0.0.0.0", 0)
    port = public.getsockname()[1]
    server = ApiServer(backend, local.socket, public, hosts=["Exit-1"])
    await server.start()
    yield Served(backend, local.path, port)
    await server.stop()
    await server.stop()
    local.close()
    assert not local.path.exists()


async def test_health_answers_http_1_0_without_a_host(served: Served) -> None:
    assert await served.tcp("GET /health HTTP/1.0\n\n") == (200, "healthy\n")


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "127.0.0.1", "[::1]", "exit-1", "localhost:9", "EXIT-1:8080"],
)
async def test_known_hosts_are_served(served: Served, host: str) -> None:
    assert await served.tcp(f"GET /health HTTP/1.1\nHost: {host}\n\n") == (200, "healthy\n")


@pytest.mark.parametrize(
    "headers",
    [
        "Host: evil.example",
        "Host: 10.1.2.3",
        "Host: localhost.evil.example",
        "Host: localhost:80:80",
        "Host: localhost@evil.example",
        "Host: ",
        "Host: exit-1, evil.example",
        "Host: localhost\nOrigin: http://localhost",
        "Host: localhost\nOrigin: null",
        "Host: localhost\nOrigin: ",
    ],
)
async def test_other_hosts_and_every_origin_are_refused(served: Served, headers: str) -> None:
    for path in ("/health", "/metrics", "/v1/status", "/"):
        status, body = await served.tcp(f"GET {path} HTTP/1.1\n{headers}\n\n")
        assert status in (400, 403)
        assert "healthy" not in body


@pytest.mark.parametrize("headers", ["", "Host: localhost\nHost: evil.example\n"])
async def test_http_1_1_names_exactly_one_host(served: Served, headers: str) -> None:
    status, _ = await served.tcp(f"GET /health HTTP/1.1\n{headers}\n")
    assert status in (400, 403)


async def test_the_address_connected_to_is_a_known_host(served: Served) -> None:
    data = b"GET /health HTTP/1.1\r\nHost: 127.0.0.9\r\n\r\n"
    for address, expected in (("127.0.0.9", 200), ("127.0.0.1", 403)):
        reader, writer = await asyncio.open_connection(address, served.port)
        assert (await exchange(reader, writer, data))[0] == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no TUN", "failing: no TUN\n"),
        ("unhealthy\nHEALTHY", "failing: unwell well\n"),
        ("raise", "failing: internal error, see the log\n"),
    ],
)
async def test_failing_health_is_503_and_never_says_healthy(
    served: Served, text: str, shown: str
) -> None:
    served.backend.well = (False, text)
    assert await served.tcp("GET /health HTTP/1.0\n\n") == (503, shown)


async def test_metrics_are_served_on_both(served: Served) -> None:
    expected = (200, "aegisray_connected_peers 1.0\n")
    assert await served.tcp("GET /metrics HTTP/1.0\n\n") == expected
    assert await served.unix("GET", "/metrics") == expected


async def test_our_own_error_is_logged_and_told_as_one(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.backend.well = (True, "raise")
    assert (await served.tcp("GET /metrics HTTP/1.0\n\n"))[0] == 500
    status, body = await served.unix("GET", "/metrics")
    assert (status, body["exit_code"]) == (500, 1)
    assert caplog.text.count("/metrics failed") == 2


@pytest.mark.parametrize(
    "request_line",
    ["GET /v1/status", "POST /v1/down", "POST /v1/invite", "GET /", "GET //health", "GET /v1"],
)
async def test_tcp_serves_nothing_else(served: Served, request_line: str) -> None:
    status, _ = await served.tcp(f"{request_line} HTTP/1.1\nHost: localhost\n\n")
    assert status == 404
    assert served.backend.asked == []


async def test_a_stranger_does_not_learn_our_versions(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET /health HTTP/1.0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5.0)
    writer.close()
    assert b"Server: meshd\r\n" in answer
    assert b"aiohttp" not in answer


async def test_only_reading_methods_are_allowed_on_tcp(served: Served) -> None:
    status, _ = await served.tcp("POST /health HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n")
    assert status == 405


async def test_garbage_gets_no_traceback_in_the_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for garbage in ("\x16\x03\x01 nonsense\n\n", "GET / HTTP/1.0\nConnection: close\n\nmore"):
        status, _ = await served.tcp(garbage)
        assert status in (0, 400, 403, 404)
    assert await served.tcp("GET /health HTTP/1.0\n\n") == (200, "healthy\n")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_connection_that_says_nothing_is_closed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "CONNECTION_LIFETIME", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET /hea")
    assert await asyncio.wait_for(reader.read(), 5.0) == b""
    writer.close()


async def test_of_too_many_connections_the_oldest_goes(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MAX_CONNECTIONS", 3)
    idle = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(3)]
    assert await served.tcp("GET /health HTTP/1.0\n\n") == (200, "healthy\n")
    assert await asyncio.wait_for(idle[0][0].read(), 5.0) == b""
    for _, writer in idle:
        writer.close()


async def test_status_and_routes_are_read_on_the_unix_socket(served: Served) -> None:
    status, body = await served.unix("GET", "/v1/status")
    assert status == 200
    assert body["self"]["name"] == "alpha"
    assert (await served.unix("GET", "/v1/routes"))[1]["routes"][0]["prefix"] == "10.0.0.0/8"


async def test_errors_come_as_sentences_with_their_exit_code(served: Served) -> None:
    served.backend.starting = True
    assert await served.unix("GET", "/v1/status") == (
        409,
        {"error": "meshd is starting", "exit_code": 4},
    )
    status, body = await served.unix("POST", "/v1/lookup", {"query": "x"})
    assert (status, body["error"]) == (409, "nothing is known of x")
    status, body = await served.unix("POST", "/v1/ping", {"peer": "odd"})
    assert (status, body["error"]) == (502, "handshake-refused")
    assert (await served.unix("GET", "/v1/nothing"))[0] == 404


async def test_why_and_netcheck_are_for_whoever_may_read(served: Served) -> None:
    assert await served.unix("GET", "/v1/netcheck") == (200, {"udp": None})
    status, answer = await served.unix("POST", "/v1/why", {"peer": "moon"})
    assert (status, answer["error"]) == (409, "nothing is known of moon")
    assert (await served.unix("POST", "/v1/why", {"node": "moon"}))[0] == 400


async def test_a_ping_hands_on_peer_and_timeout(served: Served) -> None:
    body = {"peer": "beta", "timeout": 2}
    assert await served.unix("POST", "/v1/ping", body) == (200, {"pong": None})
    assert served.backend.asked == [("ping", "beta", 2.0)]


@pytest.mark.parametrize(
    "body",
    [
        {"peer": ""},
        {"peer": 7},
        {"peer": "x" * 256},
        {"peer": "a\nb"},
        {"peer": "a", "timeout": 0},
        {"peer": "a", "timeout": 31},
        {"peer": "a", "timeout": True},
        {"peer": "a", "timeout": float("nan")},
        {"peer": "a", "count": 2},
        [],
    ],
)
async def test_a_bad_ping_is_refused(served: Served, body: Any) -> None:
    data = json.dumps(body).encode()
    assert (await served.unix("POST", "/v1/ping", data))[0] in (400, 409)
    assert served.backend.asked == []


async def test_an_invitation_is_checked_and_made(served: Served) -> None:
    body = {"name": "nas", "roles": ["relay"], "routes": ["10.0.0.0/8"], "lifetime": 3600}
    status, answer = await served.unix("POST", "/v1/invite", body)
    assert (status, answer["token"]) == (200, "aegis1-x")
    grants = Grants(name="nas", roles=("relay",), routes=(parse_route("10.0.0.0/8"),))
    assert served.backend.asked == [(grants, 3600)]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Bad Name"},
        {"roles": ["king"]},
        {"roles": "relay"},
        {"routes": ["10.0.0.1/8"]},
        {"groups": [7]},
        {"lifetime": "1h"},
        {"lifetime": True},
        {"lifetime": None},
    ],
)
async def test_a_bad_invitation_is_refused(served: Served, change: dict[str, Any]) -> None:
    status, _ = await served.unix("POST", "/v1/invite", {"lifetime": 3600, **change})
    assert status == 409
    assert served.backend.asked == []


async def test_down_is_taken_from_root_and_ourselves(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="meshd.api")
    assert (await served.unix("POST", "/v1/down", {}))[0] == 202
    assert served.backend.asked == ["down"]
    assert f"/v1/down asked for by user {os.geteuid()}, process {os.getpid()}" in caplog.text
    status, answer = await served.unix("POST", "/v1/leave", {})
    assert (status, answer["told"], answer["final"]) == (200, 3, True)
    assert served.backend.asked == ["down", "leave"]
    assert (await served.unix("POST", "/v1/revoke", {"node": "beta"}))[1]["name"] == "beta"
    assert (await served.unix("POST", "/v1/renew", {}))[1]["not_after"] == "later"
    assert served.backend.asked[2:] == ["revoke beta", "renew"]
    for wrong in ({}, {"node": ""}, {"node": 5}, {"node": "x" * 300}):
        assert (await served.unix("POST", "/v1/revoke", wrong))[0] == 409


async def test_others_may_read_but_not_manage(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_asker", lambda request: (1, 4242))
    for target in ("/v1/down", "/v1/leave", "/v1/invite", "/v1/revoke", "/v1/renew"):
        status, body = await served.unix("POST", target, {"lifetime": 3600})
        assert status == 403
        assert "sudo" in body["error"]
    assert served.backend.asked == []
    assert (await served.unix("GET", "/v1/status"))[0] == 200


async def test_the_unix_socket_takes_json_objects_only_and_no_web_pages(served: Served) -> None:
    assert (await served.unix("POST", "/v1/down", {}, kind="x-www-form-urlencoded"))[0] == 415
    assert (await served.unix("POST", "/v1/down"))[0] == 415
    assert (await served.unix("POST", "/v1/down", b"{"))[0] == 400
    assert (await served.unix("POST", "/v1/down", b"[" * 60_000))[0] == 400
    assert (await served.unix("POST", "/v1/down", b'"\xff"'))[0] == 400
    assert (await served.unix("POST", "/v1/down", b" " * (api.MAX_BODY + 1)))[0] == 413
    assert (await served.unix("GET", "/v1/status", headers="Origin: null\r\n"))[0] == 403
    assert served.backend.asked == []
