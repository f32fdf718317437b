"""One HTML page of what runs have shown: targets and results, pictures, and how to see it again.

The page loads nothing: its style and its pictures stand in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from simulations import pictures
from simulations.collect import Values

STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1d1d1f; background: #fff; }
h1, h2 { line-height: 1.2; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th, td { text-align: left; padding: 0.3rem 0.6rem; border-bottom: 1px solid #ddd;
  vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.ok { color: #1b6e3c; } .failed { color: #a3182c; font-weight: 600; }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; }
figure svg { width: 100%; height: auto; max-width: 46rem; }
code { font-size: 0.85rem; overflow-wrap: anywhere; }
"""

PICTURES: Final = (
    ("How soon a crash is noticed", pictures.detection_cdf),
    ("How news spreads", pictures.infection_curve),
    ("Healthy members declared dead, against slow members", pictures.false_positives),
    ("Traffic of a member at rest, against the number of members", pictures.bytes_against_size),
    ("From the end of all faults until everyone agrees", pictures.heal_time),
)


def page(reports: Sequence[Values]) -> str:
    """The page about `reports`, which are JSON values of runs. Needs matplotlib."""
    failed = sum(not entry["ok"] for entry in reports)
    verdict = f"{len(reports)} runs, {failed or 'none'} failed"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Simulations</title><style>{STYLE}</style></head><body>",
        f'<h1>Simulations</h1><p class="{"failed" if failed else "ok"}">{verdict}</p>',
        "<h2>Targets</h2>",
        _targets(reports),
        "<h2>Pictures</h2>",
        *(_figure(caption, draw(reports)) for caption, draw in PICTURES),
        "<h2>Runs</h2>",
        _runs(reports),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _targets(reports: Sequence[Values]) -> str:
    rows = [
        (
            escape(entry["scenario"]),
            _number(entry["nodes"]),
            escape(target["name"]),
            escape(target["target"]),
            _number(target["measured"], target["unit"]),
            _verdict(target["ok"]),
        )
        for entry in reports
        for target in entry.get("targets", [])
    ]
    if not rows:
        return "<p>None of these runs states a target.</p>"
    return _table(("scenario", "members", "what", "target", "result", ""), rows)


def _runs(reports: Sequence[Values]) -> str:
    rows = []
    for entry in reports:
        broken = [check for check in entry["checks"] if not check["ok"]]
        notes = [escape(f"{check['name']}: {check['detail']}") for check in broken]
        command = entry.get("command")
        shown = f"<code>{escape(command)}</code>" if command else ""
        rows.append((shown, _verdict(entry["ok"]), "<br>".join(notes)))
    return _table(("to see it again", "", "what did not hold"), rows)


def _figure(caption: str, svg: str | None) -> str:
    drawn = svg or "<p>None of these runs measured it.</p>"
    return f"<figure><figcaption>{escape(caption)}</figcaption>\n{drawn}</figure>"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{header}</th>" for header in headers)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _number(value: float, unit: str = "") -> str:
    return escape(f"{value:,g} {unit}".strip())


def _verdict(ok: bool) -> str:
    return '<span class="ok">ok</span>' if ok else '<span class="failed">failed</span>'
