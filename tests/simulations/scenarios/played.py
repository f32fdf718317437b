"""Plays scenarios small, and says in words what failed."""

from __future__ import annotations

from simulations.run import Report, Run
from simulations.scenarios import SCENARIOS


def play(name: str, nodes: int, seed: int = 1) -> Report:
    """The report of a run that must hold."""
    report = Run(SCENARIOS[name], nodes, seed, None).play()
    failed = [f"{check.name}: {check.detail}" for check in report.checks if not check.ok]
    failed += [f"{t.name}: {t.measured}, {t.target}" for t in report.targets if not t.ok]
    assert failed == [], report.command
    return report
