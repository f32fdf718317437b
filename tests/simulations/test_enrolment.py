from __future__ import annotations

from random import Random

from simulations.enrolment import CIDR, UNIX_TIME, enrol


def test_members_trust_each_other_and_differ_in_everything_that_names_them() -> None:
    members = enrol(5, Random(1).randbytes)
    for one in members:
        for other in members:
            trusted = one.trust.verify(other.chain[0], other.issuer_certificates, UNIX_TIME)
            assert trusted.node == other.id
    for values in (
        [member.id for member in members],
        [member.name for member in members],
        [member.certificate.address4 for member in members],
        [member.static_public for member in members],
    ):
        assert len(set(values)) == 5
    assert all(member.certificate.address4 in CIDR for member in members)


def test_one_seed_makes_the_same_members_again() -> None:
    ids = [[member.id for member in enrol(3, Random(seed).randbytes)] for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]
