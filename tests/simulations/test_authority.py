from __future__ import annotations

from gossip.records import RecordKind, signed, verified
from simulations.authority import FakeAuthority, identity_of, key_of


def test_only_the_subjects_key_signs_for_it() -> None:
    key, other = key_of(1), key_of(2)
    record = signed(FakeAuthority(key), RecordKind.MEMBER, key, identity_of(key), 1, b"body")
    assert verified(FakeAuthority(other), record)
    forged = signed(FakeAuthority(other), RecordKind.MEMBER, key, identity_of(key), 2, b"body")
    assert not verified(FakeAuthority(key), forged)
    stolen = signed(FakeAuthority(other), RecordKind.MEMBER, other, identity_of(key), 2, b"body")
    assert not verified(FakeAuthority(key), stolen)


def test_sizes_are_those_of_ed25519() -> None:
    key = key_of(1)
    assert len(key) == 32
    assert len(identity_of(key)) == 16
    assert len(FakeAuthority(key).sign(b"message")) == 64


def test_hosts_have_different_keys_and_ids() -> None:
    keys = [key_of(number) for number in range(100)]
    assert len(set(keys)) == len({identity_of(key) for key in keys}) == 100
