"""Issuers, their ledger, and the two enrolment messages."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, ip_network

import pytest

from gossip.codec import encode
from meshd.node.certificates import TrustError
from meshd.node.errors import LocalError
from meshd.node.grants import Grants
from meshd.node.issuing import (
    MAX_REPLY,
    EnrolmentReply,
    EnrolmentRequest,
    decode_reply,
    decode_request,
)
from meshd.node.ledger import RESERVED, Ledger
from meshd.node.minting import DAY, NODE_LIFETIME, make_csr, make_issuer
from tests.node.meshes import NOW, admit, bytes_of, issuer_of, make_key, make_mesh, make_reply, raw


def test_a_node_gets_an_address_a_name_and_its_grants() -> None:
    mesh = make_mesh()
    certificate = admit(mesh, 2, "beta", Grants(groups=("web",)))
    assert certificate.name == "beta"
    assert certificate.groups == ("web",)
    assert certificate.address4 in mesh.mesh.cidr
    assert mesh.trust.verify(certificate.der, [], NOW) == certificate


def test_the_invitations_name_goes_before_the_joiners() -> None:
    assert admit(make_mesh(), 2, "beta", Grants("db")).name == "db"


def test_a_name_that_is_taken_gets_a_number() -> None:
    mesh = make_mesh()
    assert [admit(mesh, seed, "beta").name for seed in (2, 3, 4)] == ["beta", "beta-2", "beta-3"]
    assert admit(mesh, 5, "alpha").name == "alpha-2"
    long = "x" * 63
    assert [admit(mesh, seed, long).name for seed in (6, 7)] == [long, "x" * 61 + "-2"]


def test_names_and_addresses_known_from_elsewhere_are_left_alone() -> None:
    first = admit(make_mesh(), 2, "beta")
    issuer = issuer_of(make_mesh())
    again = issuer.issue(
        make_csr(make_key(2), "beta"), Grants(), {first.address4}, NOW, bytes_of(3), {"beta"}
    )
    assert again.address4 == first.address4 + 1
    assert again.name == "beta-2"


def test_a_node_that_comes_back_keeps_name_and_address() -> None:
    mesh = make_mesh()
    first = admit(mesh, 2, "beta")
    admit(mesh, 3, "gamma")
    again = admit(mesh, 2, "other")
    assert (again.name, again.address4) == (first.name, first.address4)
    assert again.serial == first.serial
    assert len(issuer_of(mesh).ledger) == 3


def test_no_address_is_given_out_twice_until_none_is_left() -> None:
    mesh = make_mesh(cidr=IPv4Network("10.9.8.0/29"))
    others = [admit(mesh, seed) for seed in range(2, 7)]
    addresses = {item.address4 for item in (mesh.certificate, *others)}
    assert addresses == set(IPv4Network("10.9.8.0/29").hosts())
    with pytest.raises(LocalError, match="taken"):
        admit(mesh, 7)


def test_names_and_addresses_are_free_long_after_the_certificate_ended() -> None:
    mesh = make_mesh()
    issuer, first = issuer_of(mesh), admit(mesh, 2, "beta")
    end = NOW + NODE_LIFETIME + RESERVED

    def name_at(seed: int, unix_time: float) -> str:
        csr = make_csr(make_key(seed), "beta")
        return issuer.issue(csr, Grants(), (), unix_time, bytes_of(seed)).name

    assert name_at(3, end - DAY) == "beta-2"
    assert name_at(4, end + DAY) == "beta"
    assert issuer.ledger.get(first.node) is None


def test_an_issuer_gives_no_more_than_it_may() -> None:
    mesh = make_mesh()
    issuer = issuer_of(mesh)
    assert issuer.root_key is not None
    grants = Grants(roles=("exit",), routes=(ip_network("10.0.0.0/8"),))
    issuer.certificate = make_issuer(
        issuer.root_key, mesh.trust.root, raw(issuer.key), grants, NOW, bytes_of(4)
    )
    assert admit(mesh, 2, "beta", grants).roles == ("exit",)
    with pytest.raises(LocalError, match="does not allow"):
        admit(mesh, 3, "gamma", Grants(roles=("relay",)))
    assert len(issuer.ledger) == 2


def test_a_bad_request_gets_nothing() -> None:
    mesh = make_mesh()
    with pytest.raises(TrustError, match="request-malformed"):
        issuer_of(mesh).issue(b"\x30\x00", Grants(), (), NOW, bytes_of(2))
    assert len(issuer_of(mesh).ledger) == 1


@pytest.mark.parametrize("unix_time", [0.0, NOW + 10 * 365 * DAY])
def test_an_issuer_does_not_sign_by_a_wrong_clock(unix_time: float) -> None:
    issuer = issuer_of(make_mesh())
    with pytest.raises(LocalError, match="clock"):
        issuer.issue(make_csr(make_key(2), "beta"), Grants(), (), unix_time, bytes_of(2))


def test_the_founder_makes_a_second_issuer_that_admits_others() -> None:
    mesh = make_mesh()
    first = issuer_of(mesh)
    key = make_key(20)
    made = first.issue_issuer(make_csr(key, "beta"), NOW, bytes_of(5))
    second = replace(first, key=key, certificate=made, ledger=Ledger(), root_key=None)
    leaf = second.issue(make_csr(make_key(3), "gamma"), Grants(), (), NOW, bytes_of(6))
    assert mesh.trust.verify(leaf.der, [made.der], NOW) == leaf


def test_only_who_holds_the_root_key_makes_issuers() -> None:
    issuer = issuer_of(make_mesh())
    issuer.root_key = None
    with pytest.raises(LocalError, match=r"root\.key"):
        issuer.permit(Grants(roles=("issuer",)))
    with pytest.raises(LocalError, match=r"root\.key"):
        issuer.issue_issuer(make_csr(make_key(2), "beta"), NOW, bytes_of(5))


def test_keys_are_in_no_repr() -> None:
    mesh = make_mesh()
    issuer = issuer_of(mesh)
    assert "Private" not in repr(issuer)
    assert "ledger" not in repr(issuer)
    assert "mesh_secret" not in repr(make_reply(mesh, mesh.certificate))


def test_a_request_reads_back() -> None:
    request = EnrolmentRequest(make_csr(make_key(2), "beta"), b"other")
    assert decode_request(request.encode()) == request


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode([2, b"", b""]),
        encode([True, b"", b""]),
        encode([1, b""]),
        encode([1, "", b""]),
        bytes(20_000),
    ],
)
def test_other_bytes_are_no_request(data: bytes) -> None:
    with pytest.raises(TrustError, match="request-malformed"):
        decode_request(data)


def test_a_reply_reads_back() -> None:
    mesh = make_mesh()
    reply = make_reply(mesh, admit(mesh, 2), b"issuer")
    full = replace(reply, crls=(b"crl",), records=(b"record", b"other"))
    assert decode_reply(full.encode()) == full


def test_a_reply_leaves_out_what_does_not_fit() -> None:
    mesh = make_mesh()
    reply = make_reply(mesh, admit(mesh, 2))
    with_records = replace(reply, records=tuple(bytes([n]) * 300 for n in range(200)))
    data = with_records.encode()
    assert MAX_REPLY - 310 < len(data) <= MAX_REPLY
    assert decode_reply(data).records == with_records.records[: len(decode_reply(data).records)]
    with_lists = replace(with_records, crls=(b"small", bytes(40_000)))
    assert decode_reply(with_lists.encode()) == replace(reply, crls=(b"small",))
    many = replace(reply, issuers=reply.issuers + (bytes(1000),) * 40)
    assert decode_reply(many.encode()).issuers[0] == reply.issuers[0]
    with pytest.raises(LocalError, match="fit"):
        replace(reply, mesh="x" * 40_000).encode()


def test_other_bytes_are_no_reply() -> None:
    mesh = make_mesh()
    good = make_reply(mesh, mesh.certificate)
    bad = [
        b"",
        encode([1]),
        replace(good, issuers=()).encode(),
        encode([1, b"", [b""], b"", "", b"", [5], [], b""]),
        encode([2, b"", [b""], b"", "", b"", [], [], b""]),
        encode([True, b"", [b""], b"", "", b"", [], [], b""]),
        encode([1, b"", [b"", "x"], b"", "", b"", [], [], b""]),
        bytes(MAX_REPLY + 1),
    ]
    for data in bad:
        with pytest.raises(TrustError, match="reply-malformed"):
            decode_reply(data)


def test_a_replys_parts_keep_their_order() -> None:
    reply = EnrolmentReply(b"1", (b"2", b"3"), b"4", "5", b"6", (b"7",), (b"8",), b"9")
    assert decode_reply(reply.encode()) == reply
