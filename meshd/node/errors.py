"""The three things that can be wrong: the person's input, a peer, or the host.

AegisError
├── LocalError    the caller's or the configuration's mistake; nothing was changed
├── RemoteError   a peer sent something it must not; counted under `reason`, and dropped
└── HostError     this machine lacks or refuses something we need
"""

from __future__ import annotations


class AegisError(Exception):
    """Base of every error that AegisRay raises on purpose."""


class LocalError(AegisError):
    """A person's mistake, told in one sentence: what is wrong, where, and what to type next."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class HostError(LocalError):
    """The host lacks something (a device, a capability, a port), told as a `LocalError` is."""

    def __init__(self, message: str, exit_code: int = 3) -> None:
        super().__init__(message, exit_code)


class RemoteError(AegisError):
    """A peer's message was refused before it changed anything.

    `reason` is a short, bounded key (`a-z` and `-`): it becomes a counter's label, so it never
    holds anything that a peer chose.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
