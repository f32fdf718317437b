"""Someone on the wire: reads what passes a router's device, and sends whatever it likes."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from dataclasses import dataclass

from simulations.lab.namespaces import Namespace

ETH_P_ALL = 3
IP_HEADER = struct.Struct("!BBHHHBBH4s4s")
UDP_HEADER = struct.Struct("!HHHH")


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram as it was seen; addresses are (text, port)."""

    source: tuple[str, int]
    target: tuple[str, int]
    payload: bytes


def parse(packet: bytes) -> Datagram | None:
    """An IPv4 packet's UDP datagram, or None if it holds none, or only part of one."""
    if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_UDP:
        return None
    size = (packet[0] & 15) * 4
    source, target = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    ports = UDP_HEADER.unpack_from(packet, size)
    return Datagram((source, ports[0]), (target, ports[1]), packet[size + 8 : size + ports[2]])


class Wiretap:
    """Reads one device of ``router``; close it when done."""

    def __init__(self, router: Namespace, device: str) -> None:
        with router.entered():
            self._tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.ntohs(ETH_P_ALL))
            self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            self._tap.bind((device, ETH_P_ALL))
        self._tap.setblocking(False)

    def __enter__(self) -> Wiretap:
        return self

    def __exit__(self, *_: object) -> None:
        self._tap.close()
        self._raw.close()

    def seen(self) -> list[Datagram]:
        """The datagrams that have passed since it was last asked."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                if (datagram := parse(self._tap.recv(65535))) is not None:
                    found.append(datagram)
        return found

    def send(self, datagram: Datagram) -> None:
        """Send a datagram whose source address is whatever it says."""
        size = UDP_HEADER.size + len(datagram.payload)
        addresses = [socket.inet_aton(end[0]) for end in (datagram.source, datagram.target)]
        header = IP_HEADER.pack(0x45, 0, 20 + size, 0, 0, 64, socket.IPPROTO_UDP, 0, *addresses)
        udp = UDP_HEADER.pack(datagram.source[1], datagram.target[1], size, 0)
        self._raw.sendto(header + udp + datagram.payload, (datagram.target[0], 0))


def answers(sender: socket.socket, wait_s: float) -> list[bytes]:
    """Everything that comes back to a UDP socket within ``wait_s`` seconds."""
    found = []
    end = time.monotonic() + wait_s
    while (left := end - time.monotonic()) > 0:
        sender.settimeout(left)
        with contextlib.suppress(TimeoutError):
            found.append(sender.recv(65535))
    return found
