"""What an issuer remembers: on disk and back, and every certificate that may still be valid."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from gossip.codec import encode
from meshd.node.errors import LocalError
from meshd.node.grants import Grants
from meshd.node.ledger import MAX_EARLIER, Serial, decode_ledger
from meshd.node.minting import DAY, NODE_LIFETIME, make_csr
from meshd.node.revocation import make_list
from tests.node.meshes import NOW, admit, bytes_of, issuer_of, make_key, make_mesh


def test_the_ledger_reads_back() -> None:
    mesh = make_mesh()
    beta, again = admit(mesh, 2), admit(mesh, 2)
    ledger = issuer_of(mesh).ledger
    ledger.record_issuer(beta.node, b"c" * 16)
    assert beta.serial == again.serial  # the same chance: a ledger holds what it is told
    read = decode_ledger(ledger.encode())
    assert read.entries() == ledger.entries()
    assert [entry.name for entry in read.entries()] == ["alpha", "beta"]
    assert isinstance(read.entries()[0].address4, IPv4Address)
    entry = read.get(beta.node)
    assert entry is not None
    assert entry.earlier == (Serial(beta.authority, beta.serial, beta.not_after),)
    assert entry.own_issuer == b"c" * 16


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode(5),
        encode([5]),
        encode([[b"short", "a", bytes(4), 1, 2, [], b""]]),
        encode([[bytes(16), "a", bytes(4), 1, 2, [5], b""]]),
    ],
)
def test_other_bytes_are_no_ledger(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_ledger(data)


def test_a_node_cannot_have_more_certificates_than_can_be_revoked() -> None:
    """Otherwise who renews again and again would push the first ones out of the ledger."""
    mesh = make_mesh()
    issuer, csr = issuer_of(mesh), make_csr(make_key(2), "beta")

    def issue(seed: int, unix_time: float) -> int:
        return issuer.issue(csr, Grants(), (), unix_time, bytes_of(seed)).serial

    serials = {issue(seed, NOW) for seed in range(MAX_EARLIER + 1)}
    with pytest.raises(LocalError, match="still valid"):
        issue(99, NOW)
    entry = issuer.ledger.entries()[1]
    assert {entry.serial, *(item.serial for item in entry.earlier)} == serials
    last = issue(100, NOW + NODE_LIFETIME + DAY)
    entry = issuer.ledger.entries()[1]
    assert (entry.serial, entry.earlier) == (last, ())


def test_a_node_is_revoked_by_any_of_its_certificates() -> None:
    mesh = make_mesh()
    issuer, csr = issuer_of(mesh), make_csr(make_key(2), "beta")
    first, second = (issuer.issue(csr, Grants(), (), NOW, bytes_of(seed)) for seed in (5, 6))
    ledger = issuer.ledger
    assert not ledger.revoked(first.node, None)
    for serial, expected in ((1, False), (first.serial, True), (second.serial, True)):
        listed = make_list(issuer.key, issuer.certificate, 1, {serial: NOW}, NOW)
        assert ledger.revoked(first.node, listed) is expected
    assert not ledger.revoked(mesh.trust.root.node, listed)
