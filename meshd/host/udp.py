"""UDP sockets that send and receive many datagrams in one call.

`UDP_SEGMENT` (generic segmentation offload, Linux 4.18) cuts one send into equal datagrams;
`UDP_GRO` (Linux 5.0) joins arriving ones back. Both are in `linux/udp.h`. Path MTU discovery is
ours: `IP_PMTUDISC_PROBE` sets DF and ignores what the kernel believes about the path
(`ip(7)`), so that neither batches get fragmented nor single datagrams held back.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Sequence
from typing import TypeAlias

from meshd.node.errors import HostError

Buffer: TypeAlias = "bytes | bytearray | memoryview"
Endpoint: TypeAlias = "tuple[str, int]"

BUFFER_SIZE = 4 << 20
GSO_BYTES_MAX = 65_507
"""The largest sum of datagrams in one send: 65,535 less the IPv4 and UDP headers."""

# linux/udp.h, linux/in.h, linux/in6.h, asm-generic/socket.h: not in the socket module
_UDP_SEGMENT, _UDP_GRO = 103, 104
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE = 10, 23, 3
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SOL_UDP = socket.IPPROTO_UDP

_ANCILLARY_SIZE = socket.CMSG_SPACE(4)
# UDP_MAX_SEGMENTS of linux/udp.h: 64, and 128 since Linux 6.9
_GSO_SEGMENTS_MIN, _GSO_SEGMENTS_MAX = 64, 128
_OPTIONS_MAX = 64
_PORT_TRIES = 16
_BYTE_ORDER = sys.byteorder


class UdpSockets:
    """One IPv4 and one IPv6 socket on the same port. Made by `UdpSockets.open`.

    Attributes:
        port: the UDP port.
        sockets: the open ones, IPv4 first, for `loop.add_reader`.
        gso_segments: how many datagrams one send may carry (128, 64, or 0: one by one).
        gro: whether one receive may bring several datagrams.
        missing: a plain sentence for each feature that this host lacks, for `status`.
    """

    __slots__ = ("_ipv4", "_ipv6", "_options", "gro", "gso_segments", "missing", "port", "sockets")

    def __init__(
        self,
        ipv4: socket.socket | None,
        ipv6: socket.socket | None,
        gso_segments: int,
        gro: bool,
        missing: list[str],
    ) -> None:
        self._ipv4 = ipv4
        self._ipv6 = ipv6
        self._options: dict[int, list[tuple[int, int, bytes]]] = {}
        self.sockets = [sock for sock in (ipv4, ipv6) if sock is not None]
        self.port: int = self.sockets[0].getsockname()[1]
        self.gso_segments = gso_segments
        self.gro = gro
        self.missing = missing

    @classmethod
    def open(
        cls,
        port: int,
        *,
        want_gso: bool = True,
        want_gro: bool = True,
        want_ipv4: bool = True,
        want_ipv6: bool = True,
        buffer_size: int = BUFFER_SIZE,
        address: str | None = None,
    ) -> UdpSockets:
        """Bind `port` (0: any free one) on every address of the families that this host has, or
        on `address` alone.

        The `want_` arguments leave features unused, as on a kernel that lacks them; `buffer_size`
        (bytes) is asked for in each direction. Raises HostError: port taken or privileged, no IP.
        """
        missing: list[str] = []
        if address is not None:
            want_ipv4, want_ipv6 = ":" not in address, ":" in address
        ipv4, ipv6 = _bind_both(port, want_ipv4, want_ipv6, address or "")
        if ipv4 is None:
            missing.append("this host has no IPv4: peers are reached over IPv6 only")
        if ipv6 is None:
            missing.append("this host has no IPv6: peers are reached over IPv4 only")
        opened = [sock for sock in (ipv4, ipv6) if sock is not None]
        missing += _set_buffers(opened, buffer_size)
        gso_segments = _gso_segments(opened[0].family) if want_gso else 0
        if not want_gso:
            missing.append("datagrams are sent one by one, as offload.gso = false says")
        elif not gso_segments:
            missing.append(
                "the kernel cannot send UDP datagrams in batches (UDP_SEGMENT, Linux 4.18 or"
                " newer): each one costs a call, so sending is slower"
            )
        gro = want_gro and all([_switch_on_gro(sock) for sock in opened])
        if not want_gro:
            missing.append("datagrams are received one by one, as offload.gro = false says")
        elif not gro:
            missing.append(
                "the kernel cannot receive UDP datagrams in batches (UDP_GRO, Linux 5.0 or newer):"
                " each one costs a call, so receiving is slower"
            )
        return cls(ipv4, ipv6, gso_segments, gro, missing)

    def receive_into(
        self, sock: socket.socket, view: memoryview
    ) -> tuple[int, int, Endpoint] | None:
        """Receive into `view` (at least 65,535 bytes): (size, segment_size, source), or None.

        `size` bytes are datagrams of `segment_size` bytes each, the last perhaps shorter, all from
        `source`. None: nothing is waiting, or an error that a later call does not repeat.
        """
        return _receive(sock, (view,))

    def receive_scattered(
        self, sock: socket.socket, buffers: Sequence[memoryview]
    ) -> tuple[int, int, Endpoint] | None:
        """The same through several buffers."""
        return _receive(sock, buffers)

    def send(
        self,
        parts: Sequence[Buffer],
        segment_size: int,
        count: int,
        endpoint: Endpoint,
        parts_per_segment: int = 2,
    ) -> int:
        """Send `count` datagrams to `endpoint`: 0, or the errno of the first that failed.

        `parts` are the datagrams' buffers in order, `parts_per_segment` to each datagram; every
        datagram is `segment_size` bytes long, only the last may be shorter. One system call where
        the kernel allows it. EAGAIN: the socket's buffer is full. EMSGSIZE: `segment_size` is more
        than the outgoing interface takes. EAFNOSUPPORT: no socket of that family.
        """
        sock = self._ipv6 if ":" in endpoint[0] else self._ipv4
        if sock is None:
            return errno.EAFNOSUPPORT
        try:
            if count == 1:
                sock.sendmsg(parts, (), 0, endpoint)
                return 0
            if count <= self.gso_segments and (count - 1) * segment_size < GSO_BYTES_MAX:
                option = self._options.get(segment_size) or self._segment_option(segment_size)
                sock.sendmsg(parts, option, 0, endpoint)
                return 0
        except OSError as error:
            code = error.errno or errno.EIO
            if count == 1 or code not in (errno.EINVAL, errno.EIO, errno.EMSGSIZE):
                return code
            return self._retry(parts, segment_size, count, endpoint, parts_per_segment, code)
        step = min(self.gso_segments, GSO_BYTES_MAX // segment_size) or 1
        return self._send_by(step, parts, segment_size, count, endpoint, parts_per_segment)

    def send_joined(self, data: memoryview, segment_size: int, endpoint: Endpoint) -> int:
        """As `send`, of datagrams that lie one behind the other."""
        count = -(-len(data) // segment_size)
        sock = self._ipv6 if ":" in endpoint[0] else self._ipv4
        if sock is not None and 1 < count <= self.gso_segments and len(data) <= GSO_BYTES_MAX:
            option = self._options.get(segment_size) or self._segment_option(segment_size)
            try:
                sock.sendmsg((data,), option, 0, endpoint)
                return 0
            except OSError:  # one by one they may pass, or the reason is told
                pass
        parts = [data[at : at + segment_size] for at in range(0, len(data), segment_size)]
        return self.send(parts, segment_size, count, endpoint, 1)

    def send_near(self, endpoint: Endpoint, hops: int) -> None:
        """Send an empty datagram over IPv4 that no more than `hops` routers pass on (`IP_TTL` as
        ancillary data, ip(7)). Whether it leaves is not told: nobody is to receive it."""
        if self._ipv4 is None or ":" in endpoint[0]:
            return
        option = [(socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", hops))]
        with contextlib.suppress(OSError):
            self._ipv4.sendmsg((b"",), option, 0, endpoint)

    def close(self) -> None:
        """Close both sockets."""
        for sock in self.sockets:
            sock.close()

    def _segment_option(self, segment_size: int) -> list[tuple[int, int, bytes]]:
        if len(self._options) >= _OPTIONS_MAX:
            self._options.clear()
        option = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("H", segment_size))]
        self._options[segment_size] = option
        return option

    def _retry(
        self,
        parts: Sequence[Buffer],
        segment_size: int,
        count: int,
        endpoint: Endpoint,
        parts_per_segment: int,
        code: int,
    ) -> int:
        """A batch was refused: find a form that passes, or the reason in plain form.

        EIO: the outgoing device cannot checksum batches (Linux udp_send_skb); none will pass.
        EINVAL: older kernels' answer to segments larger than the device takes.
        EMSGSIZE: the same from newer ones, or too many bytes in all.
        """
        if code == errno.EMSGSIZE and count * segment_size <= GSO_BYTES_MAX:
            return code
        if code == errno.EIO:
            self.gso_segments = 0
            self.missing.append(
                "the network device cannot send UDP datagrams in batches (no checksum offload):"
                " each one costs a call, so sending is slower"
            )
        step = count - 1 if code == errno.EMSGSIZE else 1
        return self._send_by(step, parts, segment_size, count, endpoint, parts_per_segment)

    def _send_by(
        self,
        step: int,
        parts: Sequence[Buffer],
        segment_size: int,
        count: int,
        endpoint: Endpoint,
        parts_per_segment: int,
    ) -> int:
        """Send in batches of at most `step` datagrams, up to the first error."""
        for start in range(0, count, step):
            end = min(start + step, count)
            batch = parts[start * parts_per_segment : end * parts_per_segment]
            code = self.send(batch, segment_size, end - start, endpoint, parts_per_segment)
            if code:
                return code
        return 0


def _receive(
    sock: socket.socket, buffers: Sequence[memoryview]
) -> tuple[int, int, Endpoint] | None:
    try:
        size, ancillary, _flags, address = sock.recvmsg_into(buffers, _ANCILLARY_SIZE)
    except OSError:
        return None
    if ancillary:
        return size, int.from_bytes(ancillary[0][2], _BYTE_ORDER), address[:2]
    return size, size, address[:2]


def _bind_both(
    port: int, want_ipv4: bool, want_ipv6: bool, address: str
) -> tuple[socket.socket | None, socket.socket | None]:
    """Bind the families that exist to one port. Raises HostError."""
    for _ in range(_PORT_TRIES):
        ipv4 = _bind(socket.AF_INET, port, address) if want_ipv4 else None
        chosen = ipv4.getsockname()[1] if ipv4 else port
        try:
            ipv6 = _bind(socket.AF_INET6, chosen, address) if want_ipv6 else None
        except HostError:
            if ipv4:
                ipv4.close()
            if port or not ipv4:
                raise
            continue
        if ipv4 is None and ipv6 is None:
            raise HostError("this host has neither IPv4 nor IPv6: check `ip address`")
        return ipv4, ipv6
    raise HostError("no UDP port is free in both IPv4 and IPv6: set listen_port")


def _bind(family: socket.AddressFamily, port: int, address: str) -> socket.socket | None:
    """A bound, non-blocking socket; None if the host lacks the family. Raises HostError."""
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return None
        raise HostError(f"no UDP socket can be made: {error.strerror}") from error
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRNOTAVAIL and address:
            raise HostError(
                f"listen_address {address} is not an address of this host: see `ip address`"
            ) from error
        if error.errno == errno.EADDRNOTAVAIL:
            return None
        raise _bind_error(port, error) from error
    return sock


def _bind_error(port: int, error: OSError) -> HostError:
    if error.errno == errno.EADDRINUSE:
        return HostError(
            f"UDP port {port} is taken, perhaps by another meshd or by a web server with HTTP/3:"
            f" `ss -ulpn 'sport = :{port}'` names the program; stop it, or set another listen_port"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return HostError(
            f"UDP port {port} may not be used without the capability NET_BIND_SERVICE: run meshd as"
            " root or from its systemd unit, or set a listen_port above 1023"
        )
    return HostError(f"UDP port {port} cannot be bound: {error.strerror}")


def _set_buffers(sockets: list[socket.socket], size: int) -> list[str]:
    """Ask for `size` bytes each way; a sentence if the host's limit (no NET_ADMIN) is lower."""
    granted = size
    for sock in sockets:
        for forced, plain in (
            (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
            (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
        ):
            try:
                sock.setsockopt(socket.SOL_SOCKET, forced, size)
            except OSError:
                sock.setsockopt(socket.SOL_SOCKET, plain, size)
            # the kernel doubles the value for its own bookkeeping (socket(7))
            granted = min(granted, sock.getsockopt(socket.SOL_SOCKET, plain) // 2)
    if granted >= size:
        return []
    return [
        f"socket buffers are {granted >> 10} KB instead of {size >> 10} KB, so bursts may be lost:"
        f" set net.core.rmem_max and net.core.wmem_max to {size}, or grant NET_ADMIN"
    ]


def _gso_segments(family: socket.AddressFamily) -> int:
    """How many datagrams one send takes: tried on the loopback interface; 64 if that is down."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(_SOL_UDP, _UDP_SEGMENT, 1)
        except OSError:
            return 0
        try:
            sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
            sock.sendto(bytes(_GSO_SEGMENTS_MAX), sock.getsockname())
        except OSError:
            return _GSO_SEGMENTS_MIN
        return _GSO_SEGMENTS_MAX


def _switch_on_gro(sock: socket.socket) -> bool:
    try:
        sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
    except OSError:
        return False
    return True
