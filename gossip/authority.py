"""What gossip asks of whoever holds the keys: the one trust decision it does not make itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gossip.ids import NodeId
    from gossip.records import Record


class Authority(Protocol):
    """Signs for this node, and judges what others signed. Never raises."""

    @property
    def domain(self) -> bytes:
        """Separates meshes (at most 255 bytes): a signature made for one is void in another."""

    def sign(self, message: bytes) -> bytes:
        """This node's 64-byte signature over `message`."""

    def verify(self, key: bytes, subject: NodeId, message: bytes, signature: bytes) -> bool:
        """Whether `key` is `subject`'s own, and `signature` is that key's over `message`.

        What it says depends on these alone: of a record that is good it is asked once.
        """

    def admits(self, record: Record) -> bool:
        """Whether a record that verified may be stored and passed on (its chain is good, ...).

        A refusal is no offence of whoever passed it on: others may know more or less than we do.
        """

    def keys(self, record: Record) -> tuple[bytes, ...]:
        """The 16-byte lookup keys that a CERTIFICATE record proves its subject to own.

        They stand for names and addresses; a node's own id is always a key, and not among them.
        Nothing is remembered of the record, which may be of a stranger.
        """

    def grants(self, node: NodeId, prefix: str) -> bool:
        """Whether `node` may offer routes to `prefix`."""
