"""Whether gossip disturbs packets, and packets gossip: three daemons on one switch.

Packets go from a to b. The third node tells both of them a thousand news at once while pings run;
and it crashes while a to b is full, which both have to notice as soon as on an idle network.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import teller
from benchmarks.contenders import listen
from benchmarks.measure import percentile, pings_us
from benchmarks.pairs import MTU, Contender
from benchmarks.rows import Figures, Row
from gossip.items import MAX_ITEMS
from simulations.lab.host import Host, meshd_command
from simulations.lab.mesh import admit, found, views, wait_connected
from simulations.lab.namespaces import Lab, bridge, join
from simulations.lab.waiting import wait_until

NOTICE_S = 30.0
"""The most that anyone may take to notice a crash."""
PING_S = 0.001
POLL_S = 0.05
LIFETIME_S = 3600


@dataclass
class Talker(Host):
    """A host whose daemon is `benchmarks.teller`."""

    def command(self, *arguments: str, prefix: Sequence[str] = ()) -> list[str]:
        """As every host's, but for ``up``."""
        line = super().command(*arguments, prefix=prefix)
        if arguments != ("up",):
            return line
        start = line.index(meshd_command()[0])
        rest = line[start + len(meshd_command()) :]
        return [*line[:start], sys.executable, "-m", teller.__name__, *rest]


class Trio:
    """The mesh of three."""

    def __init__(self, lab: Lab, seconds: int) -> None:
        self._lab, self._seconds = lab, seconds
        switch = lab.namespace("switch")
        bridge(switch, "br0")
        spaces = [lab.namespace(f"trio-{name}") for name in "abc"]
        for index, space in enumerate(spaces):
            join(space, "eth0", switch, f"port{index}")
            switch.ip("link", "set", f"port{index}", "master", "br0")
            space.ip("address", "add", f"10.9.0.{index + 1}/24", "dev", "eth0")
        settings = {"tun.mtu": MTU}
        self._left, self._right = (Host(lab, space, settings) for space in spaces[:2])
        self._third = Talker(lab, spaces[2], settings)
        found(self._left)
        admit(self._left, [self._right])
        grant = {"name": self._third.name, "routes": [teller.GRANT], "lifetime": LIFETIME_S}
        token = str(self._left.api("/v1/invite", grant)["token"])
        self._third.must("join", "-", text=token + "\n")
        self._third.start()
        known = wait_connected([self._left, self._right, self._third])
        address = known[self._right.name][0]
        self._contender = Contender(spaces[0], spaces[1], address)
        listen(lab, self._contender)

    def news(self) -> Row:
        """Pings a millisecond apart, without news and while they come."""
        return Row("news", {"calm": self._pings, "disturbed": self._stormy})

    def crash(self) -> Row:
        """How soon both others call the third node dead."""
        return Row("crash", {"calm": self._crash, "disturbed": self._loaded_crash})

    def _pings(self) -> Figures:
        self._wait_for_third("alive")
        times = pings_us(self._contender, round(self._seconds / PING_S), PING_S)
        lost = 1 - len(times) / round(self._seconds / PING_S)
        spread = {"mean": sum(times) / len(times), "p99.9": percentile(times, 99.9)}
        return {f"news-{name}": value for name, value in {**spread, "lost": lost}.items()}

    def _stormy(self) -> Figures:
        before = self._heard()
        timer = threading.Timer(self._seconds * 0.3, self._tell)
        timer.start()
        figures = self._pings()
        timer.join()
        wait_until(lambda: self._knows_all(before), "all news to be known", 10.0)
        return {**figures, "news-messages": self._heard() - before}

    def _tell(self) -> None:
        if self._third.daemon is not None:
            self._third.daemon.send_signal(signal.SIGUSR1)

    def _knows_all(self, heard_before: float) -> bool:
        offered = {route["prefix"] for route in self._right.api("/v1/routes")["routes"]}
        messages = self._heard() - heard_before
        return messages >= teller.COUNT / MAX_ITEMS and offered == {teller.prefix(teller.COUNT - 1)}

    def _heard(self) -> float:
        return self._right.metric("aegisray_gossip_messages_received_total")

    def _loaded_crash(self) -> Figures:
        length = str(round(NOTICE_S))
        line = ["iperf3", "-c", self._contender.address, "-t", length, "--parallel", "4"]
        load = self._lab.popen(self._contender.left.command(line))
        try:
            time.sleep(1.0)
            return self._crash()
        finally:
            load.kill()
            load.wait()

    def _crash(self) -> Figures:
        self._wait_for_third("alive")
        self._third.kill()
        began = time.monotonic()
        try:
            self._wait_for_third("dead")
            return {"crash": time.monotonic() - began}
        finally:
            self._third.start()
            self._third.wait_up()

    def _wait_for_third(self, state: str) -> None:
        watching = [self._left, self._right]

        def noticed() -> bool:
            watching[:] = [host for host in watching if _state(host, self._third) != state]
            return not watching

        what = f"the third node to be {state}"
        wait_until(noticed, what, NOTICE_S, interval_s=POLL_S)


def _state(host: Host, of: Host) -> str | None:
    view = views(host.status() or {"peers": []}).get(of.name)
    return view.state if view is not None else None


MEASURES: dict[str, Callable[[Trio], Row]] = {"news": Trio.news, "crash": Trio.crash}
