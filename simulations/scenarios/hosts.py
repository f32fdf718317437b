"""What happens to single hosts: loss, slowness, wrong clocks, lost disks, new addresses.

Whoever is struck may be suspected, and dead; those who are well must not suffer for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simulations.measures import DeathCount
from simulations.plan import Fault
from simulations.run import Run, Scenario
from simulations.scenarios.steps import boot, victims

TROUBLE_S = 300.0
LOSS_OF_FEW = 0.80
SLOW = 6000.0
"""Times 50 us: each input costs 0.3 s, and they come faster than that."""
PAUSE_S, PAUSE_EVERY_S = 12.0, 30.0
JUMP_S = 30.0
DRIFT = 0.02
AWAY_S = 60.0


def troubled(run: Run) -> None:
    """All boot, some are in trouble for five minutes, and then all must be well."""
    boot(run)
    deaths = DeathCount()
    run.cluster.observers.append(deaths)
    run.strike()
    run.endure(TROUBLE_S)
    run.figures["verdicts of death"] = deaths.deaths


def lossy_few(run: Run) -> Sequence[Fault]:
    """A hundredth of the hosts, at least one, loses 80 % of what it sends and is sent."""
    return [Fault("lossy", victims(run, 0.01), value=LOSS_OF_FEW)]


def slow_members(run: Run) -> Sequence[Fault]:
    """A sixteenth is slower than its work, and another stands still now and then."""
    slow, paused = victims(run, 1 / 16), victims(run, 1 / 16)
    times = range(0, int(TROUBLE_S), int(PAUSE_EVERY_S))
    pauses = [Fault("pause", paused, float(at), PAUSE_S) for at in times]
    return [Fault("slow", slow, value=SLOW), *pauses]


def wrong_clocks(run: Run) -> Sequence[Fault]:
    """A quarter's clocks run 2 % fast, another's 2 % slow, and a third one's jump."""
    return [
        Fault("drift", victims(run, 0.25), value=DRIFT),
        Fault("drift", victims(run, 0.25), value=-DRIFT),
        *(Fault("jump", victims(run, 0.25), at, value=JUMP_S) for at in (30.0, 90.0, 150.0)),
    ]


def lost_disks(run: Run) -> Sequence[Fault]:
    """A fifth comes back without its disk, another with an old one; nobody's sequence regresses."""
    return [
        Fault("crash-lost", victims(run, 0.2), 10.0, AWAY_S),
        Fault("crash-old", victims(run, 0.2), 100.0, AWAY_S),
        Fault("crash-lost", victims(run, 0.2), 200.0, 5.0),
    ]


def moving(run: Run) -> Sequence[Fault]:
    """A quarter of the hosts gets other addresses, some of them again."""
    return [Fault("move", victims(run, 0.25), at) for at in (10.0, 70.0, 130.0)]


def _scenario(
    name: str, summary: str, plan: Callable[[Run], Sequence[Fault]], nodes_min: int = 4
) -> Scenario:
    return Scenario(name, summary, troubled, plan=plan, nodes_min=nodes_min)


SCENARIOS = (
    _scenario("lossy-few", "1 % of the hosts loses 80 % of its datagrams", lossy_few),
    _scenario("slow-members", "some hosts are slow, and some stand still", slow_members),
    _scenario("clocks", "clocks drift and jump", wrong_clocks),
    _scenario("lost-disks", "hosts come back without their disks, or with old ones", lost_disks),
    _scenario("moving", "hosts get other addresses", moving),
)
