"""What is set aside when a node leaves its mesh, and what stays."""

from __future__ import annotations

import os
import time
from ipaddress import IPv4Network
from pathlib import Path

from meshd.host.aside import set_membership_aside
from meshd.host.storage import Storage

CIDR = IPv4Network("100.64.0.0/16")


def member(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "certs", tmp_path / "state")
    storage.create_mesh("alpha", "home", CIDR, "aes256gcm", time.time(), os.urandom)
    storage.save_sequence(7)
    storage.save_records([b"record"])
    return storage


def set_aside(storage: Storage) -> list[Path]:
    with storage.locked():
        return set_membership_aside(storage.certs, storage.state)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_keys_and_certificates_are_moved_and_counters_stay(tmp_path: Path) -> None:
    storage = member(tmp_path)
    before = {path.name: path.read_bytes() for path in storage.certs.iterdir()}
    certs, state = set_aside(storage)
    assert (certs, state) == (storage.certs / "left", storage.state / "left")
    assert {path.name: path.read_bytes() for path in certs.iterdir()} == before
    assert names(storage.certs) == {"left"}
    assert names(state) == {"records", "issued"}
    assert names(storage.state) == {"left", "lock", "sequence"}
    assert certs.stat().st_mode & 0o777 == state.stat().st_mode & 0o777 == 0o700
    assert not storage.is_member()


def test_nothing_set_aside_is_ever_overwritten(tmp_path: Path) -> None:
    first = set_aside(member(tmp_path))
    second = set_aside(member(tmp_path))
    assert [path.name for path in (*first, *second)] == ["left", "left", "left.2", "left.2"]
    one, other = (path / "node.key" for path in (first[0], second[0]))
    assert one.read_bytes() != other.read_bytes()


def test_what_was_stopped_half_way_is_finished_the_next_time(tmp_path: Path) -> None:
    storage = member(tmp_path)
    (storage.certs / "node.crt").unlink()
    assert not storage.is_member()
    assert set_aside(storage)[0] == storage.certs / "left"
    assert names(storage.certs) == {"left"}
    assert set_aside(storage) == []
