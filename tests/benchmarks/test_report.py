from __future__ import annotations

from benchmarks import datapath
from benchmarks.report import Target, medians, ratio, table

SAMPLES = {
    "tcp1": {"aegisray": [4.0, 1.0, 6.0], "null": [8.0, 2.0, 20.0], "wireguard-go": [1.0, 1.0, 2.0]}
}


def test_medians_are_over_the_rounds() -> None:
    assert medians(SAMPLES)["tcp1"] == {"aegisray": 4.0, "null": 8.0, "wireguard-go": 1.0}


def test_a_ratio_compares_values_of_the_same_round() -> None:
    assert ratio(SAMPLES, "tcp1", "aegisray", "null") == 0.5
    assert ratio(SAMPLES, "tcp1", "aegisray", "wireguard-go") == 3.0


def test_a_ratio_to_what_was_not_measured_is_none() -> None:
    assert ratio(SAMPLES, "tcp1", "aegisray", "veth") is None
    assert ratio(SAMPLES, "udp64", "aegisray", "null") is None


def test_a_ratio_to_zero_is_none() -> None:
    assert (
        ratio({"lost": {"calm": [0.1, 0.0], "loaded": [1.0, 1.0]}}, "lost", "loaded", "calm")
        is None
    )


def test_a_target_is_a_floor_or_a_ceiling() -> None:
    assert Target("rate", 3.0, least=3.0).met
    assert not Target("rate", 2.9, least=3.0).met
    assert not Target("memory", 81.0, most=80.0).met
    assert Target("memory", 81.0, most=80.0).line() == "MISSED memory: 81.00 (under 80)"
    assert Target("rate", 3.0, least=3.0).as_json()["met"] is True


def test_a_table_lines_its_columns_up() -> None:
    assert table(["", "rate"], [["veth", "12.00"], ["x", "1.50"]]) == (
        "       rate\nveth  12.00\nx      1.50\n"
    )


def test_the_shown_table_has_a_column_for_each_contender_and_for_each_ratio() -> None:
    assert datapath.show(SAMPLES) == (
        "              aegisray  null  wireguard-go  / null  / wireguard-go\n"
        "tcp1, Gbit/s      4.00  8.00          1.00    0.50            3.00\n"
    )


def test_what_one_contender_did_not_give_stays_empty() -> None:
    assert datapath.show({"tcp1": {"bare": [], "aegisray": [2.0]}}) == (
        "              bare  aegisray  / bare\ntcp1, Gbit/s            2.00\n"
    )


def test_contenders_that_were_measured_apart_have_tables_of_their_own() -> None:
    far = {"lossy bbr 1 %": {"bare": [400.0], "aegisray": [380.0]}}
    assert datapath.show({**SAMPLES, **far}).count("\n\n") == 1
