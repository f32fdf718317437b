"""Who left the mesh for good, and with which certificate.

A departure names the certificate that its node left with. That one, and every one of the node that
was issued before it, is void; one that an issuer made later stands. So the order in which a node
hears of departures and of certificates makes no difference, and an old departure never shuts out
a node that was admitted again. The times compared are all issuers' ("not before"), none is ours.
"""

from __future__ import annotations

from gossip import NodeId
from meshd.node.certificates import Certificate
from meshd.node.minting import BACKDATE

MAX_DEPARTED = 16_384
"""Nodes that left and are remembered; as many as gossip keeps records of."""


class Departed:
    """The last certificate of each node that left, for as long as it would be valid."""

    def __init__(self) -> None:
        self._last: dict[NodeId, Certificate] = {}

    def __len__(self) -> int:
        return len(self._last)

    def add(self, certificate: Certificate) -> bool:
        """The node of this verified certificate left with it; False when that is known, or when
        there is no room."""
        known = self._last.get(certificate.node)
        if known is None and len(self._last) >= MAX_DEPARTED:
            return False
        if known is not None and known.not_before >= certificate.not_before:
            return False
        self._last[certificate.node] = certificate
        return True

    def covers(self, certificate: Certificate) -> bool:
        """Whether this certificate is void because its node left with it, or with a later one."""
        known = self._last.get(certificate.node)
        return known is not None and certificate.not_before <= known.not_before

    def last(self, node: NodeId) -> Certificate | None:
        """The certificate that `node` left with."""
        return self._last.get(node)

    def beyond(self, node: NodeId, unix_time: float) -> float:
        """`unix_time`, or the first later one at which a certificate may be issued to `node` that
        its departure does not cover: issuers' clocks differ."""
        last = self._last.get(node)
        return unix_time if last is None else max(unix_time, last.not_before + BACKDATE + 1)

    def expire(self, unix_time: float) -> list[NodeId]:
        """Forget those whose certificate has ended by itself; who they were."""
        ended = [node for node, last in self._last.items() if last.not_after < unix_time]
        for node in ended:
            del self._last[node]
        return ended
