"""A stream through a narrow line with a short queue, and a bare cubic stream beside it.

The line loses nothing but what its queue cannot hold. Parity would only take room from both: it has
to be zero. The reference is a bare stream in the overlay's place.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.contenders import IPERF_PORT, Build, listen, make
from benchmarks.measure import tcp
from benchmarks.pairs import Contender, across
from benchmarks.rows import Figures, Row
from simulations.lab.host import Host
from simulations.lab.namespaces import Lab
from simulations.lab.wan import Line, Wan

NARROW = Line(delay_ms=10.0, rate_mbit=50.0, queue=100)
"""The queue holds 24 ms, a little more than the round trip."""
LONGER = 4
"""Times the seconds of other measurements, since two streams take long to share a line."""
POLL_S = 0.25


def rows(
    lab: Lab, builds: Mapping[str, Build], controls: Sequence[str], seconds: int, warm_s: int
) -> list[Row]:
    """A row for each congestion control inside the overlay."""
    made: dict[str, tuple[Contender, Contender]] = {}
    for index, (name, build) in enumerate(builds.items()):
        wan = Wan(lab, f"narrow{index}", NARROW, seed=index)
        inside = make(lab, name, build, across(wan))
        beside = Contender(*wan.hosts, wan.addresses[1])
        listen(lab, beside, IPERF_PORT + 1)
        made[name] = inside, beside
    return [
        Row(
            f"bottleneck {control}",
            {n: partial(_share, *both, control, seconds, warm_s) for n, both in made.items()},
        )
        for control in controls
    ]


def _share(
    inside: Contender, beside: Contender, control: str, seconds: int, warm_s: int
) -> Figures:
    length, warm = seconds * LONGER, ["--omit", str(warm_s)]
    port = ["--port", str(IPERF_PORT + 1)]
    with ThreadPoolExecutor(2) as pool:
        own = pool.submit(tcp, inside, length, "--congestion", control, *warm)
        bare = pool.submit(tcp, beside, length, "--congestion", "cubic", *warm, *port)
        time.sleep(warm_s + length / 2)
        parity = []
        while inside.daemons and not own.done():
            parity += parity_share(inside.daemons[0])
            time.sleep(POLL_S)
        rates = own.result() * 1e3, bare.result() * 1e3
    figures = {"inside": rates[0], "beside": rates[1], "share": rates[1] / sum(rates)}
    if parity:
        figures["parity"] = statistics.fmean(parity)
    return {f"bottleneck-{name} {control}": value for name, value in figures.items()}


def parity_share(host: Host) -> list[float]:
    """The parity segments among all of each path, as ``status`` says."""
    peers = (host.status() or {}).get("peers", [])
    paths = [peer.get("path") or {} for peer in peers]
    return [float(path["parity"]) for path in paths if "parity" in path]
