"""Random bytes from one namespace to another over TCP or UDP, with the hashes compared.

The sockets are made inside the namespaces and used from threads here: the sender is one system call
that blocks in the kernel, so it never makes the receiver wait for the interpreter.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from simulations.lab.namespaces import Namespace
from simulations.lab.waiting import LabError

PORT = 5001
UDP_SEGMENT = 103  # linux/udp.h
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Transfer:
    """What was moved: bytes, seconds from the first to the last byte received, and both hashes."""

    size: int
    seconds: float
    sent_sha256: str
    received_sha256: str

    @property
    def intact(self) -> bool:
        """Whether what arrived is what was sent."""
        return self.sent_sha256 == self.received_sha256

    @property
    def gbit_per_s(self) -> float:
        """The rate in 10^9 bits of payload per second."""
        return self.size * 8 / self.seconds / 1e9


class Payload:
    """Random bytes, made and hashed once, so that neither costs time while they move."""

    def __init__(self, size: int) -> None:
        self.data = os.urandom(size)
        self.sha256 = hashlib.sha256(self.data).hexdigest()


def tcp(
    sender: Namespace, receiver: Namespace, address: str, payload: Payload, timeout_s: float = 60.0
) -> Transfer:
    """Send ``payload`` to ``address``, which ``receiver`` holds. Raises LabError if it stalls."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    arrived = bytearray(len(payload.data))
    times: list[float] = []
    with (
        _socket(receiver, family, socket.SOCK_STREAM, timeout_s) as listener,
        _socket(sender, family, socket.SOCK_STREAM, timeout_s) as stream,
    ):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, PORT))
        listener.listen(1)
        worker = _Worker(lambda: times.extend(_receive(listener, arrived, timeout_s)))
        try:
            stream.connect((address, PORT))
            stream.sendall(payload.data)
            stream.shutdown(socket.SHUT_WR)
        except OSError as error:
            listener.shutdown(socket.SHUT_RDWR)  # an accept() that still waits ends
            raise LabError(f"TCP to {address} failed: {error.strerror or error}") from error
        worker.finish(timeout_s)
    received = hashlib.sha256(arrived).hexdigest()
    return Transfer(len(arrived), times[1] - times[0], payload.sha256, received)


def udp(
    sender: Namespace, receiver: Namespace, address: str, count: int = 200, tries: int = 20
) -> int:
    """Send random datagrams of many sizes, and batches the kernel splits; return how many arrived.

    The receiver answers each with its SHA-256; what is not answered within 0.5 s is sent again, up
    to ``tries`` times. Raises LabError if one never arrives whole.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    stop = threading.Event()
    with (
        _socket(receiver, family, socket.SOCK_DGRAM, 0.1) as server,
        _socket(sender, family, socket.SOCK_DGRAM, 0.5) as client,
    ):
        server.bind((address, PORT))
        client.connect((address, PORT))
        worker = _Worker(lambda: _answer_hashes(server, stop))
        try:
            for index in range(count):
                data = os.urandom(1 + index * 8969 % 8000)  # up to six IP fragments
                _until_answered(client, [data], 0, tries)
            for index in range(count // 10):
                size = 400 + index * 41 % 800
                batch = [os.urandom(size) for _ in range(10)]
                _until_answered(client, batch, size, tries)
        finally:
            stop.set()
            worker.finish(5.0)
    return count + count // 10 * 10


class _Worker:
    """A thread whose exception comes out where it is awaited."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._error = error

    def finish(self, timeout_s: float) -> None:
        """Wait for the end of the work; raise LabError with what stopped it."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise LabError(f"the receiver did not end within {timeout_s:g} s")
        if self._error is not None:
            raise LabError(f"receiving failed: {self._error}") from self._error


def _socket(
    namespace: Namespace, family: int, kind: socket.SocketKind, timeout_s: float
) -> socket.socket:
    """A blocking socket inside ``namespace`` with kernel timeouts, which need no poll per call."""
    with namespace.entered():
        made = socket.socket(family, kind)
    timeval = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
    return made


def _receive(listener: socket.socket, arrived: bytearray, timeout_s: float) -> tuple[float, float]:
    """Accept one stream and fill ``arrived``; the times of the first byte and of the last."""
    stream, _ = listener.accept()
    with stream:
        stream.settimeout(timeout_s)
        stream.recv(1, socket.MSG_PEEK)
        first = time.perf_counter()
        view = memoryview(arrived)
        while view and (size := stream.recv_into(view)):
            view = view[size:]
        if view:
            raise LabError(f"the stream ended {len(view)} bytes short")
    return first, time.perf_counter()


def _answer_hashes(server: socket.socket, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            data, source = server.recvfrom(65535)
        except BlockingIOError:
            continue
        server.sendto(hashlib.sha256(data).digest(), source)


def _until_answered(
    client: socket.socket, datagrams: list[bytes], segment: int, tries: int
) -> None:
    """Send the datagrams, as one batch if ``segment`` is not 0, until each hash has come back."""
    missing = {hashlib.sha256(data).digest() for data in datagrams}
    batch = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", segment))] if segment else []
    for _ in range(tries):
        client.sendmsg([b"".join(datagrams)], batch)
        try:
            while missing:
                missing.discard(client.recv(64))
        except BlockingIOError:
            continue
        return
    raise LabError(f"{len(missing)} of {len(datagrams)} datagrams never arrived whole")
