"""Packets of one flow as a TUN with offloads brings them one by one, and what became of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from meshd.node.segmentation import split
from meshd.node.wire import OFFLOAD, Buffer, entry
from tests.host.packets import TCP, UDP, Super, checksum

BOTH = (TCP, UDP)


def of_flow(payloads: Iterable[bytes], form: Super) -> list[bytes]:
    """A packet for each payload, all of one flow, each behind its virtio header: of a sender whose
    kernel lacks segmentation. IPv4 says not to fragment, as Linux does."""
    packets, sequence = [], form.sequence
    for number, payload in enumerate(payloads):
        one = Super(
            payload=payload,
            gso_size=0,
            version=form.version,
            protocol=form.protocol,
            flags=form.flags,
            sequence=sequence & 0xFFFFFFFF,
            identification=(form.identification + 3 * number) & 0xFFFF,
            tcp_options=form.tcp_options,
            source=form.source,
            target=form.target,
        )
        packets.append(b"".join(one.build()))
        sequence += len(payload)
    return packets


def changed(packet: bytes, at: int, value: bytes) -> bytes:
    """The same packet with other bytes from `at` on in its IP packet, IPv4's checksum right."""
    at += 10
    packet = packet[:at] + value + packet[at + len(value) :]
    if packet[10] >> 4 == 4:
        head = packet[10:20] + b"\0\0" + packet[22:30]
        packet = packet[:20] + struct.pack(">H", checksum(head)) + packet[22:]
    return packet


def entries(packets: Iterable[bytes]) -> bytes:
    """A frame's plaintext."""
    return b"".join(entry(OFFLOAD, packet) for packet in packets)


def cut(packets: Iterable[Buffer]) -> list[bytes]:
    """The complete packets that a kernel makes of what is written, without IPv4's identification
    and the checksum that goes with it."""
    return [bare(part) for packet in packets for part in split(packet[:10], packet[10:])]


def bare(packet: bytes) -> bytes:
    if packet[0] >> 4 == 6:
        return packet
    assert checksum(packet[:20]) == 0
    return packet[:4] + packet[6:10] + packet[12:]
