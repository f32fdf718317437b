"""What the kernel tells of changes to this host's links, addresses and routes (`rtnetlink(7)`).

A notification only says that it is time to look again: what is there now is read anew. So it does
no harm that the kernel drops notifications when they come faster than they are read (ENOBUFS).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import Protocol

# linux/rtnetlink.h
_NETLINK_ROUTE = 0
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # link, IPv4 address, route, IPv6 address, route
_RTM_LINKS, _RTM_ADDRESSES, _RTM_ROUTES = (16, 17), (20, 21), (24, 25)
_RTM_F_CLONED, _RTA_OIF = 0x200, 4

DEBOUNCE = 0.05
"""Seconds that further notifications are waited for after the first one."""
DEBOUNCE_BUSY = 0.5
"""The same when the last look was less than a second ago: some hosts make devices all the time."""
_BUSY = 1.0
_TURN = 64
"""Datagrams read in one turn."""


class Cancellable(Protocol):
    """What a timer returns."""

    def cancel(self) -> object:
        """Let it not happen."""


class Clock(Protocol):
    """An event loop's time, as far as it is needed."""

    def time(self) -> float:
        """Seconds."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Cancellable:
        """Call back so many seconds later."""


class Watch:
    """Notices changes; `sock` is for `loop.add_reader`, `read` what is to be called then.

    `around` hears, soon after, that links or addresses may be others, and whether default routes
    are. `ours` hears that something happened to the interface `own` (an index).
    """

    def __init__(
        self,
        own: int,
        clock: Clock,
        around: Callable[[bool], None],
        ours: Callable[[], None],
    ) -> None:
        """Raises OSError where the kernel has no such thing."""
        self._own = own
        self._clock = clock
        self._tell_around = around
        self._tell_ours = ours
        self._timer: Cancellable | None = None
        self._told_at = -1e9
        self._around = self._routes = self._ours = False
        self.overruns = 0
        """How often notifications were lost."""
        self.sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_ROUTE
        )
        try:
            self.sock.bind((0, _GROUPS))
        except OSError:
            self.sock.close()
            raise

    def close(self) -> None:
        """Notice nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.sock.close()

    def read(self) -> None:
        """Take in what has been told."""
        for _ in range(_TURN):
            try:
                data, (sender, _) = self.sock.recvfrom(65_536)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    break
                self.overruns += 1
                self._around = self._routes = self._ours = True
                continue
            if sender == 0:  # the kernel: other programs can send to our port, too
                self._take(data)
        if self._timer is None and (self._around or self._ours):
            now = self._clock.time()
            delay = DEBOUNCE_BUSY if now - self._told_at < _BUSY else DEBOUNCE
            self._timer = self._clock.call_later(delay, self._tell)

    def _take(self, data: bytes) -> None:
        while len(data) >= 16:
            length, kind = struct.unpack_from("=IH", data)
            if not 16 <= length <= len(data):
                return
            self._notice(kind, data[16:length])
            data = data[(length + 3) & ~3 :]

    def _notice(self, kind: int, body: bytes) -> None:
        if kind in _RTM_ROUTES:
            if len(body) < 12:
                return
            family, bits, flags = struct.unpack_from("=BB6xI", body)
            if family not in (socket.AF_INET, socket.AF_INET6) or flags & _RTM_F_CLONED:
                return
            if _interface_of(body[12:]) == self._own:
                self._ours = True
            elif bits <= 1:  # the default route, and the two halves that some VPNs replace it by
                self._around = self._routes = True
        elif (kind in _RTM_LINKS or kind in _RTM_ADDRESSES) and len(body) >= 8:
            (index,) = struct.unpack_from("=i", body, 4)
            if index == self._own:
                self._ours = True
            else:
                self._around = True

    def _tell(self) -> None:
        around, routes, ours = self._around, self._routes, self._ours
        self._around = self._routes = self._ours = False
        self._timer, self._told_at = None, self._clock.time()
        if ours:
            self._tell_ours()
        if around:
            self._tell_around(routes)


def _interface_of(attributes: bytes) -> int | None:
    """The outgoing interface's index among a route's attributes."""
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if length < 4:
            return None
        if kind == _RTA_OIF and length >= 8:
            (index,) = struct.unpack_from("=i", attributes, 4)
            return int(index)
        attributes = attributes[(length + 3) & ~3 :]
    return None
