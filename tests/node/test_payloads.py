from __future__ import annotations

import hashlib
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from meshd.node.errors import RemoteError
from meshd.node.payloads import (
    PAYLOAD_SIZE,
    EnrolPayload,
    MemberPayload,
    Payload,
    static_statement,
)

SIGNATURE = bytes(range(64))
LEAF, ISSUER = b"L" * 461, b"I" * 356
INLINE = MemberPayload(1 << 63, 1 << 31, SIGNATURE, (LEAF, ISSUER))
HASHED = MemberPayload(3, 4, SIGNATURE, (), hashlib.sha256(LEAF).digest())
ENROL = EnrolPayload(5, 6, b"i" * 16)


@pytest.mark.parametrize("payload", [INLINE, HASHED, ENROL], ids=["inline", "hashed", "enrol"])
def test_a_payload_survives_its_encoding_with_and_without_padding(payload: Payload) -> None:
    encoded = payload.encode()
    assert type(payload).decode(encoded) == payload
    assert type(payload).decode(encoded.ljust(PAYLOAD_SIZE, b"\0")) == payload


def test_the_bytes_are_where_the_protocol_says() -> None:
    encoded = INLINE.encode()
    assert struct.unpack_from(">QI64sBBH", encoded) == (1 << 63, 1 << 31, SIGNATURE, 0, 2, 461)
    assert encoded[80 : 80 + 461] == LEAF
    assert encoded[541:543] == (356).to_bytes(2, "big")
    assert encoded[543:] == ISSUER
    assert HASHED.encode()[76:] == b"\x01" + hashlib.sha256(LEAF).digest()
    assert ENROL.encode() == struct.pack(">QI16s", 5, 6, b"i" * 16)


def test_a_chain_goes_inside_when_it_fits_and_follows_when_it_does_not() -> None:
    assert MemberPayload.of(1, 0, SIGNATURE, (LEAF, ISSUER)).chain == (LEAF, ISSUER)
    fitting = PAYLOAD_SIZE - 77 - 1 - 2
    assert len(MemberPayload.of(1, 0, SIGNATURE, (bytes(fitting),)).encode()) == PAYLOAD_SIZE
    for chain in ((bytes(fitting + 1),), (b"x",) * 5, (bytes(70_000),)):
        payload = MemberPayload.of(1, 0, SIGNATURE, chain)
        assert payload.chain == ()
        assert payload.leaf_hash == hashlib.sha256(chain[0]).digest()


def member(form: int, rest: bytes) -> bytes:
    return struct.pack(">QI64sB", 1, 2, SIGNATURE, form) + rest


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(76),
        member(0, b""),
        member(0, b"\x00"),
        member(0, b"\x05" + b"\x00\x01x" * 5),
        member(0, b"\x01"),
        member(0, b"\x01\x00"),
        member(0, b"\x01\x00\x00"),
        member(0, b"\x01\x00\x02x"),
        member(0, b"\x02\x00\x01x"),
        member(0, b"\x01\x00\x01xy"),
        member(1, bytes(31)),
        member(1, bytes(32) + b"\x01"),
        member(2, bytes(32)),
    ],
)
def test_a_malformed_member_payload_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError, match="handshake-payload"):
        MemberPayload.decode(data)


@pytest.mark.parametrize("data", [b"", bytes(27), bytes(28) + b"\x01"])
def test_a_malformed_enrol_payload_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError, match="handshake-payload"):
        EnrolPayload.decode(data)


@pytest.mark.parametrize(
    "payload",
    [
        MemberPayload(1, 0, SIGNATURE),
        MemberPayload(1, 0, SIGNATURE, (LEAF,), bytes(32)),
        MemberPayload(1, 0, bytes(63), (LEAF,)),
        EnrolPayload(1, 0, bytes(15)),
    ],
    ids=["neither", "both", "signature", "invitation"],
)
def test_what_has_no_encoding_is_the_callers_mistake(payload: Payload) -> None:
    with pytest.raises(ValueError, match="has"):
        payload.encode()


def test_the_certificates_key_vouches_for_the_static_key_in_one_mesh() -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    mesh, static = b"m" * 16, b"s" * 32
    assert static_statement(mesh, static) == b"aegisray static\0" + mesh + static
    payload = MemberPayload(1, 0, key.sign(static_statement(mesh, static)), (LEAF,))
    payload.verify(mesh, static, key.public_key())
    other = Ed25519PrivateKey.from_private_bytes(b"o" * 32).public_key()
    for arguments in (
        (b"n" * 16, static, key.public_key()),
        (mesh, b"t" * 32, key.public_key()),
        (mesh, static, other),
    ):
        with pytest.raises(RemoteError, match="handshake-signature"):
            payload.verify(*arguments)


def test_an_invitations_id_is_in_no_repr() -> None:
    assert "sixteen" not in repr(EnrolPayload(1, 0, b"sixteen bytes id"))
