from __future__ import annotations

from benchmarks.visits import Answer, Kind, alike, kinds, noise, records

PAGE = Kind("page", lambda number: b"GET / HTTP/1.0\r\n\r\n")
RAW = Kind("noise", noise, tls=False)


def answer(data: bytes, how: str = "end") -> Answer:
    return Answer(data, how, 0.001, 0.002)


def page(date: bytes = b"Tue, 24 Nov 2026 01:30:33 GMT", body: bytes = b"hello") -> bytes:
    return b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: " + date + b"\r\nX: y\r\n\r\n" + body


def record(kind: int, size: int, filling: bytes = b"\0") -> bytes:
    return bytes((kind, 3, 3)) + size.to_bytes(2, "big") + filling * size


def test_two_answers_may_differ_in_the_date_alone() -> None:
    later = page(b"Tue, 24 Nov 2026 01:30:34 GMT")
    assert alike(answer(page()), answer(later), PAGE)
    assert not alike(answer(page()), answer(page(body=b"hullo")), PAGE)
    assert not alike(answer(page()), answer(page(), "reset"), PAGE)


def test_of_sealed_answers_the_records_are_compared() -> None:
    one = record(22, 90) + record(23, 80) + record(21, 2)
    assert alike(answer(one), answer(record(22, 90, b"\1") + record(23, 78) + one[-7:]), RAW)
    assert not alike(answer(one), answer(one[:-7]), RAW)
    assert not alike(answer(one), answer(record(22, 90) + record(23, 70) + one[-7:]), RAW)
    assert not alike(answer(b"HTTP/1.1 400"), answer(b"HTTP/1.1 404"), RAW)


def test_what_is_no_record_is_taken_whole() -> None:
    assert list(records(record(22, 3) + b"HTTP/1.1 400")) == [
        (b"\x16\x03\x03", 3),
        (b"HTTP/1.1 400", 0),
    ]


def test_each_try_says_the_same_to_every_server() -> None:
    for one, other in zip(kinds(b"wire", b"flight"), kinds(b"wire", b"flight"), strict=True):
        assert [one.said(number) for number in range(5)] == [other.said(n) for n in range(5)]
    assert noise(1) != noise(2)
