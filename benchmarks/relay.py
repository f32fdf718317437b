"""A hop over a relay, against a direct path of the same mesh: A - R - B, R forwards no packets.

All three nodes share this machine's cores, so that the relay's work is taken from the two ends'.
"""

from __future__ import annotations

import statistics
from functools import partial

from benchmarks.contenders import listen
from benchmarks.measure import pings_us, tcp
from benchmarks.pairs import MTU, Contender
from benchmarks.rows import Figures, Row
from simulations.lab.host import Host
from simulations.lab.mesh import admit, found, views, wait_connected
from simulations.lab.namespaces import Lab, join
from simulations.lab.waiting import wait_until

ENDS = ("a", "b")


def rows(lab: Lab, seconds: int) -> list[Row]:
    """Make the mesh; its row has A to R as ``direct`` and A to B as ``relayed``."""
    middle = lab.namespace("relay")
    spaces = [lab.namespace(f"relay-{end}") for end in ENDS]
    for index, space in enumerate(spaces):
        join(space, "eth0", middle, f"eth{index}")
        space.ip("address", "add", f"10.9.{index}.1/24", "dev", "eth0")
        middle.ip("address", "add", f"10.9.{index}.254/24", "dev", f"eth{index}")
        space.ip("route", "add", "default", "via", f"10.9.{index}.254")
    relay, left, right = (Host(lab, space, {"tun.mtu": MTU}) for space in (middle, *spaces))
    found(relay)
    admit(relay, [left, right])
    known = wait_connected([relay, left, right])
    kinds = {relay.name: "direct", right.name: "relay"}
    wait_until(lambda: _kinds(left) == kinds, "one direct and one relayed path", 20.0)
    trials = {}
    for name, host in (("direct", relay), ("relayed", right)):
        contender = Contender(left.namespace, host.namespace, known[host.name][0])
        listen(lab, contender)
        trials[name] = partial(_trial, contender, seconds)
    return [Row("relay", trials)]


def _kinds(host: Host) -> dict[str, str | None]:
    return {name: view.kind for name, view in views(host.status() or {"peers": []}).items()}


def _trial(contender: Contender, seconds: int) -> Figures:
    ping = statistics.fmean(pings_us(contender, 200, 0.005))
    return {"relay-tcp1": tcp(contender, seconds), "relay-ping": ping}
