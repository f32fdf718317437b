"""What is encoded comes back: the pairs of encoder and decoder that no other file here tries."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from gossip import NodeId, coordinates
from gossip.coordinates import Coordinate, Vector
from meshd.node import control, wire
from meshd.node.grants import Grants, parse_route
from meshd.node.invitation import Invitation, decode_invitation
from meshd.node.issuing import EnrolmentReply, EnrolmentRequest, decode_reply, decode_request
from meshd.node.keyring import read_key, write_key
from meshd.node.ledger import Issued, Ledger, decode_ledger
from meshd.node.mesh import parse_mesh
from meshd.node.payloads import PAYLOAD_SIZE, EnrolPayload, MemberPayload
from meshd.node.records import ListNote, decode_revocations, encode_revocations
from tests.node.meshes import make_key, make_mesh

u32 = st.integers(0, 2**32 - 1)
u63 = st.integers(0, 2**63 - 1)
u64 = st.integers(0, 2**64 - 1)
ids = st.binary(min_size=16, max_size=16)
nodes = ids.map(NodeId)
ders = st.binary(min_size=1, max_size=300)
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
endpoints = st.tuples(
    st.one_of(
        st.ip_addresses(v=4, network="10.0.0.0/8"), st.ip_addresses(v=6, network="2001:db8::/32")
    ).map(str),
    st.integers(1, 65535),
)
controls = st.one_of(
    st.builds(control.RevocationRequest, ids, u63, st.integers(0, 2**31)),
    st.builds(control.Renew, ders, st.booleans()),
    st.builds(control.Renewed, st.lists(ders, min_size=1, max_size=4).map(tuple)),
    st.builds(control.Renewed, st.just(()), st.text(min_size=1, max_size=100)),
)


@given(controls)
def test_control_messages_about_certificates_come_back(message: control.Control) -> None:
    assert control.decode_control(control.encode_control(message)[wire.ENTRY_SIZE :]) == message


@given(endpoints)
def test_endpoints_come_back(endpoint: wire.Endpoint) -> None:
    assert wire.unpack_endpoint(wire.pack_endpoint(endpoint)) == endpoint


@given(
    st.tuples(*[st.floats(-60, 60)] * 8),
    st.floats(0, 10),
    st.floats(-10, 10),
    st.floats(0, coordinates.ERROR_MAX),
)
def test_a_coordinate_comes_back_rounded_and_then_as_it_is(
    vector: Vector, height: float, adjustment: float, error: float
) -> None:
    packed = Coordinate(vector, height, adjustment, error).pack()
    assert coordinates.unpack(packed).pack() == packed


@given(st.lists(st.builds(ListNote, ids, u63, ids, st.none() | ders), min_size=1, max_size=3))
def test_notes_of_revocation_lists_come_back(notes: list[ListNote]) -> None:
    found = decode_revocations(encode_revocations(notes))
    assert [(n.authority, n.number, n.digest) for n in found] == [
        (n.authority, n.number, n.digest) for n in notes[: len(found)]
    ]


@given(
    st.lists(
        st.builds(
            Issued,
            nodes,
            names,
            st.ip_addresses(v=4).map(lambda address: IPv4Address(address)),
            st.integers(1, 2**63 - 1),
            st.integers(0, 2**40),
        ),
        max_size=5,
        unique_by=lambda item: item.node,
    )
)
def test_a_ledger_comes_back(issued: list[Issued]) -> None:
    assert decode_ledger(Ledger(issued).encode()).encode() == Ledger(issued).encode()


@given(
    ids,
    st.binary(min_size=48, max_size=48),
    names,
    st.lists(st.sampled_from(["exit", "relay", "bootstrap", "issuer"]), unique=True),
    st.lists(st.sampled_from(["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32"]), unique=True),
    st.lists(names, max_size=3, unique=True),
    u32,
    st.none() | nodes,
)
def test_a_kept_invitation_comes_back(
    locator: bytes,
    sealed: bytes,
    name: str,
    roles: list[str],
    routes: list[str],
    groups: list[str],
    expiry: int,
    used_by: NodeId | None,
) -> None:
    grants = Grants(name, tuple(roles), tuple(map(parse_route, routes)), tuple(groups))
    invitation = Invitation(locator, sealed, grants, expiry, used_by)
    assert decode_invitation(invitation.encode()) == invitation


@given(ders, st.just(b"") | ders)
def test_an_enrolment_request_comes_back(csr: bytes, issuer_csr: bytes) -> None:
    request = EnrolmentRequest(csr, issuer_csr)
    assert decode_request(request.encode()) == request


@given(
    st.builds(
        EnrolmentReply,
        ders,
        st.lists(ders, min_size=1, max_size=4).map(tuple),
        ders,
        st.text(max_size=300),
        st.binary(min_size=32, max_size=32),
        st.lists(ders, max_size=3).map(tuple),
        st.lists(ders, max_size=3).map(tuple),
        st.just(b"") | ders,
    )
)
def test_an_enrolment_reply_comes_back(reply: EnrolmentReply) -> None:
    assert decode_reply(reply.encode()) == reply


@given(
    u64,
    u32,
    st.binary(min_size=64, max_size=64),
    st.lists(st.binary(min_size=1, max_size=900), min_size=1, max_size=4).map(tuple),
    st.integers(0, 40),
)
def test_a_members_payload_comes_back_with_its_chain_or_the_hash_of_it(
    counter: int, features: int, signature: bytes, chain: tuple[bytes, ...], padding: int
) -> None:
    payload = MemberPayload.of(counter, features, signature, chain)
    encoded = payload.encode()
    assert len(encoded) <= PAYLOAD_SIZE
    assert MemberPayload.decode(encoded + bytes(padding)) == payload
    assert (payload.chain == chain) != (payload.leaf_hash is not None)


@given(u64, u32, ids)
def test_an_enrolments_payload_comes_back(counter: int, features: int, invitation: bytes) -> None:
    payload = EnrolPayload(counter, features, invitation)
    assert EnrolPayload.decode(payload.encode()) == payload


@given(st.integers(0, 50))
def test_a_mesh_document_and_a_key_come_back(seed: int) -> None:
    mesh = make_mesh(seed).mesh
    assert parse_mesh(mesh.render()) == mesh
    key = make_key(seed)
    assert read_key(write_key(key), "node.key").private_bytes_raw() == key.private_bytes_raw()
