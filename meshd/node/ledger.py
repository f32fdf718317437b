"""The ledger of an issuer: which certificates it has issued, to whom, and which still hold.

By it no name and no address is given out twice, and whatever a node may hold can be revoked.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import NamedTuple

from gossip import NodeId
from gossip.codec import decode, encode
from meshd.node.addresses import ID_SIZE
from meshd.node.certificates import Certificate
from meshd.node.errors import LocalError
from meshd.node.minting import DAY
from meshd.node.revocation import RevocationList

MAX_LEDGER = 16 * 1024 * 1024
RESERVED = 30 * DAY
"""Seconds after a certificate's end during which its name and address go to nobody else."""
MAX_EARLIER = 16
"""Certificates of one node, beside its last, that may be valid: all can be revoked."""


class Serial(NamedTuple):
    """A certificate by its CA's key identifier and its serial, and when it ends (Unix seconds)."""

    authority: bytes
    serial: int
    not_after: int


@dataclass(frozen=True, slots=True)
class Issued:
    """One line of the ledger: the last certificate that a node got, and those before it."""

    node: NodeId
    name: str
    address4: IPv4Address
    serial: int
    not_after: int
    """Unix seconds."""
    earlier: tuple[Serial, ...] = ()
    """What the node held before and may hold still; of other issuers where it renewed here."""
    own_issuer: bytes = b""
    """The key identifier of the CA that this issuer's root key made for the node, if any."""


class Ledger:
    """What an issuer has issued: by it, no name and no address is given out twice."""

    def __init__(self, entries: Collection[Issued] = ()) -> None:
        self._entries = {entry.node: entry for entry in entries}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, node: NodeId) -> Issued | None:
        """What `node` got last."""
        return self._entries.get(node)

    def entries(self) -> list[Issued]:
        """All of them, in the order of their first certificate."""
        return list(self._entries.values())

    def record(
        self, certificate: Certificate, unix_time: float, replaced: Certificate | None = None
    ) -> None:
        """Remember a certificate just issued; `replaced` is what its node held until now.

        Raises LocalError when too many of the node's are valid still.
        """
        before = self._entries.get(certificate.node)
        held = list(before.earlier) if before is not None else []
        if before is not None:
            held.insert(0, Serial(certificate.authority, before.serial, before.not_after))
        if replaced is not None:
            held.insert(0, Serial(replaced.authority, replaced.serial, replaced.not_after))
        valid = [item for item in dict.fromkeys(held) if item.not_after >= unix_time]
        if len(valid) > MAX_EARLIER:
            raise LocalError(
                f"{certificate.name} has {len(valid)} certificates that are still valid: no more "
                "until one ends"
            )
        self._entries[certificate.node] = Issued(
            certificate.node,
            certificate.name,
            certificate.address4,
            certificate.serial,
            certificate.not_after,
            tuple(valid),
            before.own_issuer if before is not None else b"",
        )

    def record_issuer(self, node: NodeId, authority: bytes) -> None:
        """Remember that `node` is the CA with this key identifier."""
        self._entries[node] = replace(self._entries[node], own_issuer=authority)

    def revoked(self, node: NodeId, listed: RevocationList | None) -> bool:
        """Whether this issuer's list names a certificate of `node`'s."""
        entry = self._entries.get(node)
        if entry is None or listed is None:
            return False
        held = (item.serial for item in entry.earlier if item.authority == listed.authority)
        return entry.serial in listed.serials or any(serial in listed.serials for serial in held)

    def release(self, node: NodeId) -> None:
        """Forget what `node` got: its name and its address may go to others."""
        self._entries.pop(node, None)

    def forget_before(self, unix_time: float) -> None:
        """Drop what ended RESERVED seconds ago."""
        for node, entry in list(self._entries.items()):
            if entry.not_after + RESERVED < unix_time:
                del self._entries[node]

    def encode(self) -> bytes:
        """CBOR, for the state directory."""
        return encode(
            [
                [
                    item.node,
                    item.name,
                    item.address4.packed,
                    item.serial,
                    item.not_after,
                    [list(other) for other in item.earlier],
                    item.own_issuer,
                ]
                for item in self._entries.values()
            ]
        )


def decode_ledger(data: bytes) -> Ledger:
    """The inverse of `Ledger.encode`. Raises ValueError."""
    entries: list[Issued] = []
    listed = decode(data, MAX_LEDGER)
    if not isinstance(listed, list):
        raise ValueError("not a ledger")
    for item in listed:
        match item:
            case [
                bytes(node),
                str(name),
                bytes(address),
                int(serial),
                int(not_after),
                [*earlier],
                bytes(own_issuer),
            ] if len(node) == ID_SIZE and len(address) == 4:
                serials = tuple(_serial(other) for other in earlier)
                entries.append(
                    Issued(
                        NodeId(node),
                        name,
                        IPv4Address(address),
                        serial,
                        not_after,
                        serials,
                        own_issuer,
                    )
                )
            case _:
                raise ValueError("not a ledger")
    return Ledger(entries)


def _serial(item: object) -> Serial:
    match item:
        case [bytes(authority), int(serial), int(not_after)]:
            return Serial(authority, serial, not_after)
        case _:
            raise ValueError("not a ledger")
