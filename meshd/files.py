"""Files that survive a crash, and files that are read with suspicion.

A file is replaced whole: written beside, synced, renamed, the directory synced; so after a crash
there is the old content or the new. A sealed file begins with `aegisray state 1` and a checksum
(BLAKE2s-128) over its own name and content, so that one cannot stand in for another.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from hashlib import blake2s
from pathlib import Path

from meshd.node.errors import LocalError

REMEDIES = {
    errno.ENOSPC: "; make room there, then try again",
    errno.EDQUOT: "; make room there, then try again",
    errno.EROFS: "; make it writable, or give another directory",
}
"""What a person can do about it, by the kernel's error."""

MAX_FILE = 64 * 1024 * 1024
"""Bytes of the largest file that is read."""

_MAGIC = b"aegisray state 1\n"
_DIGEST = 16


def seal(name: str, payload: bytes) -> bytes:
    """The content of a sealed file called `name`."""
    return _MAGIC + _digest(name, payload) + payload


def unseal(name: str, data: bytes) -> bytes:
    """The inverse of `seal`. Raises ValueError when a single bit differs."""
    payload = data[len(_MAGIC) + _DIGEST :]
    if data != seal(name, payload):
        raise ValueError("the checksum does not fit")
    return payload


@contextlib.contextmanager
def told(path: Path, verb: str) -> Iterator[None]:
    """Tell the kernel's refusals in a sentence."""
    try:
        yield
    except PermissionError:
        raise LocalError(
            f"cannot {verb} {path}: permission denied; run as root, or as the files' owner"
        ) from None
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, "")
        raise LocalError(f"cannot {verb} {path}: {error.strerror or error}{remedy}") from None


def make_directory(path: Path, mode: int) -> None:
    """Make a directory and those above it, where there is none. Raises LocalError."""
    with told(path, "create"):
        path.mkdir(mode=mode, parents=True, exist_ok=True)


def read_file(path: Path, *, secret: bool) -> bytes | None:
    """The content, None where there is no file. A secret that others may read is refused.

    Raises LocalError.
    """
    with told(path, "read"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE:
                raise LocalError(f"{path} is not a file of ours: move it away")
            if secret and status.st_mode & 0o077:
                raise LocalError(
                    f"{path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o}), and "
                    f"holds a secret: type `chmod 600 {path}`, and think of whom it was open to"
                )
            with open(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Replace a file whole: after a crash there is the old content or the new one.

    Raises LocalError, the old content still there.
    """
    beside = path.with_name(f".{path.name}.new")
    with told(path, "write"):
        try:
            beside.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(beside, flags, mode), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(path: Path, suffix: str) -> Path:
    """Rename to `path.suffix`, or `path.suffix.2` and so on: nothing set aside is overwritten,
    until there are nine."""
    with told(path, "rename"):
        for number in range(1, 10):
            aside = path.with_name(f"{path.name}.{suffix}" + (f".{number}" if number > 1 else ""))
            if not aside.exists():
                break
        os.replace(path, aside)
        _sync_directory(path.parent)
    return aside


def _digest(name: str, payload: bytes) -> bytes:
    return blake2s(name.encode() + b"\x00" + payload, digest_size=_DIGEST).digest()
