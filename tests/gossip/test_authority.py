"""The authority is a protocol: whatever has its methods will do."""

from __future__ import annotations

from gossip import records
from gossip.authority import Authority
from gossip.records import RecordKind

from .cluster import FakeAuthority, id_of, key_of


def test_a_record_of_another_mesh_does_not_verify() -> None:
    key = key_of("a")
    here: Authority = FakeAuthority(key, b"here")
    there: Authority = FakeAuthority(key, b"there")
    record = records.signed(here, RecordKind.MEMBER, key, id_of(key), 1, b"")
    assert records.verified(here, record)
    assert not records.verified(there, record)
