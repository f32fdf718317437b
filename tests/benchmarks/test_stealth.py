from __future__ import annotations

from benchmarks.stealth import CONTROL, NODE, PLAIN, judged, row, work_row

PLAINLY = [0.001] * 98 + [0.010] * 2


def test_a_node_as_quick_as_the_plain_website_is_met() -> None:
    times = {NODE: [each * 1.05 for each in PLAINLY], PLAIN: PLAINLY, CONTROL: PLAINLY}
    targets = list(judged("page", "answer", times))
    assert [target.met for target in targets] == [True, True]
    assert row("page", "answer", times) == [
        "page, answer", "1.00", "1.05", "1.00", "10.00", "1.05", "1.00",
    ]  # fmt: skip


def test_a_quicker_node_is_as_suspicious_as_a_slower_one() -> None:
    for factor in (1.2, 0.8):
        ours = [0.001 * factor] * 98 + [0.010] * 2
        p50, p99 = judged("page", "answer", {NODE: ours, PLAIN: PLAINLY, CONTROL: PLAINLY})
        assert (p50.met, p99.met) == (False, True)


def test_the_processors_time_has_a_row_without_p99() -> None:
    seconds = {NODE: 0.0021, PLAIN: 0.002, CONTROL: 0.0019}
    assert work_row("page", seconds) == ["page, processor", "2.00", "1.05", "0.95", "", "", ""]
