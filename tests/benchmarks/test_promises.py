from __future__ import annotations

from benchmarks.promises import targets

BARE = {"bare": [400.0, 500.0], "aegisray": [380.0, 500.0]}


def test_nothing_measured_is_nothing_judged() -> None:
    assert targets({}) == []
    assert targets({"tcp1": {"aegisray": [3.0]}}) == []


def test_a_contender_that_gave_no_figure_is_not_judged_against() -> None:
    assert targets({"tcp1": {"aegisray": [3.0], "null": []}}) == []


def test_ratios_are_taken_within_a_round() -> None:
    found = targets({"tcp1": {"null": [8.0, 4.0, 6.0], "aegisray": [4.0, 3.0, 3.0]}})
    assert [(target.value, target.least, target.met) for target in found] == [(0.5, 0.5, True)]


def test_a_wireguard_go_that_was_given_has_its_own_targets() -> None:
    rates = {"wireguard-go": [0.5], "wireguard-go (/x/wg)": [2.0], "aegisray": [4.0]}
    found = {target.name: (target.least, target.met) for target in targets({"tcp1": rates})}
    assert found == {
        "tcp1 over wireguard-go's": (8.0, True),
        "tcp1 over wireguard-go (/x/wg)'s": (3.0, False),
    }


def test_a_loaded_ping_is_judged_twice() -> None:
    found = targets({"ping-loaded": {"null": [600.0], "aegisray": [1600.0]}})
    assert [(target.most, target.met) for target in found] == [(2.0, False), (1500.0, False)]


def test_bbr_is_judged_against_bare_and_cubic_by_its_rate() -> None:
    bbr = targets({"lossy bbr 1 %": BARE})
    assert [(target.value, target.met) for target in bbr] == [(0.975, True)]
    cubic = targets({"lossy cubic 1 %": {"bare": [5.0], "aegisray": [301.0]}})
    assert [(target.value, target.least, target.met) for target in cubic] == [(301.0, 300.0, True)]
    assert targets({"lossy cubic 0.1 %": BARE}) == []


def test_a_relayed_hop_is_judged_against_a_direct_one() -> None:
    found = targets({"relay-tcp1": {"direct": [2.0], "relayed": [1.0]}})
    assert [(target.value, target.least, target.met) for target in found] == [(0.5, 0.6, False)]


def test_a_stream_is_judged_against_udp() -> None:
    found = targets({"stream-tcp1": {"direct": [2.0], "stream": [1.0]}})
    assert [(target.value, target.least, target.met) for target in found] == [(0.5, 0.4, True)]


def test_parity_at_a_bottleneck_must_be_none_at_all() -> None:
    found = targets({"bottleneck-parity cubic": {"bare": [], "aegisray": [0.001]}})
    assert [target.met for target in found] == [False]
    found = targets({"bottleneck-parity bbr": {"aegisray": [0.0]}})
    assert [target.met for target in found] == [True]
