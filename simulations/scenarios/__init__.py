"""The scenarios: what is done to the hosts, and how soon all must be well again.

A theme has a module; each ends with its `SCENARIOS`, and here they are all, by name.
"""

from __future__ import annotations

from simulations.run import Scenario
from simulations.scenarios import (
    attacks,
    chaos,
    hostile,
    hosts,
    lifeguard,
    lookups,
    membership,
    nodes,
    partitions,
    published,
    records,
    wan,
)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for theme in (
        membership,
        partitions,
        hosts,
        records,
        lookups,
        attacks,
        wan,
        chaos,
        nodes,
        hostile,
        published,
        lifeguard,
    )
    for scenario in theme.SCENARIOS
}
