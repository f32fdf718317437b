"""The website: what nginx 1.22 was seen to answer, and what no web server may do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshd.host import website
from meshd.host.website import Finder, Site, directory, nothing, one_page
from tests.host.visitors import DATE, NOW, Guest

PAGE = "<p>hello</p>\n"


def page(status: bytes, note: bytes = b"", *, keep: bool = False) -> bytes:
    """nginx's error page, byte for byte."""
    title = status[:3] + b" " + note if note else status
    more = b"<center>" + note + b"</center>\r\n" if note else b""
    body = (
        b"<html>\r\n<head><title>" + title + b"</title></head>\r\n<body>\r\n"
        b"<center><h1>" + status + b"</h1></center>\r\n" + more + b"<hr><center>nginx</center>\r\n"
        b"</body>\r\n</html>\r\n"
    )
    size = str(len(body)).encode()
    return (
        b"HTTP/1.1 " + status + b"\r\nServer: nginx\r\n" + DATE + b"Content-Type: text/html\r\n"
        b"Content-Length: " + size + b"\r\n"
        b"Connection: " + (b"keep-alive" if keep else b"close") + b"\r\n\r\n" + body
    )


def front(*, keep: bool = False) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nServer: nginx\r\n" + DATE + b"Content-Type: text/html\r\n"
        b"Content-Length: 13\r\nLast-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
        b"Connection: " + (b"keep-alive" if keep else b"close") + b"\r\n"
        b'ETag: "6553f100-d"\r\n\r\n' + PAGE.encode()
    )


BAD = page(b"400 Bad Request")
LARGE = page(b"400 Bad Request", b"Request Header Or Cookie Too Large")


async def asked(
    first: bytes, *more: bytes, find: Finder | None = None, plain: bool = False
) -> bytes:
    guest = Guest(*more)
    site = Site(find or one_page(PAGE, int(NOW)), lambda: NOW, plain=plain)
    await site.visit(guest, first)
    return guest.got


def test_the_pages_have_the_sizes_that_nginx_was_seen_to_send() -> None:
    assert b"Content-Length: 146\r\n" in page(b"404 Not Found")
    assert b"Content-Length: 150\r\n" in BAD
    assert b"Content-Length: 226\r\n" in LARGE
    note = b"The plain HTTP request was sent to HTTPS port"
    assert b"Content-Length: 248\r\n" in page(b"400 Bad Request", note)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", front(keep=True)),
        (b"GET / HTTP/1.1\nHost: x\n\n", front(keep=True)),
        (b"\r\n\r\nGET /?a=1 HTTP/1.1\r\nHost: x\r\n\r\n", front(keep=True)),
        (b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", front(keep=True)),
        (b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", front(keep=True)),
        (b"GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=0-3\r\n\r\n", front(keep=True)),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", front()),
        (b"GET / HTTP/1.0\r\n\r\n", front()),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", front(keep=True)),
        (b"GET /\r\n\r\n", PAGE.encode()),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", front(keep=True)[: -len(PAGE)]),
        (b"GET /no HTTP/1.1\r\nHost: x\r\n\r\n", page(b"404 Not Found", keep=True)),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", page(b"405 Not Allowed", keep=True)),
        (b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n", page(b"405 Not Allowed", keep=True)),
        (b"POST /no HTTP/1.1\r\nHost: x\r\n\r\n", page(b"404 Not Found", keep=True)),
        (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", page(b"405 Not Allowed")),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BAD),
        (b"GET / HTTP/0.9\r\n\r\n", BAD),
        (b"GET / HTTP/11.1\r\nHost: x\r\n\r\n", page(b"505 HTTP Version Not Supported")),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xx\r\n\r\n",
            page(b"501 Not Implemented"),
        ),
        (b"GET / HTTP/1.1\r\n\r\n", BAD),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", BAD),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", BAD),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BAD),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", BAD),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", BAD),
        (b"GET / HTPP/1.1\r\n\r\n", BAD),
        (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
        (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
        (b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", BAD),
        (b"HEAD / HTTP/1.1\r\n\r\n", BAD.partition(b"<html>")[0]),
        (b"\x01\x02\x03\x04abc", BAD),
        (b"hello", BAD),
        (b"A\x03", BAD),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", page(b"505 HTTP Version Not Supported")),
        (b"GET /" + b"a" * 9000, page(b"414 Request-URI Too Large")),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 40_000, LARGE),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n",
            page(b"413 Request Entity Too Large"),
        ),
    ],
)
async def test_answers_are_those_of_nginx(request_: bytes, answer: bytes) -> None:
    assert await asked(request_) == answer


@pytest.mark.parametrize("said", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_who_leaves_before_asking_gets_nothing(said: bytes) -> None:
    assert await asked(said) == b""


async def test_a_request_may_come_byte_by_byte() -> None:
    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    assert await asked(whole[:1], *(bytes([byte]) for byte in whole[1:])) == front(keep=True)


async def test_requests_follow_each_other_and_bodies_are_skipped() -> None:
    body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n"
    last = b"GET / HTTP/1.0\r\n\r\n"
    denied = page(b"405 Not Allowed", keep=True)
    assert await asked(body + b"GET / HTTP/1.1\r\n" + b"." * 14 + last) == denied + front()
    assert await asked(body, b"." * 12, b"." * 18, last) == denied + front()


async def test_a_body_of_unknown_length_ends_the_connection() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"3\r\nabc\r\n0\r\n\r\n"
    assert await asked(head + chunks) == page(b"405 Not Allowed")


async def test_requests_of_one_connection_are_bounded() -> None:
    one = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    answers = await asked(one * (website.REQUESTS_MAX + 5))
    assert answers.count(b"HTTP/1.1 200 OK") == website.REQUESTS_MAX
    assert answers.count(b"Connection: close") == 1


async def test_http_where_tls_belongs_is_told_so() -> None:
    note = b"The plain HTTP request was sent to HTTPS port"
    answer = page(b"400 Bad Request", note)
    assert await asked(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", plain=True) == answer
    assert await asked(b"HEAD / HTTP/1.0\r\n\r\n", plain=True) == answer.partition(b"<html>")[0]
    assert await asked(b"GET / HTTP/1.1\r\n\r\n", plain=True) == BAD
    assert await asked(b"SSH-2.0-OpenSSH\r\n", plain=True) == BAD


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: x\r\n", b"P"])
async def test_a_slow_visitor_is_hung_up_on(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(website, "HEADER_TIME", 0.01)
    guest = Guest(patient=True)
    await Site(nothing(), lambda: NOW).visit(guest, said)
    assert guest.got == b""


async def test_an_idle_visitor_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(website, "IDLE_TIME", 0.01)
    guest = Guest(patient=True)
    site = Site(nothing(), lambda: NOW)
    await site.visit(guest, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert guest.got == page(b"404 Not Found", keep=True)


async def test_a_visitor_who_takes_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(Guest):
        async def send(self, data: bytes) -> None:
            await self.receive()

    monkeypatch.setattr(website, "SEND_TIME", 0.01)
    with pytest.raises(ConnectionAbortedError):
        await Site(nothing(), lambda: NOW).visit(Stuck(patient=True), b"GET / HTTP/1.0\r\n\r\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "www"
    (folder / "sub").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "index.html").write_text(PAGE)
    (folder / "sub" / "index.html").write_text("sub")
    (folder / "style.CSS").write_text("p {}")
    (folder / "a b.bin").write_bytes(os.urandom(200_000))
    (tmp_path / "secret").write_text("secret")
    (folder / "way-out").symlink_to(tmp_path / "secret")
    for file in (folder / "index.html",):
        os.utime(file, (NOW, NOW))
    return folder


async def get(root: Path, path: bytes) -> tuple[bytes, bytes]:
    """Status line and body."""
    answer = await asked(b"GET " + path + b" HTTP/1.0\r\nHost: h\r\n\r\n", find=directory(root))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


async def test_files_of_a_directory_are_shown(root: Path) -> None:
    assert await asked(b"GET / HTTP/1.0\r\n\r\n", find=directory(root)) == front()
    assert (await get(root, b"/sub/"))[1] == b"sub"
    head, body = await get(root, b"/a%20b.bin")
    assert body == (root / "a b.bin").read_bytes()
    assert b"Content-Type: application/octet-stream\r\n" in head
    assert b"Content-Type: text/css\r\n" in (await get(root, b"/sub/../style.CSS"))[0]
    assert (await get(root, b"//sub/./index.html"))[1] == b"sub"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/none", b"404"),
        (b"/way-out", b"404"),
        (b"/%2e%2e/secret", b"400"),
        (b"/sub/..%2f..%2fsecret", b"400"),
        (b"/empty/", b"403"),
        (b"/index.html/", b"404"),
        (b"/" + b"a" * 4000, b"404"),
        (b"/%ff%fe", b"404"),
    ],
)
async def test_what_is_not_to_be_shown_is_not(root: Path, path: bytes, status: bytes) -> None:
    head, body = await get(root, path)
    assert head.startswith(b"HTTP/1.1 " + status)
    assert b"secret" not in body


async def test_a_directory_without_slash_is_elsewhere(root: Path) -> None:
    head, _ = await get(root, b"/sub?q=1")
    assert head.startswith(b"HTTP/1.1 301 Moved Permanently\r\n")
    assert b"Location: https://h/sub/?q=1\r\n" in head


async def test_a_file_that_shrinks_meanwhile_ends_the_connection(root: Path) -> None:
    real = directory(root)

    def shrinking(path: str) -> website.Document | int:
        found = real(path)
        (root / "a b.bin").write_bytes(b"short")
        return found

    with pytest.raises(ConnectionAbortedError):
        await asked(b"GET /a%20b.bin HTTP/1.0\r\n\r\n", find=shrinking)
