from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshd.commands.see import explanation, report
from tests.commands.daemon import BETA, NETCHECK, WHY, FakeBackend, peer
from tests.commands.test_show import asked


def test_why_says_the_way_the_reason_and_both_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend(peers=[peer("relay", id="cc" * 16)])
    code, text = asked(backend, tmp_path, capsys, "why", "beta")
    assert code == 0
    assert text.splitlines() == [
        'beta is alive, and reached by relay "relay", 32.5 ms.',
        "Why: none of 1 direct ways answers, and it is the only one that answers.",
        "",
        "alpha, this end",
        "  may be found at:",
        "    203.0.113.5:443  seen by peers",
        "  tried:",
        '    relay "relay"         used   32.5 ms  4 of 4 probes answered, last sent 1s ago',
        "    direct 192.0.2.1:443  tried  -        no answer; 0 of 7 probes answered, "
        "last sent 9s ago",
        "",
        "beta, the other end (could not be asked: this is what its record says)",
        "  may be found at:",
        "    192.0.2.1:443  its record",
    ]


def test_why_and_netcheck_are_the_contracts_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = asked(FakeBackend(), tmp_path, capsys, "why", "beta", "--json")
    assert (code, json.loads(text)) == (0, WHY)
    code, text = asked(FakeBackend(), tmp_path, capsys, "netcheck", "--json")
    assert (code, json.loads(text)) == (0, NETCHECK)


def test_why_tells_what_the_other_end_says() -> None:
    told: Any = {**WHY, "path": None, "there": {**WHY["here"], "name": "beta"}}
    text = explanation(told, {})
    assert "beta is alive, and not reached." in text
    assert "beta, the other end\n  says: none of 1" in text
    assert 'relay "cccccccc"' in text


def test_netcheck_is_a_table_and_the_relays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = asked(FakeBackend(), tmp_path, capsys, "netcheck")
    assert code == 0
    rows = {line[:12].strip(): line[14:] for line in text.splitlines() if line}
    assert rows["UDP"] == "yes"
    assert rows["IPv4"] == "yes; own 192.168.1.10:443; seen at 203.0.113.5:443"
    assert rows["IPv6"] == "none"
    assert rows["mapping"].startswith("endpoint-independent: ")
    assert rows["port mapping"] == "203.0.113.5:443/udp by pcp, at 192.168.1.1"
    assert rows["streams"] == "accepted"
    assert rows["peers"] == "2 direct, 1 relayed, 0 by stream"
    assert text.splitlines()[-1].split() == ["beta", "1.20", "ms", "yes"]


def test_netcheck_says_what_is_missing() -> None:
    bare: Any = {
        **NETCHECK,
        "udp": False,
        "ipv4": {"works": False, "own": ["192.168.1.10:443"], "seen": []},
        "gateways": [
            {"gateway": "192.168.1.1", "forwards": [], "errors": {"pcp": "no resources"}},
            {"gateway": "192.168.1.2", "forwards": [], "errors": {}},
        ],
        "relays": [],
    }
    text = report(bare)
    assert "no: peers are reached by streams alone" in text
    assert "no peer reached over it; own 192.168.1.10:443" in text
    assert "port mapping  pcp: no resources, at 192.168.1.1" in text
    assert "port mapping  no answer yet, at 192.168.1.2" in text
    assert text.endswith("No peer would relay for this node.")
    assert BETA not in text
