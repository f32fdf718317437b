from __future__ import annotations

import asyncio

import pytest

from meshd.commands import render
from meshd.contract import PathStatus, Pong
from tests.commands.daemon import BETA, DIRECT, RELAYED, FakeBackend, peer


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert render.table([("A", "LONG"), ("wide cell", "x")]) == "A          LONG\nwide cell  x"


def test_nothing_that_steers_a_terminal_gets_through() -> None:
    shown = render.table([("\x1b[31mred\x1b[0m\r\n",)])
    assert shown == "?[31mred?[0m??"
    status = FakeBackend(peers=[peer("beta", last_error="bad\x1b]0;title\x07")]).status()
    assert "\x1b" not in render.status(status)
    assert "\x07" not in render.status(status)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1234, "1.2 kB"),
        (99_949, "99.9 kB"),
        (99_951, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (5 * 10**12, "5.0 TB"),
        (10**16, "10000 TB"),
    ],
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert render.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59, "59s"), (60, "1m"), (7200, "2h"), (5 * 86_400, "5d")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert render.duration(seconds) == text


def test_round_trips_are_in_milliseconds() -> None:
    assert render.milliseconds(None) == "-"
    assert render.milliseconds(1.234) == "1.23 ms"
    assert render.milliseconds(32.46) == "32.5 ms"


def test_status_shows_each_state_in_words_that_people_know() -> None:
    peers = [
        peer("gone", state="left", path=None),
        peer("crashed", state="dead", path=None, last_seen_s=185.0, last_error="timed out"),
        peer("shaky", state="suspect", last_seen_s=None),
        peer("quiet", path=None),
        peer("far", path=RELAYED),
        peer("beta"),
    ]
    backend = FakeBackend(peers=peers, notices=["no TSO"])
    lines = render.status(backend.status()).splitlines()
    assert lines[0] == (
        "alpha in production: 100.64.0.1, fd00::1; issuer; id a1a1a1a1, meshd 1.2.3"
    )
    rows = [line.split(maxsplit=1)[1] for line in lines[3:9]]
    assert rows[0].startswith("beta     active; direct 192.0.2.1:443, lossy ")
    assert "1.23 ms" in rows[0]
    assert " 1.4% " in rows[0]
    assert rows[1].startswith('far      active; relay "beta" ')
    assert rows[2].startswith("quiet    idle")
    assert rows[3].startswith("shaky    suspect ")
    assert rows[4].startswith("crashed  offline, last seen 3m ago")
    assert rows[4].endswith("timed out")
    assert rows[5].startswith("gone     left")
    assert lines[-2:] == ["# Notices:", "#     - no TSO"]


def test_a_lonely_node_is_told_what_to_type() -> None:
    assert "`meshd invite`" in render.status(FakeBackend().status())


def test_a_pong_tells_who_and_which_way() -> None:
    pong: Pong = {
        "id": BETA,
        "name": "beta",
        "address": "100.64.0.2",
        "rtt_ms": 1.234,
        "path": DIRECT,
        "kind": "stream",
        "via": "192.0.2.1:443",
    }
    answer = render.pong(pong)
    assert answer == "pong from beta (100.64.0.2) via stream 192.0.2.1:443 in 1.23 ms"
    assert 'via relay "gamma"' in render.pong({**pong, "kind": "relay", "via": "gamma"})


def test_a_lookup_and_routes_are_tables() -> None:
    told = asyncio.run(FakeBackend().lookup("10.1.2.3"))
    found = render.found(told)
    assert found.splitlines()[0] == "name         beta"
    assert found.splitlines()[-2] == "answered by  known"
    assert found.splitlines()[-1] == "through      its route 10.0.0.0/8"
    told["answered_by"], told["hops"] = "gamma", 2
    assert "answered by  gamma, 2 hops away" in render.found(told)
    assert render.routes([]) == "No node offers a route."
    shown = render.routes([{"prefix": "10.0.0.0/8", "id": BETA, "name": "beta", "selected": True}])
    assert shown.splitlines()[1] == "10.0.0.0/8  beta  bebebebe  yes"


def test_a_lossy_path_says_how_much_parity_it_carries() -> None:
    path: PathStatus = {**DIRECT, "loss": 0.004, "span": 128, "parity": 0.09, "frames_saved": 7}
    shown = render.status(FakeBackend(peers=[peer("beta", path=path)]).status())
    assert "active; direct 192.0.2.1:443, lossy: 9% parity  " in shown
    assert " 0.4% " in shown


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0%"), (0.0004, "0%"), (0.004, "0.4%"), (0.0994, "9.9%"), (0.0995, "10%"), (1, "100%")],
)
def test_small_shares_have_a_decimal(share: float, text: str) -> None:
    assert render.percent(share) == text
