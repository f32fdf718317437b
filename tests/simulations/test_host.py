from __future__ import annotations

import pytest

from simulations.authority import identity_of, key_of
from simulations.host import Host


def host() -> Host:
    return Host(1, identity_of(key_of(1)), ("10.0.0.1", 443))


def test_a_hosts_clock_is_the_worlds_until_it_is_set() -> None:
    one = host()
    assert one.local(7.0) == one.world(7.0) == 7.0
    one.set_clock(7.0, 3.0, 0.0)
    assert one.local(8.0) == 11.0
    assert one.world(11.0) == 8.0


def test_a_clock_that_cannot_be_set_stays_as_it_was() -> None:
    one = host()
    with pytest.raises(ValueError, match="monotonic"):
        one.set_clock(7.0, -3.0, 0.0)
    assert one.local(8.0) == 8.0


def test_hosts_are_equal_to_themselves_only() -> None:
    assert host() != host()
