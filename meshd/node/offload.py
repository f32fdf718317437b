"""What our TUN takes: packets as they came, or made complete where it lacks an offload."""

from __future__ import annotations

from collections import Counter

from meshd.node import segmentation
from meshd.node.errors import RemoteError
from meshd.node.wire import PACKET, Buffer

VNET = 10
"""Bytes of `struct virtio_net_hdr` (include/uapi/linux/virtio_net.h)."""
ZERO_HEADER = bytes(VNET)
_UDP = 5
"""`VIRTIO_NET_HDR_GSO_UDP_L4`."""


class TunForm:
    """Turns entries of frames into what one TUN takes. Counts what cannot be."""

    def __init__(self, vnet_header: bool, tcp: bool, udp: bool, drops: Counter[str]) -> None:
        """Whether the TUN has virtio headers, takes TCP and unfinished checksums, takes UDP."""
        self._vnet_header = vnet_header
        self._tcp = tcp
        self._udp = udp
        self._drops = drops
        # Most packets need nothing done; without virtio headers no packet is taken as it came.
        self._known = ZERO_HEADER if vnet_header else b""
        self._least = 0

    def takes(self, plain: memoryview, body: int, length: int) -> bool:
        """Whether the packet of `length` bytes behind the virtio header at `body` is taken as it
        is. Remembers the last header that was, for most packets of a flow have the same."""
        header = bytes(plain[body : body + VNET])
        if header == self._known and length >= self._least:
            return True
        if not self._vnet_header or not segmentation.validate(header, length):
            return False
        kind = header[1] & 0x7F
        if kind:
            return self._udp if kind == _UDP else self._tcp
        if header[0] and not self._tcp:
            return False
        self._known, self._least = header, length
        return True

    def convert(self, plain: memoryview, kind: int, body: int, end: int) -> list[Buffer]:
        """Complete packets of the entry at `body`; none, counted, when it makes no sense."""
        prefix = ZERO_HEADER if self._vnet_header else b""
        if kind == PACKET:
            return [prefix + plain[body:end]]
        header, packet = bytes(plain[body : body + VNET]), plain[body + VNET : end]
        try:
            return [prefix + whole for whole in segmentation.split(header, packet)]
        except RemoteError:
            self._drops["offload-header"] += 1
            return []
