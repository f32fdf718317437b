"""What the data plane has to reach, in the figures of one run."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.lossy import lossy
from benchmarks.report import Samples, Target, medians, ratio

OWN = "aegisray"
DEBIAN = "wireguard-go"
NEWEST = "wireguard-go ("
"""How the name of one that was given by its path begins."""
RATIOS = (
    # figure, of which contender's, at least, at most
    ("tcp1", "null", 0.5, None),
    ("tcp4", "null", 0.5, None),
    ("tcp1", DEBIAN, 8.0, None),
    ("tcp4", DEBIAN, 8.0, None),
    ("tcp1", NEWEST, 3.0, None),
    ("tcp4", NEWEST, 2.0, None),
    ("udp64", "null", 0.9, None),
    ("ping-idle", "null", None, 1.6),
    ("ping-loaded", "null", None, 2.0),
    *((lossy("bbr", percent), "bare", 0.95, None) for percent in (0.0, 0.5, 1.0, 2.0, 4.0)),
)
FIGURES = (
    # figure, at least, at most
    ("ping-loaded", None, 1500.0),
    *((lossy("cubic", percent), 300.0, None) for percent in (0.5, 1.0)),
    *((lossy("cubic", percent), 100.0, None) for percent in (2.0, 4.0)),
    ("bottleneck-parity cubic", None, 0.0),
    ("bottleneck-parity bbr", None, 0.0),
    ("bottleneck-share cubic", 0.4, None),
)


def targets(samples: Samples) -> list[Target]:
    """Each promise, as far as it was measured."""
    found = [*_ratios(samples), *_figures(samples)]
    if (hop := ratio(samples, "relay-tcp1", "relayed", "direct")) is not None:
        found.append(Target("relayed over direct", hop, least=0.6))
    if (stream := ratio(samples, "stream-tcp1", "stream", "direct")) is not None:
        found.append(Target("stream over direct", stream, least=0.4))
    return found


def _ratios(samples: Samples) -> Iterator[Target]:
    for figure, under, least, most in RATIOS:
        for name in samples.get(figure, {}):
            if name == under or (under == NEWEST and name.startswith(NEWEST)):
                value = ratio(samples, figure, OWN, name)
                if value is not None:
                    yield Target(f"{figure} over {name}'s", value, least, most)


def _figures(samples: Samples) -> Iterator[Target]:
    middle = medians(samples)
    for figure, least, most in FIGURES:
        value = middle.get(figure, {}).get(OWN)
        if value is not None:
            yield Target(figure, value, least, most)
