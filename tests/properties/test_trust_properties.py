"""Whatever bytes come: certificates, requests, tokens and lists are refused in one way only."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import NodeId
from meshd.node.addresses import assign4
from meshd.node.certificates import TrustError, parse_certificate, read_csr
from meshd.node.chain import TrustStore
from meshd.node.errors import LocalError
from meshd.node.grants import Grants
from meshd.node.invitation import Invitation, Token, decode_invitation, decode_token
from meshd.node.issuing import (
    EnrolmentRequest,
    decode_reply,
    decode_request,
)
from meshd.node.ledger import decode_ledger
from meshd.node.mesh import parse_mesh
from meshd.node.minting import make_csr
from meshd.node.revocation import make_list, parse_list
from tests.node.meshes import NOW, admit, issuer_of, make_key, make_mesh, make_reply

MESH = make_mesh()
ISSUER = issuer_of(MESH)
LEAF = admit(MESH, 2)
CSR = make_csr(make_key(2), "beta")
LIST = make_list(ISSUER.key, ISSUER.certificate, 1, {5: NOW, 6: NOW}, NOW)
REPLY = make_reply(MESH, LEAF).encode()


def damage(whole: bytes) -> st.SearchStrategy[bytes]:
    """`whole` with one bit flipped, one byte replaced, cut, or with more behind it."""
    positions = st.integers(0, len(whole) - 1)
    replaced = st.builds(
        lambda at, mask: whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :],
        positions,
        st.one_of(st.sampled_from([1 << bit for bit in range(8)]), st.integers(1, 255)),
    )
    cut = positions.map(lambda at: whole[:at])
    longer = st.binary(min_size=1, max_size=20).map(lambda more: whole + more)
    return st.one_of(replaced, cut, longer)


@given(damage(LEAF.der))
def test_a_damaged_certificate_is_never_believed(der: bytes) -> None:
    with pytest.raises(TrustError):
        MESH.trust.verify(der, [], NOW)


@given(damage(ISSUER.certificate.der))
def test_a_damaged_issuer_is_never_believed(der: bytes) -> None:
    with pytest.raises(TrustError):
        TrustStore(MESH.trust.root.der).verify(LEAF.der, [der], NOW)


@given(damage(MESH.trust.root.der))
def test_a_damaged_root_is_never_believed(der: bytes) -> None:
    with pytest.raises(TrustError):
        TrustStore(der)


@given(damage(LIST.der))
def test_a_damaged_revocation_list_is_never_believed(der: bytes) -> None:
    with pytest.raises(TrustError):
        MESH.trust.add_crl(der)


@given(damage(CSR))
def test_a_damaged_request_gets_nothing(der: bytes) -> None:
    with pytest.raises(TrustError):
        read_csr(der)


@pytest.mark.parametrize(
    "read",
    [
        parse_certificate,
        read_csr,
        decode_request,
        decode_reply,
        lambda data: parse_list(data, ISSUER.certificate),
    ],
)
@given(data=st.binary(max_size=400))
def test_random_bytes_are_refused_in_one_way(read: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(TrustError):
        read(data)


@given(damage(REPLY))
def test_a_damaged_reply_is_refused_or_decodes_to_other_bytes(data: bytes) -> None:
    try:
        reply = decode_reply(data)
    except TrustError:
        return
    assert reply.encode() == data


@given(damage(EnrolmentRequest(CSR).encode()))
def test_a_damaged_enrolment_request_is_refused_or_decodes_to_other_bytes(data: bytes) -> None:
    try:
        request = decode_request(data)
    except TrustError:
        return
    assert request.encode() == data


@given(damage(ISSUER.ledger.encode()))
def test_a_damaged_ledger_raises_value_errors_only(data: bytes) -> None:
    try:
        ledger = decode_ledger(data)
    except ValueError:
        return
    assert ledger.encode() == data or len(ledger) < len(ISSUER.ledger)


@given(damage(Invitation(bytes(16), bytes(48), Grants("a", ("exit",)), 5, None).encode()))
def test_a_damaged_invitation_raises_two_errors_only(data: bytes) -> None:
    try:
        invitation = decode_invitation(data)
    except (ValueError, LocalError):
        return
    assert invitation.encode() == data


@given(damage(MESH.mesh.render().encode()))
def test_a_damaged_mesh_document_is_refused_or_means_the_same(data: bytes) -> None:
    try:
        document = parse_mesh(data.decode("utf-8", "replace"))
    except LocalError:
        return
    assert document == MESH.mesh


addresses = st.one_of(
    st.ip_addresses(v=4, network="10.0.0.0/8"), st.ip_addresses(v=6, network="2001:db8::/32")
)
tokens = st.builds(
    Token,
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(addresses.map(str), st.integers(1, 65535)), max_size=4).map(tuple),
)


@given(tokens)
def test_every_token_reads_back(token: Token) -> None:
    assert decode_token(token.encode()) == token


@given(st.text(max_size=300))
def test_any_text_is_a_token_or_a_persons_mistake(text: str) -> None:
    for pasted in (text, "aegis1-" + text):
        with pytest.raises(LocalError):
            decode_token(pasted)


@given(st.lists(st.binary(min_size=16, max_size=16), unique=True, max_size=14))
def test_assigned_addresses_are_usable_and_unique(nodes: list[bytes]) -> None:
    prefix = IPv4Network("10.9.8.0/28")
    taken: set[IPv4Address] = set()
    for node in nodes:
        address = assign4(NodeId(node), prefix, taken)
        assert address not in taken
        assert address in list(prefix.hosts())
        taken.add(address)
