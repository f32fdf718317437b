from __future__ import annotations

import pytest

from gossip.records import RecordKind, signed, verified
from simulations.authority import Ed25519Authority, FakeAuthority, identity_of, key_of


@pytest.mark.parametrize("kind", [FakeAuthority, Ed25519Authority])
def test_only_the_subjects_key_signs_for_it(kind: type[FakeAuthority]) -> None:
    one, two = kind.of(1), kind.of(2)
    subject = identity_of(one.key)
    record = signed(one, RecordKind.MEMBER, one.key, subject, 1, b"body")
    assert verified(two, record)
    assert verified(one, record)
    forged = signed(two, RecordKind.MEMBER, one.key, subject, 2, b"body")
    assert not verified(one, forged)
    stolen = signed(two, RecordKind.MEMBER, two.key, subject, 2, b"body")
    assert not verified(one, stolen)


@pytest.mark.parametrize("kind", [FakeAuthority, Ed25519Authority])
def test_sizes_are_those_of_ed25519_and_a_number_has_one_key(kind: type[FakeAuthority]) -> None:
    one = kind.of(1)
    assert len(one.key) == 32
    assert len(identity_of(one.key)) == 16
    assert len(one.sign(b"message")) == 64
    assert kind.of(1).key == one.key


def test_a_key_that_is_none_verifies_nothing() -> None:
    key = b"\xff" * 32
    assert not Ed25519Authority.of(1).verify(key, identity_of(key), b"message", bytes(64))


def test_hosts_have_different_keys_and_ids() -> None:
    keys = [key_of(number) for number in range(100)]
    assert len(set(keys)) == len({identity_of(key) for key in keys}) == 100
