"""X25519 points of low order, and a key that pretends to own one."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

LOW_ORDER_KEYS = [
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
]
"""All of them below 2^255 (cr.yp.to/ecdh.html, "validate")."""


class LowOrderKey:
    """An attacker's static key: its public half has a low order, so every DH with it is zero."""

    def __init__(self, public: bytes) -> None:
        self._public = public

    def public_key(self) -> LowOrderKey:
        return self

    def public_bytes_raw(self) -> bytes:
        return self._public

    def exchange(self, _peer: X25519PublicKey) -> bytes:
        return bytes(32)
