"""A steady ping, many times a second, that shows for how long nothing came through."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time

from simulations.lab.namespaces import Namespace
from simulations.lab.ping import ECHO, PAYLOAD, REPLY, REQUEST, checksum

INTERVAL_S = 0.01


class Beat:
    """Pings an IPv4 address from ``with`` to its end, in a thread. Times are `time.monotonic`'s."""

    def __init__(self, namespace: Namespace, address: str, interval_s: float = INTERVAL_S) -> None:
        with namespace.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._address = address
        self._interval = interval_s
        self._identifier = os.getpid() & 0xFFFF ^ 0x8000  # a `Pinger` may be here, too
        self._sent: dict[int, float] = {}
        self._answers: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Beat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def gap(self, since: float) -> float:
        """The longest time without an answer from ``since`` until now, in seconds."""
        times = [at for at, _ in list(self._answers)]
        before = max((at for at in times if at < since), default=since)
        points = [before, *(at for at in times if at >= since), time.monotonic()]
        return max(after - at for at, after in itertools.pairwise(points))

    def answers(self, since: float) -> int:
        """How many answers have come since then."""
        return sum(at >= since for at, _ in list(self._answers))

    def round_trips(self, since: float) -> list[float]:
        """The round trips of the answers since then, in seconds, the shortest first."""
        return sorted(rtt for at, rtt in list(self._answers) if at >= since)

    def _run(self) -> None:
        sequence, due = 0, time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= due:
                sequence, due = sequence + 1 & 0xFFFF, max(due + self._interval, now)
                self._send(sequence, now)
            self._socket.settimeout(max(due - time.monotonic(), 0.0005))
            try:
                packet = self._socket.recv(2048)
            except (TimeoutError, BlockingIOError):
                continue
            self._take(packet, time.monotonic())

    def _send(self, sequence: int, now: float) -> None:
        head = ECHO.pack(REQUEST[4], 0, 0, self._identifier, sequence)
        head = ECHO.pack(REQUEST[4], 0, checksum(head + PAYLOAD), self._identifier, sequence)
        self._sent[sequence] = now
        try:
            self._socket.sendto(head + PAYLOAD, (self._address, 0))
        except OSError:
            del self._sent[sequence]  # no route: the same as no answer

    def _take(self, packet: bytes, now: float) -> None:
        body = packet[(packet[0] & 15) * 4 :]
        if len(body) < ECHO.size:
            return
        kind, _, _, identifier, sequence = ECHO.unpack_from(body)
        if kind == REPLY[4] and identifier == self._identifier and sequence in self._sent:
            self._answers.append((now, now - self._sent.pop(sequence)))
