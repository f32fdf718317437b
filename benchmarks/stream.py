"""A stream, TLS over TCP, against UDP: two pairs of hosts, one of which lets no UDP in.

What is measured is TCP inside TCP on a clean line; see `simulations.lab.changes` for a narrow one.
"""

from __future__ import annotations

import statistics
from functools import partial

from benchmarks.contenders import aegisray, listen
from benchmarks.measure import pings_us, tcp
from benchmarks.pairs import Contender, cable
from benchmarks.rows import Figures, Row
from simulations.lab.mesh import views
from simulations.lab.namespaces import Lab, Namespace
from simulations.lab.waiting import wait_until

NO_UDP = """
table inet wall {
  chain input {
    type filter hook input priority 0; policy accept;
    iifname "eth0" meta l4proto udp drop
  }
}
"""


def rows(lab: Lab, seconds: int) -> list[Row]:
    """Make both pairs; the row has one as ``direct`` and the other as ``stream``."""
    trials = {}
    for kind in ("direct", "stream"):
        pair = cable(lab, f"stream-{kind}")
        if kind == "stream":
            block(*pair.hosts)
        contender = aegisray(lab, pair)
        wait_until(partial(_goes_by, contender, kind), f"a path that is {kind}", 20.0)
        listen(lab, contender)
        trials[kind] = partial(_trial, contender, seconds)
    return [Row("stream", trials)]


def block(*hosts: Namespace) -> None:
    """Let these hosts take no UDP from outside."""
    for host in hosts:
        host.run("nft", "-f", "-", text=NO_UDP)


def _goes_by(contender: Contender, kind: str) -> bool:
    seen = [views(host.status() or {"peers": []}) for host in contender.daemons]
    return all(view.kind == kind for each in seen for view in each.values())


def _trial(contender: Contender, seconds: int) -> Figures:
    ping = statistics.fmean(pings_us(contender, 200, 0.005))
    return {"stream-tcp1": tcp(contender, seconds), "stream-ping": ping}
