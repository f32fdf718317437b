"""The TUN device: how IP packets enter and leave this host (Linux `networking/tuntap`).

With `IFF_VNET_HDR` each read and write starts with the 10-byte little-endian `virtio_net_hdr`
(`linux/virtio_net.h`), and one call carries up to 64 KB: a TCP or UDP super-packet that the kernel
has not cut yet. Offloads are tried one by one, because a kernel may know some of them only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import struct
import sys
from collections.abc import Callable, Collection
from typing import TypeAlias

from meshd.node.errors import HostError

Buffer: TypeAlias = "bytes | bytearray | memoryview"

DEVICE = "/dev/net/tun"
VNET_HEADER_SIZE = 10
FEATURES = ("vnet", "csum", "tso4", "tso6", "uso")

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_TUNGETFEATURES = 0x800454CF
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETLE = 0x400454DC
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_IFNAMSIZ = 16

# In the order of dependence. USO has two bits, but the kernel takes only both together, and every
# other offload only with CSUM (drivers/net/tun.c, set_offload).
_OFFLOADS = (("csum", 0x01), ("tso4", 0x02), ("tso6", 0x04), ("uso", 0x60))

_MISSING = {
    "vnet": "the TUN device has no virtio header: packets are carried one by one, several times"
    " slower (Linux 2.6.27 or newer has it; sandboxes such as gVisor do not)",
    "csum": "the TUN device refuses checksum offload: packets are carried one by one",
    "tso4": "the TUN device refuses IPv4 TCP offload (TSO): IPv4 TCP is carried packet by packet",
    "tso6": "the TUN device refuses IPv6 TCP offload (TSO): IPv6 TCP is carried packet by packet",
    "uso": "the TUN device has no UDP offload (USO, Linux 6.2 or newer): UDP is carried packet by"
    " packet",
}

_NO_HEADER = bytes(VNET_HEADER_SIZE)

_write, _writev = os.write, os.writev


class Tun:
    """An open, non-blocking TUN device. Made by `Tun.open`; the device ends with `close`.

    Attributes:
        fd: the descriptor, for `loop.add_reader`.
        name: the interface's name, as the kernel chose it.
        vnet_header: whether reads and writes start with the 10-byte virtio header.
        offloads: what the kernel may hand us uncut: of "csum", "tso4", "tso6", "uso".
        missing: a plain sentence for each feature that this host lacks, for `status`.
        last_error: the errno of the latest refused write, 0 if there was none.
    """

    __slots__ = ("_file", "fd", "last_error", "missing", "name", "offloads", "vnet_header")

    def __init__(self, fd: int, name: str, vnet_header: bool, offloads: tuple[str, ...]) -> None:
        self.fd = fd
        self.name = name
        self.vnet_header = vnet_header
        self.offloads = offloads
        self.last_error = 0
        self._file = io.FileIO(fd)
        if vnet_header:
            self.missing = [_MISSING[key] for key in FEATURES[1:] if key not in offloads]
        else:
            self.missing = [_MISSING["vnet"]]

    @classmethod
    def open(cls, name: str, *, want_offloads: bool = True, without: Collection[str] = ()) -> Tun:
        """Create the interface `name`, or attach to one that was prepared for this user.

        `want_offloads=False` or names of `FEATURES` in `without` leave features unused, as on a
        kernel that lacks them. Raises HostError: no TUN driver, no right to it, name taken or
        impossible.
        """
        _check_name(name)
        try:
            fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _open_error(error) from error
        try:
            vnet_header = "vnet" not in without and _has_vnet_header(fd)
            flags = _IFF_TUN | _IFF_NO_PI | (_IFF_VNET_HDR if vnet_header else 0)
            try:
                request = struct.pack("16sH22x", name.encode(), flags)
                reply = fcntl.ioctl(fd, _TUNSETIFF, request)
                if vnet_header and sys.byteorder == "big":
                    fcntl.ioctl(fd, _TUNSETVNETLE, struct.pack("i", 1))
            except OSError as error:
                raise _attach_error(name, error) from error
            real_name = reply[:_IFNAMSIZ].rstrip(b"\0").decode()
            wanted = vnet_header and want_offloads
            offloads = _set_offloads(fd, without) if wanted else ()
            return cls(fd, real_name, vnet_header, offloads)
        except BaseException:
            os.close(fd)
            raise

    @property
    def read_into(self) -> Callable[[memoryview], int | None]:
        """Reads one packet into a view (virtio header first, if `vnet_header`); its size in bytes.

        None if nothing is waiting. The view should hold 65,545 bytes; what does not fit is cut
        off. Raises OSError if the interface was removed: see `gone`. This is C's function itself:
        what runs once for every packet spares a call, and an exception when nothing is waiting.
        """
        return self._file.readinto

    def gone(self, error: OSError) -> HostError:
        """What a read that failed with `error` means."""
        return HostError(
            f"the interface {self.name} is gone ({error.strerror}): something removed it;"
            " start meshd again"
        )

    def write(self, packet: Buffer) -> bool:
        """Hand the kernel one packet, virtio header first if `vnet_header`.

        False if the kernel refused it (malformed, interface down, no memory): see `last_error`.
        """
        try:
            _write(self.fd, packet)
        except OSError as error:
            self.last_error = error.errno or errno.EIO
            return False
        return True

    def write_bare(self, packet: Buffer) -> bool:
        """As `write`, for an IP packet without a virtio header, whatever the device's form."""
        try:
            if self.vnet_header:
                _writev(self.fd, (_NO_HEADER, packet))
            else:
                _write(self.fd, packet)
        except OSError as error:
            self.last_error = error.errno or errno.EIO
            return False
        return True

    def close(self) -> None:
        """Close the device; the kernel removes the interface unless it was prepared."""
        if self.fd >= 0:
            self._file.close()
            self.fd = -1


def _check_name(name: str) -> None:
    """Refuse what the kernel's `dev_valid_name` refuses, and patterns (`%d`)."""
    usable = name.isascii() and name.isprintable() and not set(name) & set("/:% ")
    if not usable or not 0 < len(name) < _IFNAMSIZ or name in (".", ".."):
        raise HostError(
            f"{name!r} cannot be an interface name: use 1 to {_IFNAMSIZ - 1} letters, digits,"
            " '-' or '_'"
        )


def _has_vnet_header(fd: int) -> bool:
    try:
        features = fcntl.ioctl(fd, _TUNGETFEATURES, bytes(4))
    except OSError:
        return False
    return bool(struct.unpack("I", features)[0] & _IFF_VNET_HDR)


def _set_offloads(fd: int, without: Collection[str]) -> tuple[str, ...]:
    """Switch on every offload that the kernel takes; return their names."""
    accepted: list[str] = []
    mask = 0
    for key, bits in _OFFLOADS:
        if key in without or (key != "csum" and not mask):
            continue
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, _TUNSETOFFLOAD, mask | bits)
            mask |= bits
            accepted.append(key)
    return tuple(accepted)


def _open_error(error: OSError) -> HostError:
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return HostError(
            f"there is no {DEVICE}: load the driver with `modprobe tun`; in a container, start it"
            f" with `--device {DEVICE}`"
        )
    if error.errno in (errno.EPERM, errno.EACCES):
        return HostError(
            f"{DEVICE} may not be opened ({error.strerror}): run meshd as root or from its systemd"
            f" unit; in a container, start it with `--device {DEVICE} --cap-add NET_ADMIN`"
        )
    return HostError(f"{DEVICE} cannot be opened: {error.strerror}")


def _attach_error(name: str, error: OSError) -> HostError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return HostError(
            f"the interface {name} may not be created without the capability NET_ADMIN: run meshd"
            " as root or from its systemd unit (container: `--cap-add NET_ADMIN`), or prepare it"
            f" with `ip tuntap add {name} mode tun user {os.geteuid()}`"
        )
    if error.errno == errno.EBUSY:
        return HostError(
            f"the interface {name} is in use by another program, perhaps a second meshd: stop that"
            f" one (`ip -details link show {name}` shows the interface), or choose another name"
        )
    if error.errno in (errno.EINVAL, errno.EEXIST):
        return HostError(
            f"the name {name} belongs to an interface that is not a TUN device: choose another"
            f" name (`ip -details link show {name}` shows what it is)"
        )
    return HostError(f"the interface {name} cannot be created: {error.strerror}")
