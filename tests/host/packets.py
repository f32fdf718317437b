"""Packets for tests, built and checked by code that shares nothing with the product's."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

NEEDS_CSUM, GSO_TCP4, GSO_TCP6, GSO_UDP, GSO_ECN = 1, 1, 4, 5, 0x80
TCP, UDP = 6, 17


def checksum(data: bytes) -> int:
    """RFC 1071, word by word."""
    total = 0
    for at in range(0, len(data), 2):
        total += data[at] << 8 | (data[at + 1] if at + 1 < len(data) else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def pseudo(packet: bytes, transport: int, protocol: int) -> bytes:
    size = len(packet) - transport
    if packet[0] >> 4 == 4:
        return packet[12:20] + struct.pack(">BBH", 0, protocol, size)
    return packet[8:40] + struct.pack(">IxxxB", size, protocol)


def transport_of(packet: bytes) -> tuple[int, int]:
    """Offset and protocol of the transport header (extension headers walked)."""
    if packet[0] >> 4 == 4:
        return (packet[0] & 15) * 4, packet[9]
    at, protocol = 40, packet[6]
    while protocol in (0, 60):
        protocol, at = packet[at], at + 8 + packet[at + 1] * 8
    return at, protocol


def is_sound(packet: bytes) -> bool:
    """Whether lengths and checksums are those that a receiver insists on."""
    at, protocol = transport_of(packet)
    if packet[0] >> 4 == 4:
        if checksum(packet[:at]) != 0 or int.from_bytes(packet[2:4], "big") != len(packet):
            return False
    elif int.from_bytes(packet[4:6], "big") != len(packet) - 40:
        return False
    if protocol == UDP:
        length, field = struct.unpack_from(">HH", packet, at + 4)
        if length != len(packet) - at or field == 0:
            return False
    return checksum(pseudo(packet, at, protocol) + packet[at:]) == 0


@dataclass(frozen=True, slots=True)
class Super:
    """A packet as a TUN with offloads reads it; `build` makes its bytes."""

    payload: bytes
    gso_size: int
    version: int = 4
    protocol: int = TCP
    flags: int = 0x10
    sequence: int = 1
    identification: int = 7
    tcp_options: bytes = b""
    ip_options: bytes = b""
    source: str = ""
    target: str = ""

    def build(self) -> tuple[bytes, bytes]:
        """(virtio header, packet): the checksum holds the pseudo-header's sum, as from Linux."""
        if self.protocol == TCP:
            offset = (20 + len(self.tcp_options)) // 4 << 4
            fields = (4000, 5000, self.sequence, 99, offset, self.flags, 512, 0, 0)
            head = struct.pack(">HHIIBBHHH", *fields) + self.tcp_options
            field_at = 16
        else:
            head = struct.pack(">HHHH", 4000, 5000, 8 + len(self.payload), 0)
            field_at = 6
        body = head + self.payload
        packet = bytearray(self._ip(len(body)) + body)
        start = len(packet) - len(body)
        seed = checksum(pseudo(bytes(packet), start, self.protocol)) ^ 0xFFFF
        struct.pack_into(">H", packet, start + field_at, seed)
        kind = 0
        if self.gso_size:
            kind = {TCP: GSO_TCP4 if self.version == 4 else GSO_TCP6, UDP: GSO_UDP}[self.protocol]
        sizes = (start + len(head), self.gso_size, start, field_at)
        return struct.pack("<BBHHHH", NEEDS_CSUM, kind, *sizes), bytes(packet)

    def _ip(self, size: int) -> bytes:
        source = self.source or ("10.1.0.9" if self.version == 4 else "fd01::9")
        target = self.target or ("10.2.0.9" if self.version == 4 else "fd02::9")
        addresses = ip_address(source).packed + ip_address(target).packed
        if self.version == 6:
            return struct.pack(">IHBB", 6 << 28, size, self.protocol, 64) + addresses
        first = 0x45 + len(self.ip_options) // 4
        total = 20 + len(self.ip_options) + size
        header = struct.pack(
            ">BBHHHBBH", first, 0, total, self.identification, 0x4000, 64, self.protocol, 0
        )
        raw = header + addresses + self.ip_options
        return raw[:10] + struct.pack(">H", checksum(raw)) + raw[12:]
