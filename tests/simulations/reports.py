"""Reports of runs as JSON values, to draw."""

from __future__ import annotations

from typing import Any


def report(scenario: str = "toy", nodes: int = 8, seed: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "scenario": scenario,
        "nodes": nodes,
        "seed": seed,
        "trace_hash": "00",
        "checks": [{"name": "it holds", "ok": True, "detail": "held"}],
        "ok": True,
        "figures": {},
        "targets": [],
        "series": {},
        "command": f"python -m simulations run {scenario} --nodes {nodes} --seed {seed}",
        **more,
    }
