"""What a person types, and the peer that is meant."""

from __future__ import annotations

from dataclasses import replace

from meshd.node.finding import canonical, find
from tests.node.couples import founder, make_peer, member


def test_names_ids_and_addresses_find_a_peer_however_they_are_spelt() -> None:
    beta = make_peer(member("beta", 2))
    peers, trust = [beta], founder().trust
    certificate = beta.certificate
    assert certificate is not None
    for text in (
        "beta",
        "BETA",
        beta.id.hex(),
        beta.id.hex().upper(),
        str(certificate.address4),
        certificate.address6.exploded,
    ):
        assert find(text, peers, trust) is beta
    assert find("gamma", peers, trust) is None
    assert canonical("FD00:0::1") == "fd00::1"


def test_of_two_with_one_name_the_lower_id_is_meant_in_whatever_order_they_came() -> None:
    one, other = make_peer(member("twin", 41)), make_peer(member("twin-2", 42))
    assert other.certificate is not None
    other.certificate = replace(other.certificate, name="twin")
    lower = min(one, other, key=lambda peer: peer.id)
    trust = founder().trust
    assert find("twin", [one, other], trust) is find("twin", [other, one], trust) is lower


def test_who_left_is_found_only_where_nobody_else_has_the_name() -> None:
    one, other = make_peer(member("twin", 41)), make_peer(member("twin-2", 42))
    assert one.certificate is not None
    assert other.certificate is not None
    other.certificate = replace(other.certificate, name="twin")
    gone, stays = sorted((one, other), key=lambda peer: peer.id)
    assert gone.certificate is not None
    trust = founder().trust
    trust.departed.add(gone.certificate)
    try:
        assert find("twin", [one, other], trust) is stays
        assert find("twin", [gone], trust) is gone
    finally:
        trust.departed.expire(gone.certificate.not_after + 1)
