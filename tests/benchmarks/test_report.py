from __future__ import annotations

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
