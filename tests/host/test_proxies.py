"""PROXY headers, and HTTP CONNECT."""

from __future__ import annotations

import base64
import socket

import pytest

from meshd.host.proxies import (
    ANSWER_MAX,
    HEADER,
    SIGNATURE,
    ConnectProxy,
    ProxyHeader,
    connect_request,
    parse_answer,
    parse_header,
    parse_proxy,
    parse_server,
)
from meshd.node.errors import LocalError, RemoteError

IPV4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + b"\xc0\x00\x01\xbb"
IPV6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + b"\xc0\x00\x01\xbb"
)


def header(body: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    return HEADER.pack(SIGNATURE, command, family, len(body)) + body


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (header(IPV4), ("192.0.2.7", 49152)),
        (header(IPV4 + b"\x04\x00\x03abc"), ("192.0.2.7", 49152)),
        (header(IPV6, family=0x21), ("2001:db8::7", 49152)),
        (header(b"", command=0x20, family=0x00), None),
        (header(IPV4, command=0x20), None),
        (header(b"", family=0x00), None),
        (header(bytes(216), family=0x31), None),
        (header(IPV4, family=0x12), None),
    ],
    ids=["ipv4", "tlvs", "ipv6", "health check", "local", "unspecified", "unix", "datagrams"],
)
def test_a_header_tells_the_source(data: bytes, source: tuple[str, int] | None) -> None:
    assert parse_header(data + b"\x16rest") == ProxyHeader(len(data), source)
    for cut in range(len(data)):
        assert parse_header(data[:cut]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
        SIGNATURE[:11] + b"X",
        header(IPV4, command=0x11),
        header(IPV4, command=0x22),
        header(IPV4[:11]),
        header(IPV4, family=0x21),
        header(bytes(4081)),
    ],
    ids=["tls", "http", "v1", "signature", "version", "command", "short", "short6", "long"],
)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError) as caught:
        parse_header(data)
    assert caught.value.reason == "proxy-header"


def test_a_proxy_is_asked_to_connect() -> None:
    assert connect_request("192.0.2.1", 443, ConnectProxy("p", 3128)) == (
        b"CONNECT 192.0.2.1:443 HTTP/1.1\r\nHost: 192.0.2.1:443\r\n"
        b"Proxy-Connection: keep-alive\r\n\r\n"
    )
    assert b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n" in connect_request(
        "2001:db8::1", 443, ConnectProxy("p", 3128)
    )


def test_a_proxys_password_is_sent_and_never_shown() -> None:
    proxy = parse_proxy("http://me:s%40crêt@proxy.example:3128")
    assert (proxy.host, proxy.port) == ("proxy.example", 3128)
    sent = connect_request("192.0.2.1", 443, proxy)
    secret = base64.b64encode("me:s@crêt".encode())
    assert b"Proxy-Authorization: Basic " + secret + b"\r\n" in sent
    assert secret.decode() not in repr(proxy)


def test_a_proxy_without_password_gets_none() -> None:
    assert parse_proxy("http://[2001:db8::1]:8080/") == ConnectProxy("2001:db8::1", 8080)
    assert parse_proxy("http://proxy.example") == ConnectProxy("proxy.example", 80)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "proxy.example:3128",
        "https://p:1",
        "http://",
        "http://p:99999",
        "http://u:pw@p/x",
        "x@y",
    ],
)
def test_what_is_no_proxy_is_told_without_the_password(url: str) -> None:
    with pytest.raises(LocalError) as caught:
        parse_proxy(url)
    assert "pw" not in str(caught.value)


def test_a_server_is_a_host_and_a_port() -> None:
    assert parse_server("http://127.0.0.1:8080/") == ("127.0.0.1", 8080)
    assert parse_server("http://127.0.0.1/x") is None
    assert parse_server("http://me@127.0.0.1") is None


def test_a_proxys_consent_ends_with_an_empty_line() -> None:
    consent = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"
    assert parse_answer(consent + b"\x16\x03") == len(consent)
    assert parse_answer(consent[:-1]) is None
    assert parse_answer(b"HTTP/1.0 200\r\n\r\n") == 16


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "proxy-refused: status 407"),
        (b"HTTP/1.1 301 Moved\r\n\r\n", "proxy-refused: status 301"),
        (b"SSH-2.0-x\r\n\r\n", "proxy-answer: not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * ANSWER_MAX, "proxy-answer: too long"),
    ],
)
def test_a_proxys_refusal_is_told(data: bytes, reason: str) -> None:
    with pytest.raises(RemoteError) as caught:
        parse_answer(data)
    assert str(caught.value) == reason
