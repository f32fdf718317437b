"""Faults as values: what a run suffers can be printed, dropped piece by piece, and played again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that happens to some hosts, `at` seconds after the plan began, for `lasts` seconds.

    A fault that lasts for ever ends when the world is healed, unless it is `final`. `kind` is a key
    of `simulations.faultlines.FAULTS`, where `value` and `others` are explained.
    """

    kind: str
    hosts: tuple[int, ...] = ()
    at: float = 0.0
    lasts: float = inf
    value: float = 0.0
    others: tuple[int, ...] = ()
    final: bool = False

    def __str__(self) -> str:
        """One line that says it all, the same in each run."""
        parts = [f"at {self.at:g} s: {self.kind}"]
        if self.value:
            parts.append(f"{self.value:g}")
        parts.append(_listed(self.hosts))
        if self.others:
            parts.append(f"to {_listed(self.others)}")
        if self.lasts < inf:
            parts.append(f"for {self.lasts:g} s")
        if self.final:
            parts.append("for good")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is, besides its scenario: the same options give the same run.

    `without` names faults of the plan that are left out, by their place in it, from 0; `until` is
    how long the world is disturbed at most, in seconds after the plan began.
    """

    nodes: int
    seed: int
    without: tuple[int, ...] = ()
    until: float = inf

    def command(self, scenario: str) -> str:
        """What to type to see the same run again."""
        words = [f"python -m simulations run {scenario} --nodes {self.nodes} --seed {self.seed}"]
        if self.without:
            words.append(f"--without {','.join(map(str, self.without))}")
        if self.until < inf:
            words.append(f"--until {self.until:g}")
        return " ".join(words)

    def kept(self, plan: Sequence[Fault]) -> dict[int, Fault]:
        """The faults of `plan` that happen, by their place in it."""
        return {
            number: fault
            for number, fault in enumerate(plan)
            if number not in self.without and fault.at < self.until
        }


def _listed(hosts: tuple[int, ...]) -> str:
    """The hosts' numbers, with runs such as 3-7 joined; those of a mixed order as they are."""
    if not hosts:
        return "everyone"
    parts: list[list[int]] = []
    for host in hosts:
        if parts and host == parts[-1][-1] + 1:
            parts[-1][1:] = [host]
        else:
            parts.append([host])
    return "hosts " + ",".join("-".join(map(str, part)) for part in parts)
