"""Invitations: the token that is pasted, and what the inviter keeps of it.

A token is `aegis1-` and base64url (RFC 4648, no padding) of::

     0            16                 48         64          68      69
    +------------+------------------+----------+-----------+-------+----------------+----------+
    | mesh id 16 | inviter's static | secret   | expiry    | count | endpoints      | checksum |
    |            | X25519 key 32    | 16       | u32, Unix | u8    | u8 4|6, IP, u16| 4        |
    +------------+------------------+----------+-----------+-------+----------------+----------+

with at most four endpoints; the checksum is the first 4 bytes of BLAKE2s over `aegis1-` and all
before it. From the secret come, by keyed BLAKE2s, the invitation id (which the joiner sends, sealed
for the inviter's static key) and the psk of the handshake.

The inviter keeps neither secret nor id: the file is named by a hash of the id, and the psk in it
is sealed under the id. Who reads the file cannot join by it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from hashlib import blake2s

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gossip import NodeId
from gossip.codec import decode, encode
from meshd.node.addresses import ID_SIZE
from meshd.node.errors import LocalError, RemoteError
from meshd.node.grants import Grants, parse_route
from meshd.node.wire import Endpoint, pack_endpoint, unpack_endpoint

PREFIX = "aegis1-"
MAX_ENDPOINTS = 4
MAX_TOKEN = 300
"""Characters of the longest token, with some to spare."""

MAX_LIFETIME = 30 * 86_400.0

_FIXED = 69
_CHECKSUM = 4
_ALIKE = "ask for a new one with `meshd invite` and paste the whole of it"


@dataclass(frozen=True, slots=True)
class Token:
    """What `meshd invite` prints. `expiry`: Unix seconds."""

    mesh_id: bytes
    inviter_static: bytes
    """Raw X25519 key, 32 bytes."""
    secret: bytes = field(repr=False)
    expiry: int
    endpoints: tuple[Endpoint, ...]
    """Where the inviter may be found, best first."""

    @property
    def invitation_id(self) -> bytes:
        """16 bytes that the joiner sends in its enrolment initiation."""
        return _derive(self.secret, b"aegisray invitation id", 16)

    @property
    def psk(self) -> bytes:
        """The 32-byte psk of the enrolment handshake."""
        return _derive(self.secret, b"aegisray invitation psk", 32)

    def encode(self) -> str:
        """The text. Endpoints beyond the fourth are left out."""
        packed = [pack_endpoint(endpoint) for endpoint in self.endpoints[:MAX_ENDPOINTS]]
        body = self.mesh_id + self.inviter_static + self.secret + self.expiry.to_bytes(4, "big")
        body += bytes((len(packed),))
        body += b"".join(bytes((4 if len(item) == 6 else 6,)) + item for item in packed)
        return PREFIX + base64.urlsafe_b64encode(body + _checksum(body)).decode().rstrip("=")

    def check_time(self, unix_time: float) -> None:
        """Raises LocalError when the token has expired by this host's clock."""
        if unix_time > self.expiry:
            raise LocalError(
                f"this invitation expired at {show_time(self.expiry)}, and this host's clock says "
                f"{show_time(unix_time)}: set the clock if it is wrong, or ask for a new invitation"
            )


def decode_token(text: str) -> Token:
    """Read a pasted token. Raises LocalError, without repeating any of it."""
    text = text.strip()
    if not text.startswith(PREFIX):
        raise LocalError(f"this is not an invitation (it begins with {PREFIX}): {_ALIKE}")
    encoded = text[len(PREFIX) :]
    try:
        if len(text) > MAX_TOKEN:
            raise ValueError
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        body = data[:-_CHECKSUM]
        if len(body) < _FIXED or _checksum(body) != data[-_CHECKSUM:]:
            raise ValueError
        endpoints = _read_endpoints(body[_FIXED:], body[_FIXED - 1])
    except ValueError:
        raise LocalError(f"this invitation is damaged or cut off: {_ALIKE}") from None
    return Token(body[:16], body[16:48], body[48:64], int.from_bytes(body[64:68], "big"), endpoints)


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the inviter keeps. `expiry`: Unix seconds; `used_by`: who redeemed it, if anyone."""

    locator: bytes
    """16 bytes, the hash of the invitation id; names the file, may be shown."""
    sealed_psk: bytes = field(repr=False)
    grants: Grants
    expiry: int
    used_by: NodeId | None = None

    def psk(self, invitation_id: bytes) -> bytes:
        """The handshake's psk, opened with the id that the joiner sent.

        Raises RemoteError("invitation-unknown") for another invitation's id.
        """
        try:
            return ChaCha20Poly1305(_seal_key(invitation_id)).decrypt(
                bytes(12), self.sealed_psk, self.locator
            )
        except InvalidTag:
            raise RemoteError("invitation-unknown") from None

    def check_time(self, unix_time: float) -> None:
        """Raises RemoteError("invitation-expired")."""
        if unix_time > self.expiry:
            raise RemoteError("invitation-expired")

    def redeem(self, node: NodeId, unix_time: float) -> Invitation:
        """This invitation, used by `node`; save it before anything is signed.

        The same node may ask again until the expiry, so that a join that broke off can be
        repeated. Raises RemoteError: "invitation-expired", "invitation-used".
        """
        self.check_time(unix_time)
        if self.used_by is not None and self.used_by != node:
            raise RemoteError("invitation-used")
        return replace(self, used_by=node)

    def encode(self) -> bytes:
        """CBOR, for the state directory."""
        grants = self.grants
        routes = [str(route) for route in grants.routes]
        listed = [grants.name, list(grants.roles), routes, list(grants.groups)]
        return encode([self.locator, self.sealed_psk, listed, self.expiry, self.used_by])


def decode_invitation(data: bytes) -> Invitation:
    """The inverse of `Invitation.encode`. Raises ValueError or LocalError."""
    match decode(data):
        case [
            bytes(locator),
            bytes(sealed),
            [str(name), [*roles], [*routes], [*groups]],
            int(expiry),
            (bytes() | None) as used_by,
        ] if all(isinstance(item, str) for item in (*roles, *routes, *groups)):
            grants = Grants(
                name, tuple(roles), tuple(parse_route(route) for route in routes), tuple(groups)
            )
            node = None if used_by is None else NodeId(used_by)
            return Invitation(locator, sealed, grants, expiry, node)
        case _:
            raise ValueError("not an invitation")


def invite(
    mesh_id: bytes,
    inviter_static: bytes,
    grants: Grants,
    endpoints: tuple[Endpoint, ...],
    unix_time: float,
    lifetime: float,
    random_bytes: Callable[[int], bytes],
) -> tuple[Token, Invitation]:
    """A new token, and what to keep of it. `lifetime` in seconds. Raises LocalError.

    Ask `issuing.Issuer.permit` about `grants` first.
    """
    if not 0 < lifetime <= MAX_LIFETIME:
        raise LocalError("an invitation lasts from one second to 30 days: give --expires 1h")
    if not endpoints:
        raise LocalError("an invitation needs an address of this node that the joiner can reach")
    token = Token(
        mesh_id, inviter_static, random_bytes(16), int(unix_time + lifetime), endpoints[:4]
    )
    locator = locate(token.invitation_id)
    key = _seal_key(token.invitation_id)
    sealed = ChaCha20Poly1305(key).encrypt(bytes(12), token.psk, locator)
    return token, Invitation(locator, sealed, grants, token.expiry)


def locate(invitation_id: bytes) -> bytes:
    """The locator of the invitation with this id."""
    return blake2s(b"aegisray invitation locator" + invitation_id, digest_size=ID_SIZE).digest()


def show_time(unix_time: float) -> str:
    """`2026-01-31 12:00 UTC`."""
    try:
        return datetime.fromtimestamp(unix_time, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return "a time out of range"


def _seal_key(invitation_id: bytes) -> bytes:
    """A key for one message only: each invitation id seals one psk, hence the zero nonce."""
    return _derive(invitation_id, b"aegisray invitation seal", 32)


def _derive(key: bytes, label: bytes, size: int) -> bytes:
    return blake2s(label, key=key, digest_size=size).digest()


def _checksum(body: bytes) -> bytes:
    return blake2s(PREFIX.encode() + body, digest_size=32).digest()[:_CHECKSUM]


def _read_endpoints(data: bytes, count: int) -> tuple[Endpoint, ...]:
    """Raises ValueError unless `data` holds `count` endpoints and nothing more."""
    endpoints: list[Endpoint] = []
    while data:
        size = {4: 6, 6: 18}.get(data[0], 0)
        endpoints.append(unpack_endpoint(data[1 : 1 + size]))
        data = data[1 + size :]
    if len(endpoints) != count or count > MAX_ENDPOINTS:
        raise ValueError("not the endpoints it says")
    return tuple(endpoints)
