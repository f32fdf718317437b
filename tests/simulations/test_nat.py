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
