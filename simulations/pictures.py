"""The report's pictures: matplotlib draws them, as SVG that stands in a page by itself.

A picture is drawn from what the reports of runs hold; where they hold nothing of it, it is None.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # an extra: only those who draw need it
    from matplotlib.axes import Axes

    from simulations.collect import Values

SIZE_INCHES: Final = (6.4, 3.6)
COLOURS: Final = ("#0b6fb8", "#d1495b", "#2e8b57", "#8a5a9e", "#c98a1b", "#4a4a4a", "#1f9aa8")
CURVES_MAX: Final = 10
"""Curves in one picture; further ones are left out, as nobody could tell them apart."""

DETECTION: Final = "detection s"
INFECTION: Final = "infection"
FALSE_POSITIVES: Final = "false positives"
IDLE_BYTES: Final = "idle bytes/s"
RECOVERY: Final = "recovery s"

Draw = Callable[["Axes", Sequence["Values"]], bool]


def detection_cdf(reports: Sequence[Values]) -> str | None:
    """The share of (observer, crashed member) pairs that had noticed, over seconds."""

    def draw(axes: Axes, reports: Sequence[Values]) -> bool:
        curves = _pooled(reports, DETECTION)
        for name, delays in curves:
            ordered = sorted(delays)
            shares = [(at + 1) / len(ordered) for at in range(len(ordered))]
            axes.step([0.0, *ordered], [0.0, *shares], where="post", label=name)
        axes.set(xlabel="seconds after the crash", ylabel="share that has noticed", ylim=(0, 1.02))
        return bool(curves)

    return _svg("detection", draw, reports)


def infection_curve(reports: Sequence[Values]) -> str | None:
    """The share of members who know a piece of news, over seconds since it was published."""

    def draw(axes: Axes, reports: Sequence[Values]) -> bool:
        found = False
        for entry in reports:
            for name, pairs in _series(entry, INFECTION):
                if pairs and _room(axes):
                    size = name.removeprefix(f"{INFECTION}, ")
                    label = size if size.endswith("members") else _name(entry)
                    axes.step(*zip((0.0, 0.0), *pairs, strict=True), where="post", label=label)
                    found = True
        axes.set(xlabel="seconds after the news", ylabel="share that knows", ylim=(0, 1.02))
        return found

    return _svg("infection", draw, reports)


def false_positives(reports: Sequence[Values]) -> str | None:
    """How many healthy members were declared dead, against how many were slow at a time."""

    def draw(axes: Axes, reports: Sequence[Values]) -> bool:
        totals: dict[str, dict[float, float]] = {}
        for entry in reports:
            for name, pairs in _series(entry, FALSE_POSITIVES):
                sums = totals.setdefault(name.removeprefix(FALSE_POSITIVES).strip(" ,"), {})
                for slow, count in pairs:
                    sums[slow] = sums.get(slow, 0.0) + count
        for name, sums in totals.items():
            slow = sorted(sums)
            counts = [sums[count] for count in slow]
            axes.plot(slow, counts, marker="o", label=name, clip_on=False)
        axes.set_yscale("symlog", linthresh=10)
        axes.yaxis.set_major_formatter("{x:.0f}")
        axes.set(xlabel="slow members at a time", ylabel="false positives", ylim=(0, None))
        return bool(totals)

    return _svg("false-positives", draw, reports)


def bytes_against_size(reports: Sequence[Values]) -> str | None:
    """Bytes that a member sends per second when nothing happens, against how many there are."""

    def draw(axes: Axes, reports: Sequence[Values]) -> bool:
        points: dict[str, dict[int, list[float]]] = {}
        for entry in reports:
            value = entry.get("figures", {}).get(IDLE_BYTES)
            if value is not None:
                sizes = points.setdefault(entry["scenario"], {})
                sizes.setdefault(entry["nodes"], []).append(value)
        for name, sizes in points.items():
            if _room(axes):
                means = [sum(sizes[size]) / len(sizes[size]) for size in sorted(sizes)]
                axes.plot(sorted(sizes), means, marker="o", label=name)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set(xlabel="members", ylabel="bytes sent per second", ylim=(0, None))
        return bool(points)

    return _svg("bytes", draw, reports)


def heal_time(reports: Sequence[Values]) -> str | None:
    """How long it took from the end of all faults until everyone agreed on everything."""

    def draw(axes: Axes, reports: Sequence[Values]) -> bool:
        times: dict[str, list[float]] = {}
        for entry in reports:
            value = entry.get("figures", {}).get(RECOVERY)
            if value:
                times.setdefault(f"{entry['scenario']}, {entry['nodes']}", []).append(value)
        names = sorted(times)
        for at, name in enumerate(names):
            values = times[name]
            axes.barh(at, max(values), color=COLOURS[0], height=0.6)
            axes.plot(values, [at] * len(values), "|", color=COLOURS[5], markersize=10)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(xlabel="seconds (bar: the slowest run)", xlim=(0, None))
        return bool(names)

    return _svg("heal", draw, reports)


def _svg(
    name: str, draw: Callable[[Axes, Sequence[Values]], bool], reports: Sequence[Values]
) -> str | None:
    """Draw one picture; equal reports give equal bytes. `name` keeps its ids apart from others'."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: Any = {
        "svg.hashsalt": name,
        "svg.fonttype": "none",
        "axes.prop_cycle": _cycle(),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "font.family": "sans-serif",
        "legend.frameon": False,
        "legend.fontsize": "small",
    }
    with rc_context(style):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        if not draw(axes, reports):
            return None
        if axes.get_legend_handles_labels()[1]:
            axes.legend()
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    return text[text.index("<svg") :]


def _cycle() -> Any:
    from cycler import cycler

    return cycler(color=list(COLOURS))


def _room(axes: Axes) -> bool:
    return len(axes.lines) < CURVES_MAX


def _name(entry: Values) -> str:
    return f"{entry['scenario']}, {entry['nodes']} members"


def _series(entry: Values, prefix: str) -> Iterable[tuple[str, Any]]:
    return [
        (name, values)
        for name, values in entry.get("series", {}).items()
        if name.startswith(prefix)
    ]


def _pooled(reports: Sequence[Values], series: str) -> list[tuple[str, list[float]]]:
    """The numbers of one series, of all seeds of a scenario and size together."""
    pools: dict[str, list[float]] = {}
    for entry in reports:
        values = entry.get("series", {}).get(series)
        if values:
            pools.setdefault(_name(entry), []).extend(values)
    return list(pools.items())[:CURVES_MAX]
