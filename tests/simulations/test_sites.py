from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from simulations.lab.sites import FAMILIES, NATS, STREAMS_ONLY, Site, expected

PAIRS = list(itertools.product(Site, repeat=2))


def test_every_site_is_either_in_the_open_or_behind_something() -> None:
    assert set(FAMILIES) | set(NATS) == set(Site)
    assert not set(FAMILIES) & set(NATS)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_which_of_the_two_comes_second_changes_nothing(one: Site, other: Site) -> None:
    assert expected(one, other) == expected(other, one)


@pytest.mark.parametrize("site", [site for site in Site if site not in (*STREAMS_ONLY, Site.IPV6)])
def test_an_open_node_is_reached_directly(site: Site) -> None:
    assert expected(site, Site.OPEN) == expected(site, Site.IPV4) == "direct"


def test_a_relay_is_for_those_that_cannot_help_it() -> None:
    relayed = {
        frozenset((one, other))
        for one, other in PAIRS
        if expected(one, other) == "relay" and not {one, other} & {*STREAMS_ONLY, Site.IPV6}
    }
    strict = ("port-restricted", "sequential", "random", "no-filter", "no-hairpin", "two-layers")
    assert relayed == {frozenset((Site.RANDOM, Site(name))) for name in strict}
    assert expected(Site.IPV6, Site.IPV4) == "relay"
    assert expected(Site.IPV6, Site.IPV6) == expected(Site.IPV6, Site.OPEN) == "direct"


@pytest.mark.parametrize("site", STREAMS_ONLY)
def test_without_udp_a_stream_goes_to_whoever_can_accept_it(site: Site) -> None:
    assert expected(site, Site.OPEN) == expected(site, Site.IPV4) == "stream"
    for other in (*STREAMS_ONLY, Site.FULL_CONE, Site.IPV6):
        assert expected(site, other) == "relay"


def test_the_guide_tells_every_site() -> None:
    guide = Path(__file__).parents[2] / "docs/simulations.md"
    table = guide.read_text().partition("| site |")[2].partition("\n\n")[0]
    told = [word for row in table.splitlines() for word in re.findall(r"`([^`]+)`", row)]
    assert sorted(told) == sorted(site.value for site in Site)
