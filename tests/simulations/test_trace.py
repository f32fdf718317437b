from __future__ import annotations

import io

from simulations.trace import BLOCK_EVENTS, Trace


def test_the_same_events_give_the_same_digest() -> None:
    one, other = Trace(), Trace()
    for trace in (one, other):
        trace.record(0.25, "deliver", "10.0.0.1", 443)
    assert one.digest() == other.digest()
    assert len(one.digest()) == 32


def test_time_kind_fields_and_order_all_count() -> None:
    digests = []
    for events in (
        [(1.0, "a", "x"), (1.0, "b", "x")],
        [(1.0, "b", "x"), (1.0, "a", "x")],
        [(1.5, "a", "x"), (1.5, "b", "x")],
        [(1.0, "a", "y"), (1.0, "b", "x")],
        [(1.0, "a", "x")],
    ):
        trace = Trace()
        for now, kind, field in events:
            trace.record(now, kind, field)
        digests.append(trace.digest())
    assert len(set(digests)) == len(digests)


def test_looking_at_the_digest_changes_nothing() -> None:
    looked, other = Trace(), Trace()
    for trace in (looked, other):
        for number in range(BLOCK_EVENTS + 2):
            trace.event(float(number), "timer", number)
            if trace is looked:
                looked.digest()
    assert looked.digest() == other.digest()


def test_the_digest_is_of_values_wherever_they_come_from() -> None:
    one, other = Trace(), Trace()
    one.event(0.5, "timer", "probe")
    other.event(0.5, "timer", "".join(["pro", "be"]))
    assert one.digest() == other.digest() == "a660e82020a6f7fd630d1b788d5843fb"


def test_the_sink_gets_every_event_as_a_line() -> None:
    sink = io.StringIO()
    trace = Trace(sink)
    trace.record(1.5, "crash", 3)
    trace.record(2.0, "heal")
    assert sink.getvalue().splitlines() == ["1.500000000 crash 3", "2.000000000 heal"]
    assert trace.events == 2
