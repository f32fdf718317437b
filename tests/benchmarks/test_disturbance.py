from __future__ import annotations

import ipaddress
import itertools
import sys
from pathlib import Path

from benchmarks import teller
from benchmarks.disturbance import Talker
from simulations.lab.host import Host
from simulations.lab.namespaces import Lab, Namespace


def test_only_the_daemon_of_a_talker_is_another_program(tmp_path: Path) -> None:
    lab, namespace = Lab(), Namespace("aegis-1-1-0-c", "c")
    lab.directory = tmp_path
    talker = Talker(lab, namespace)
    assert talker.command("status") == Host.command(talker, "status")
    line = talker.command("up")
    assert line[:7] == [*namespace.command([sys.executable]), "-m", "benchmarks.teller"]
    assert line[-1] == "up"
    assert str(talker.directory / "node.toml") in line


def test_every_route_that_is_told_is_granted() -> None:
    grant = ipaddress.IPv4Network(teller.GRANT)
    told = [ipaddress.IPv4Network(teller.prefix(number)) for number in range(teller.COUNT)]
    assert all(prefix.subnet_of(grant) for prefix in told)
    assert all(one != other for one, other in itertools.pairwise(told))
