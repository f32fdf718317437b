from __future__ import annotations

import pytest

from meshd.node.ratelimit import LoadGauge, SourceRateLimiter, source_key


def allowed(limiter: SourceRateLimiter, source: str, count: int, now: float) -> int:
    return sum(limiter.allow(source, now) for _ in range(count))


def test_a_source_has_its_burst_and_then_its_rate() -> None:
    limiter = SourceRateLimiter(rate=20, burst=5)
    assert allowed(limiter, "192.0.2.1", 10, 0.0) == 5
    assert allowed(limiter, "192.0.2.1", 10, 0.1) == 2
    assert sum(limiter.allow("192.0.2.1", 1 + tick / 1000) for tick in range(1000)) == 24


def test_sources_do_not_share_tokens() -> None:
    limiter = SourceRateLimiter()
    assert allowed(limiter, "192.0.2.1", 9, 0.0) == 5
    assert allowed(limiter, "192.0.2.2", 9, 0.0) == 5


def test_an_ipv6_sender_cannot_multiply_inside_its_64() -> None:
    limiter = SourceRateLimiter()
    sources = [f"2001:db8::{number:x}" for number in range(1, 100)]
    assert sum(limiter.allow(source, 0.0) for source in sources) == 5
    assert limiter.allow("2001:db8:0:1::1", 0.0)


def test_one_sender_has_one_name_however_it_is_written() -> None:
    assert source_key("::ffff:192.0.2.1") == source_key("192.0.2.1")
    assert source_key("2001:db8::1") == source_key("2001:0db8:0::2")
    assert source_key("::") != source_key("0.0.0.0")
    assert source_key("fe80::1%eth0") == source_key("fe80::2")
    assert source_key("not an address") == "not an address"


def test_the_table_is_bounded_and_strangers_wait_while_it_is_full() -> None:
    limiter = SourceRateLimiter(rate=20, burst=5, capacity=100)
    results = [limiter.allow(f"10.0.{number // 250}.{number % 250}", 0.0) for number in range(500)]
    assert sum(results) == len(limiter) == 100
    assert limiter.allow("10.0.0.0", 0.01)
    assert not limiter.allow("10.9.9.9", 0.01)
    # After burst / rate seconds all buckets are full, which is as good as forgotten.
    assert limiter.allow("10.9.9.9", 0.3)
    assert len(limiter) == 1


def test_a_source_in_use_is_not_forgotten() -> None:
    limiter = SourceRateLimiter(rate=20, burst=5, capacity=2)
    for tick in range(100):
        limiter.allow("10.0.0.1", tick / 100)
        limiter.allow(f"10.1.0.{tick}", tick / 100)
    assert not limiter.allow("10.0.0.1", 0.99)


def test_a_clock_that_steps_back_grants_nothing() -> None:
    limiter = SourceRateLimiter(rate=20, burst=5)
    assert allowed(limiter, "192.0.2.1", 9, 100.0) == 5
    assert not limiter.allow("192.0.2.1", 0.0)


def load(gauge: LoadGauge, per_second: float, start: float, seconds: float) -> float:
    """Feed the gauge; the time of the last initiation."""
    count = int(per_second * seconds)
    for number in range(count):
        gauge.count(start + number / per_second)
    return start + (count - 1) / per_second


@pytest.mark.parametrize("per_second", [1, 50, 99])
def test_a_node_below_the_limit_is_not_under_load(per_second: float) -> None:
    gauge = LoadGauge(0.0, limit=100)
    end = load(gauge, per_second, 0.0, 30)
    assert not gauge.under_load(end)


@pytest.mark.parametrize("per_second", [120, 1000, 100_000])
def test_a_node_above_the_limit_is_under_load_until_a_moment_after(per_second: float) -> None:
    gauge = LoadGauge(0.0, limit=100, hold=1.0)
    end = load(gauge, per_second, 0.0, 10 if per_second < 5000 else 0.2)
    assert gauge.under_load(end)
    assert gauge.under_load(end + 0.9)
    assert not gauge.under_load(end + 1.0)
    gauge.count(end + 2.0)
    assert not gauge.under_load(end + 2.0)
