from __future__ import annotations

import time

import pytest

from simulations.lab.beat import Beat
from simulations.lab.namespaces import Lab
from simulations.lab.topology import Internet
from simulations.lab.waiting import wait_until

pytestmark = pytest.mark.e2e


def test_a_beat_shows_how_long_nothing_came_through(lab: Lab) -> None:
    internet = Internet(lab)
    here, _ = internet.host("here"), internet.host("there")
    began = time.monotonic()
    with Beat(here, "198.51.100.6") as beat:
        wait_until(lambda: beat.answers(began) > 20, "the beat", 5.0)
        assert beat.round_trips(began)[0] < 0.1
        cut = time.monotonic()
        internet.router.ip("link", "set", "port1", "down")
        wait_until(lambda: beat.gap(cut) > 0.4, "a gap", 5.0)
        internet.router.ip("link", "set", "port1", "up")
        back = time.monotonic()
        wait_until(lambda: beat.answers(back) > 20, "the beat again", 5.0)
        assert 0.4 < beat.gap(cut) < time.monotonic() - cut
        later = time.monotonic()
        wait_until(lambda: beat.answers(later) > 20, "an even beat", 5.0)
        assert beat.gap(later) < beat.gap(cut)


def test_no_route_is_no_answer(lab: Lab) -> None:
    began = time.monotonic()
    with Beat(lab.namespace("alone"), "198.51.100.6") as beat:
        wait_until(lambda: beat.gap(began) > 0.1, "silence", 5.0)
        assert beat.answers(began) == 0
        assert beat.round_trips(began) == []
