"""Two pictures of a run: throughput against loss, and latency under load. matplotlib draws SVG.

A picture whose figures were not measured is not drawn.
"""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.lossy import CONTROLS, lossy
from simulations.lab.waiting import LabError

if TYPE_CHECKING:  # an extra: only those who draw need it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Medians = Mapping[str, Mapping[str, float]]
"""figure -> contender -> median"""

OWN_COLOUR = "#d1495b"
COLOURS = ("#0b6fb8", "#2e8b57", "#8a5a9e", "#c98a1b", "#4a4a4a", "#1f9aa8")
LATENCIES = {"ping-idle": "idle", "ping-loaded": "loaded, mean", "ping-loaded-p99": "loaded, p99"}
SHADES = ("#b8c4ce", "#0b6fb8", "#d1495b")


def require_matplotlib() -> None:
    """Raise LabError if the extra is missing, before anything is measured."""
    if importlib.util.find_spec("matplotlib") is None:
        raise LabError("matplotlib is not installed: pip install 'aegisray[simulate]'")


def draw(medians: Medians) -> dict[str, str]:
    """SVG by file name."""
    found = {"throughput.svg": throughput(medians), "latency.svg": latency(medians)}
    return {name: text for name, text in found.items() if text is not None}


def throughput(medians: Medians) -> str | None:
    """One TCP stream in Mbit/s over loss in percent, a panel for each congestion control inside."""
    losses = {control: _losses(medians, control) for control in CONTROLS}
    shown = [control for control in CONTROLS if losses[control]]
    if not shown:
        return None
    figure = _figure(4.2 * len(shown), 3.6)
    for place, control in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), place + 1)
        percents = losses[control]
        names = list(medians[lossy(control, percents[0])])
        for name, colour in zip(names, _colours(names), strict=True):
            figures = [medians[lossy(control, percent)] for percent in percents]
            rates = [each.get(name, math.nan) for each in figures]
            axes.plot(range(len(percents)), rates, "o-", color=colour, label=name)
        axes.set_xticks(range(len(percents)), [f"{percent:g}" for percent in percents])
        axes.set(title=control, xlabel="loss, %", ylabel="Mbit/s", yscale="log")
        _plain(axes)
    return _svg(figure, "throughput")


def latency(medians: Medians) -> str | None:
    """Round trips in microseconds over a cable: idle, and beside one full TCP stream."""
    shown = [figure for figure in LATENCIES if figure in medians]
    if not shown:
        return None
    names = [name for name in medians[shown[0]] if all(name in medians[each] for each in shown)]
    figure = _figure(7.0, 0.6 + 0.6 * len(names))
    axes, height = figure.add_subplot(), 0.8 / len(shown)
    for index, each in enumerate(shown):
        places = [at + (index - (len(shown) - 1) / 2) * height for at in range(len(names))]
        values = [medians[each][name] for name in names]
        axes.barh(places, values, height, color=SHADES[index], label=LATENCIES[each])
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="microseconds", xscale="log")
    _plain(axes)
    return _svg(figure, "latency")


def _losses(medians: Medians, control: str) -> list[float]:
    prefix = lossy(control, 0).removesuffix("0 %")
    found = [name for name in medians if name.startswith(prefix)]
    return sorted(float(name.removeprefix(prefix).removesuffix(" %")) for name in found)


def _colours(names: Sequence[str]) -> list[str]:
    others = iter(COLOURS * len(names))
    return [OWN_COLOUR if name == "aegisray" else next(others) for name in names]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")


def _svg(figure: Figure, name: str) -> str:
    """Equal figures give equal bytes. ``name`` keeps its ids apart from others'."""
    from matplotlib import rc_context

    style: Any = {"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}
    written = io.StringIO()
    with rc_context(style):
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()
