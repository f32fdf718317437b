from __future__ import annotations

from random import Random

import pytest

from simulations.nat import Nat, NatKind

INSIDE = ("192.168.1.2", 443)
ANN = ("203.0.113.1", 443)
BOB = ("203.0.113.2", 443)


def nat(kind: NatKind, timeout_s: float = 120.0) -> Nat:
    return Nat(kind, "198.51.100.1", Random(1), timeout_s)


def test_a_cone_maps_one_inner_endpoint_to_one_port_for_all() -> None:
    cone = nat(NatKind.PORT_RESTRICTED)
    assert cone.outbound(INSIDE, ANN, 0.0) == cone.outbound(INSIDE, BOB, 1.0)
    assert cone.outbound(("192.168.1.3", 443), ANN, 1.0) != cone.outbound(INSIDE, ANN, 1.0)


def test_a_symmetric_translator_maps_each_destination_to_its_own_port() -> None:
    symmetric = nat(NatKind.SYMMETRIC)
    assert symmetric.outbound(INSIDE, ANN, 0.0) == symmetric.outbound(INSIDE, ANN, 1.0)
    assert symmetric.outbound(INSIDE, ANN, 0.0) != symmetric.outbound(INSIDE, BOB, 0.0)


@pytest.mark.parametrize("kind", [NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC])
def test_only_endpoints_that_were_written_to_may_answer(kind: NatKind) -> None:
    translator = nat(kind)
    _, port = translator.outbound(INSIDE, ANN, 0.0)
    assert translator.inbound(ANN, port, 1.0) == INSIDE
    assert translator.inbound(BOB, port, 1.0) is None
    assert translator.inbound((ANN[0], 444), port, 1.0) is None
    assert translator.inbound(ANN, port + 1, 1.0) is None


def test_a_cone_can_be_punched_and_a_symmetric_translator_cannot() -> None:
    for kind, expected in ((NatKind.PORT_RESTRICTED, INSIDE), (NatKind.SYMMETRIC, None)):
        translator = nat(kind)
        _, seen_by_ann = translator.outbound(INSIDE, ANN, 0.0)
        translator.outbound(INSIDE, BOB, 0.0)
        assert translator.inbound(BOB, seen_by_ann, 0.1) == expected


@pytest.mark.parametrize("kind", [NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC])
def test_a_mapping_dies_of_outbound_silence_whatever_comes_in(kind: NatKind) -> None:
    translator = nat(kind, timeout_s=30.0)
    _, port = translator.outbound(INSIDE, ANN, 0.0)
    assert translator.inbound(ANN, port, 29.0) == INSIDE
    assert translator.inbound(ANN, port, 31.0) is None
    assert translator.outbound(INSIDE, ANN, 32.0)[1] != port
    assert translator.inbound(ANN, port, 32.0) is None


def test_outbound_traffic_keeps_a_mapping() -> None:
    cone = nat(NatKind.PORT_RESTRICTED, timeout_s=30.0)
    ports = {cone.outbound(INSIDE, ANN, float(now))[1] for now in range(0, 200, 25)}
    assert len(ports) == 1


def test_a_restarted_router_forgets() -> None:
    cone = nat(NatKind.PORT_RESTRICTED)
    _, port = cone.outbound(INSIDE, ANN, 0.0)
    cone.forget()
    assert cone.inbound(ANN, port, 1.0) is None


def test_an_open_site_has_no_translator() -> None:
    with pytest.raises(ValueError, match="open"):
        nat(NatKind.OPEN)


@pytest.mark.parametrize(
    ("kind", "stranger", "other_port"),
    [
        (NatKind.FULL_CONE, True, True),
        (NatKind.ADDRESS_RESTRICTED, False, True),
        (NatKind.PORT_RESTRICTED, False, False),
    ],
)
def test_cones_differ_in_whom_they_let_in(kind: NatKind, stranger: bool, other_port: bool) -> None:
    translator = nat(kind)
    _, port = translator.outbound(INSIDE, ANN, 0.0)
    assert translator.inbound(ANN, port, 1.0) == INSIDE
    assert (translator.inbound(BOB, port, 1.0) == INSIDE) is stranger
    assert (translator.inbound((ANN[0], 444), port, 1.0) == INSIDE) is other_port
    assert translator.inbound((ANN[0], 444), port, 200.0) is None


def test_sequential_ports_count_destinations() -> None:
    counting = nat(NatKind.SEQUENTIAL)
    ports = [counting.outbound(INSIDE, (ANN[0], port), 0.0)[1] for port in range(1, 6)]
    assert ports == list(range(ports[0], ports[0] + 5))
    assert counting.outbound(INSIDE, (ANN[0], 3), 1.0)[1] == ports[2]
    assert counting.inbound((ANN[0], 3), ports[2], 1.0) == INSIDE
    assert counting.inbound((ANN[0], 3), ports[3], 1.0) is None


def test_without_an_input_firewall_who_sends_too_early_moves_the_mapping() -> None:
    router = nat(NatKind.NO_FILTER)
    _, usual = router.outbound(INSIDE, ANN, 0.0)
    assert router.inbound(BOB, usual, 0.0) is None
    _, moved = router.outbound(INSIDE, BOB, 1.0)
    assert moved != usual
    assert router.outbound(INSIDE, BOB, 2.0)[1] == moved
    assert router.inbound(BOB, usual, 2.0) is None
    assert router.inbound(BOB, moved, 2.0) == INSIDE
    late = nat(NatKind.NO_FILTER)
    _, usual = late.outbound(INSIDE, ANN, 0.0)
    assert late.outbound(INSIDE, BOB, 0.0)[1] == usual
    assert late.inbound(BOB, usual, 0.1) == INSIDE
    assert late.inbound((BOB[0], 9), usual, 10.0) is None
    assert late.outbound(INSIDE, (BOB[0], 9), 41.0)[1] == usual
